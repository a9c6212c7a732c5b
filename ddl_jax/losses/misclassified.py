"""Hard-example mining inside the softmax: wrong classes that beat the target weigh more."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_option, check_range
from ddl_jax.losses.margin import Margin, MarginInputs, margin_logits
from ddl_jax.losses.margins import cosface_margin


def mv_softmax_margin(
    *, margin: Margin | None = None, emphasis: float = 1.2, weighting: str = "adaptive"
) -> Margin:
    r"""The mis-classified vector guided softmax (MV-Softmax): a margin and mining in one.

    .. math::
      \cos\theta_j \to
      \begin{cases}
        \cos\theta_j & f(\theta_y) \ge \cos\theta_j \\
        \cos\theta_j + (t - 1)(\cos\theta_j + 1) = t \cos\theta_j + t - 1
          & \text{else, adaptive} \\
        \cos\theta_j + t - 1 & \text{else, fixed}
      \end{cases}

    with f the target's cosine with its margin and t the emphasis. This is the paper's factor
    :math:`e^{s(t-1)(\cos\theta_j + 1)}`, or :math:`e^{s(t-1)}`, at the exponentials of the classes
    that a row is mistaken for. The choice which classes those are has no gradient, and the logit
    jumps where it changes.

    Of all that "hard mining" means in the related work of DDL this is the form that needs no share
    of the batch: hard are the *classes* that a row does not yet beat, not rows of high loss
    (`ohem_loss`, `focal_cross_entropy`). Without a margin it is its forerunner SV-Softmax:
    `margin=normface_margin()`.

    Code differs in the target. The authors' line of code as kept in face.evoLVe leaves a target
    without its margin where the cosine is at most the margin (CosFace) or at most 0 (ArcFace); here
    it always has its margin, as in the paper. Emphasis is 1.12 there at scale 32, and 1.2 in OTFace
    at scale 30.

    Args:
      margin: any `Margin`, of which all but `negatives` is kept (target, scale, state and
        regularizer); None for `cosface_margin(margin=0.35)`.
      emphasis: t, at least 1; 1 changes nothing.
      weighting: "adaptive" or "fixed".

    Returns:
      A `Margin` for `margin_softmax_loss` and `margin_logits`.

    Raises:
      ValueError: the emphasis is below 1 or the weighting unknown.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> loss, _ = losses.margin_softmax_loss(
      ...     jnp.eye(2), jnp.eye(2), jnp.array([0, 1]), margin=losses.mv_softmax_margin())
      >>> [round(x, 4) for x in loss.tolist()]
      [0.0, 0.0]

    References:
      Wang et al., Mis-classified Vector Guided Softmax Loss for Face Recognition, AAAI 2020,
      https://arxiv.org/abs/1912.00833; Support Vector Guided Softmax Loss for Face Recognition,
      2018, https://arxiv.org/abs/1812.11317
    """
    check_range("emphasis", emphasis, 1.0)
    check_option("weighting", weighting, ("adaptive", "fixed"))
    margin = cosface_margin(margin=0.35) if margin is None else margin

    def negatives(cosine: jax.Array, target_cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        is_beaten = margin.target(target_cosine, inputs)[:, None] >= cosine
        if weighting == "adaptive":
            emphasized = emphasis * cosine + (emphasis - 1.0)
        else:
            emphasized = cosine + (emphasis - 1.0)
        return jnp.where(is_beaten, cosine, emphasized)

    return margin._replace(negatives=negatives)


def mv_softmax_logits(
    cosine: jax.Array,
    labels: jax.Array,
    *,
    margin: Margin | None = None,
    emphasis: float = 1.2,
    weighting: str = "adaptive",
) -> jax.Array:
    """Logits of the mis-classified vector guided softmax; see `mv_softmax_margin`.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C).
      margin: the target's margin and the scale; None for `cosface_margin(margin=0.35)`.
      emphasis: t, at least 1; 1 changes nothing.
      weighting: "adaptive" or "fixed".

    Returns:
      `[B, C]` logits.

    Raises:
      ValueError: the emphasis is below 1 or the weighting unknown.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> logits = losses.mv_softmax_logits(
      ...     jnp.array([[0.5, 0.25, -0.5]]), jnp.array([0]), emphasis=1.5,
      ...     margin=losses.cosface_margin(margin=0.5, scale=1.0))
      >>> logits.tolist()
      [[0.0, 0.875, -0.5]]
    """
    margin = mv_softmax_margin(margin=margin, emphasis=emphasis, weighting=weighting)
    return margin_logits(cosine, labels, margin)[0]
