"""MagFace: the margin grows with the length of the embedding, which learns to measure quality."""

import math

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_option, check_range
from ddl_jax.losses.cosine import at_least_float32
from ddl_jax.losses.margin import BEYOND_PI, Margin, MarginInputs, angular_target, margin_logits


def magface_margin(
    *,
    lower_norm: float = 10.0,
    upper_norm: float = 110.0,
    lower_margin: float = 0.45,
    upper_margin: float = 0.8,
    scale: float = 64.0,
    beyond_pi: str = "monotone",
) -> Margin:
    """The magnitude-aware margin as a `Margin` with a regularizer; see `magface_logits`."""
    check_option("beyond_pi", beyond_pi, BEYOND_PI)
    check_range("lower_norm", lower_norm, 1e-6)
    check_range("upper_norm", upper_norm, lower_norm + 1e-6, unit="above lower_norm")
    check_range("lower_margin", lower_margin, 0.0, math.pi, "in radians")
    check_range("upper_margin", upper_margin, lower_margin, math.pi, "in radians")
    check_range("scale", scale, 1e-9)
    slope = (upper_margin - lower_margin) / (upper_norm - lower_norm)

    def length(inputs: MarginInputs) -> jax.Array:
        if inputs.norms is None:
            raise ValueError("magface got no norms; give the lengths of the embeddings")
        return jnp.clip(inputs.norms, lower_norm, upper_norm)

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        margin = lower_margin + slope * (length(inputs) - lower_norm)
        return angular_target(cosine, margin, beyond_pi)

    def regularizer(target_cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        del target_cosine
        return 1.0 / length(inputs) + length(inputs) / upper_norm**2

    return Margin(target, scale=scale, regularizer=regularizer)


def magface_logits(
    cosine: jax.Array,
    labels: jax.Array,
    norms: jax.Array,
    *,
    lower_norm: float = 10.0,
    upper_norm: float = 110.0,
    lower_margin: float = 0.45,
    upper_margin: float = 0.8,
    scale: float = 64.0,
    beyond_pi: str = "monotone",
) -> tuple[jax.Array, jax.Array]:
    r"""MagFace: an angular margin that grows with the embedding's length (Meng et al. 2021).

    .. math::
      s \cos(\theta_y + m(a)), \qquad m(a) = l_m + \frac{u_m - l_m}{u_a - l_a} (a - l_a), \qquad
      g(a) = \frac{1}{a} + \frac{a}{u_a^2}

    a is the length clipped to [l_a, u_a], in m and in g, as in the released code. Its gradient is
    live in both: that is what makes lengths follow quality. Outside the interval there is none.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label gets no margin.
      norms: `[B]` lengths of the embeddings before normalisation.
      lower_norm: l_a, at least 1e-6: g is infinite at 0.
      upper_norm: u_a.
      lower_margin: l_m, radians.
      upper_margin: u_m, radians.
      scale: s.
      beyond_pi: see `arcface_logits`. The released code: "easy" by default, else "monotone".

    Returns:
      `(logits[B, C], regularizer[B])`, the regularizer g unweighted (the paper's lambda_g is 35).

    Raises:
      ValueError: an option has an unknown name, or a number is out of its range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> logits, regularizer = losses.magface_logits(
      ...     jnp.array([[1.0, 0.0]]), jnp.array([0]), jnp.array([10.0]), scale=1.0)
      >>> [round(x, 4) for x in logits[0].tolist()], round(float(regularizer[0]), 4)  # cos(.45)
      ([0.9004, 0.0], 0.1008)

    References:
      Meng et al., MagFace, CVPR 2021, https://arxiv.org/abs/2103.06627
    """
    magnitude = magface_margin(
        lower_norm=lower_norm,
        upper_norm=upper_norm,
        lower_margin=lower_margin,
        upper_margin=upper_margin,
        scale=scale,
        beyond_pi=beyond_pi,
    )
    inputs = MarginInputs(norms=at_least_float32(norms))
    logits, _ = margin_logits(cosine, labels, magnitude, inputs)
    return logits, magnitude.regularizer(jnp.zeros_like(logits[:, 0]), inputs)
