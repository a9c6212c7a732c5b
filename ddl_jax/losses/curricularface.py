"""CurricularFace: hard negatives weigh more and more as training goes on."""

import math

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_option, check_range
from ddl_jax.losses.margin import BEYOND_PI, Margin, MarginInputs, angular_target, margin_logits
from ddl_jax.losses.masked import anything_counts, masked_mean


def curricularface_margin(
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    update_rate: float = 0.01,
    beyond_pi: str = "monotone",
) -> Margin:
    """The curricular margin as a `Margin`, whose state is t; see `curricularface_logits`."""
    check_option("beyond_pi", beyond_pi, BEYOND_PI)
    check_range("margin", margin, 0.0, math.pi, "in radians")
    check_range("scale", scale, 1e-9)
    check_range("update_rate", update_rate, 0.0, 1.0)

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        del inputs
        return angular_target(cosine, margin, beyond_pi)

    def negatives(cosine: jax.Array, target_cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        # The comparison is with cos(theta + m) itself, before any rule for angles beyond pi.
        threshold = angular_target(target_cosine, margin, "none")
        hard = cosine > threshold[:, None]
        return jnp.where(hard, cosine * (inputs.state + cosine), cosine)

    def update(
        target_cosine: jax.Array, inputs: MarginInputs, where: jax.Array, axis_name: str | None
    ) -> jax.Array:
        t = inputs.state
        mean = masked_mean(target_cosine, where, axis_name)
        moved = update_rate * mean + (1.0 - update_rate) * t
        return jnp.where(anything_counts(where, axis_name), moved, t)

    return Margin(target, negatives, scale=scale, initial_state=0.0, update=update)


def curricularface_logits(
    cosine: jax.Array,
    labels: jax.Array,
    t: jax.typing.ArrayLike,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    update_rate: float = 0.01,
    beyond_pi: str = "monotone",
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    r"""CurricularFace: an angular margin, and negatives modulated by t (Huang et al. 2020).

    .. math::
      s \cos(\theta_y + m), \qquad
      s \cdot \begin{cases} \cos\theta_j & \cos\theta_j \le \cos(\theta_y + m) \\
        \cos\theta_j (t + \cos\theta_j) & \text{otherwise} \end{cases}, \qquad
      t \leftarrow \alpha \, \overline{\cos\theta_y} + (1 - \alpha) t

    t starts at 0, where a hard negative becomes its square: it counts less than it would, and a
    negative cosine turns positive, as in the references. Logits use the t that this batch gave.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label has no target and does not move t.
      t: the mean target cosine so far; 0 before the first batch. No gradient passes through it.
      margin: m, radians, in [0, pi].
      scale: s.
      update_rate: alpha, the weight of the new mean; 0.01 in the authors' repository, 0.1 in TFace.
      beyond_pi: of the target, see `arcface_logits`; the references are "monotone".
      axis_name: rows are the device's own part; t follows the mean over the global batch. (The
        references move t on each GPU by itself.)

    Returns:
      `(logits[B, C], t)`.

    Raises:
      ValueError: an option has an unknown name, or a number is out of its range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> cosine, labels = jnp.array([[0.5, 0.25, -1.0]]), jnp.array([0])
      >>> logits, t = losses.curricularface_logits(
      ...     cosine, labels, 0.0, margin=0.0, scale=1.0, update_rate=1.0)
      >>> logits.tolist(), float(t)  # 0.25 is no hard negative
      ([[0.5, 0.25, -1.0]], 0.5)

    References:
      Huang et al., CurricularFace, CVPR 2020, https://arxiv.org/abs/2004.00288
    """
    curricular = curricularface_margin(
        margin=margin, scale=scale, update_rate=update_rate, beyond_pi=beyond_pi
    )
    inputs = MarginInputs(state=jnp.asarray(t))
    return margin_logits(cosine, labels, curricular, inputs, axis_name=axis_name)
