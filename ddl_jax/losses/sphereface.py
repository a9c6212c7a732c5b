"""SphereFace: a multiplicative angular margin."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_range
from ddl_jax.losses.margin import Margin, MarginInputs, angle, margin_logits


def sphereface_margin(
    *, margin: float = 4.0, scale: float = 64.0, annealing: float = 0.0
) -> Margin:
    """The multiplicative angular margin as a `Margin`; see `sphereface_logits`."""
    check_range("margin", margin, 1.0, unit="a factor of the angle")
    check_range("scale", scale, 1e-9)
    check_range("annealing", annealing, 0.0)

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        del inputs
        theta = margin * angle(cosine)
        turns = jnp.floor(jax.lax.stop_gradient(theta) / jnp.pi)
        sign = 1.0 - 2.0 * (turns % 2.0)
        folded = sign * jnp.cos(theta) - 2.0 * turns
        return (annealing * cosine + folded) / (1.0 + annealing)

    return Margin(target, scale=scale)


def sphereface_logits(
    cosine: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 4.0,
    scale: float = 64.0,
    annealing: float = 0.0,
) -> jax.Array:
    r"""SphereFace: the angle of the target times a factor (Liu et al. 2017, eq. 7 and its psi).

    .. math::
      s \frac{\lambda \cos\theta_y + \psi(\theta_y)}{1 + \lambda}, \quad
      \psi(\theta) = (-1)^k \cos(m\theta) - 2k, \quad
      \theta \in \left[\tfrac{k\pi}{m}, \tfrac{(k+1)\pi}{m}\right]

    psi falls over [0, pi], from 1 to `1 - 2m` where m is a whole number. The paper trains with
    m = 4 and lets lambda fall from 1000 to 5 (its released code); lambda = 0 is the loss it writes,
    which does not start from scratch at a scale of 64.

    The paper normalises class centres only: its scale is the length of each embedding. Here, as in
    its successors, embeddings are normalised and the scale is given.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label gets no margin.
      margin: m, a factor of the angle, at least 1; any number, not only the paper's integers.
      scale: s.
      annealing: lambda, the weight of the plain cosine.

    Returns:
      `[B, C]` logits.

    Raises:
      ValueError: a number is out of its range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> cosine, labels = jnp.array([[0.0, 0.5]]), jnp.array([0])
      >>> [round(x, 3) for x in losses.sphereface_logits(cosine, labels, margin=3.0, scale=1.0)[0]
      ...  .tolist()]  # 3 * 90 degrees: k = 1, -cos(270 degrees) - 2
      [-2.0, 0.5]

    References:
      Liu et al., SphereFace, CVPR 2017, https://arxiv.org/abs/1704.08063
    """
    margin_of_paper = sphereface_margin(margin=margin, scale=scale, annealing=annealing)
    return margin_logits(cosine, labels, margin_of_paper)[0]
