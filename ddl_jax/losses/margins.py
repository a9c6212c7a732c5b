"""The fixed margins: ArcFace, CosFace, both and SphereFace's factor combined, and none at all."""

import math

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_option, check_range
from ddl_jax.losses.margin import (
    BEYOND_PI,
    Margin,
    MarginInputs,
    angle,
    angular_target,
    margin_logits,
)


def arcface_margin(
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    beyond_pi: str = "monotone",
    gradient: str = "exact",
) -> Margin:
    """The additive angular margin as a `Margin`; see `arcface_logits`."""
    check_option("beyond_pi", beyond_pi, BEYOND_PI)
    check_option("gradient", gradient, ("exact", "straight_through"))
    check_range("margin", margin, 0.0, math.pi, "in radians")
    check_range("scale", scale, 1e-9)

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        del inputs
        moved = angular_target(cosine, margin, beyond_pi)
        if gradient == "straight_through":
            moved = cosine + jax.lax.stop_gradient(moved - cosine)
        return moved

    return Margin(target, scale=scale)


def cosface_margin(*, margin: float = 0.4, scale: float = 64.0) -> Margin:
    """The additive cosine margin as a `Margin`; see `cosface_logits`."""
    check_range("margin", margin, 0.0, 2.0, "in units of cosine")
    check_range("scale", scale, 1e-9)
    return Margin(lambda cosine, inputs: cosine - margin, scale=scale)


def combined_margin(
    *, m1: float = 1.0, m2: float = 0.5, m3: float = 0.0, scale: float = 64.0
) -> Margin:
    """The combined margin as a `Margin`; see `combined_margin_logits`."""
    check_range("m1", m1, 0.0)
    check_range("m2", m2, -math.pi, math.pi, "in radians")
    check_range("m3", m3, -2.0, 2.0, "in units of cosine")
    check_range("scale", scale, 1e-9)

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        del inputs
        return jnp.cos(m1 * angle(cosine) + m2) - m3

    return Margin(target, scale=scale)


def normface_margin(*, scale: float = 64.0) -> Margin:
    """No margin, only normalised embeddings and centres; see `normface_logits`."""
    check_range("scale", scale, 1e-9)
    return Margin(lambda cosine, inputs: cosine, scale=scale)


def arcface_logits(
    cosine: jax.Array,
    labels: jax.Array,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    beyond_pi: str = "monotone",
    gradient: str = "exact",
) -> jax.Array:
    r"""ArcFace: an additive angular margin on the target (Deng et al. 2019, eq. 3).

    .. math:: s \cos(\theta_y + m) \text{ for the target},\quad s \cos\theta_j \text{ otherwise}

    Args:
      cosine: `[B, C]` cosines, e.g. of `cosine_logits`.
      labels: `[B]` integers in [0, C); a row with another label gets no margin.
      margin: m, radians, in [0, pi].
      scale: s.
      beyond_pi: what follows where theta + m exceeds pi. "monotone" continues with
        `cos(theta) - m sin(m)`, as the paper's first code and TFace do: still falling in theta,
        with a jump. "none" lets cos(theta + m) rise again, as insightface's arcface_torch does.
        "easy" is their `easy_margin`: no margin at all where theta exceeds pi / 2.
      gradient: "exact" is the derivative of the formula. "straight_through" takes the derivative of
        the target with respect to its cosine as 1, as arcface_torch does by adding the margin under
        no_grad; the value is the same.

    Returns:
      `[B, C]` logits.

    Raises:
      ValueError: an option has an unknown name, or a number is out of its range.
      AssertionError: ranks or shapes do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> cosine, labels = jnp.array([[0.0, 0.5]]), jnp.array([0])
      >>> [round(x, 3) for x in losses.arcface_logits(cosine, labels, scale=1.0)[0].tolist()]
      [-0.479, 0.5]

    References:
      Deng et al., ArcFace, CVPR 2019, https://arxiv.org/abs/1801.07698
    """
    options = dict(margin=margin, scale=scale, beyond_pi=beyond_pi, gradient=gradient)
    return margin_logits(cosine, labels, arcface_margin(**options))[0]


def cosface_logits(
    cosine: jax.Array, labels: jax.Array, *, margin: float = 0.4, scale: float = 64.0
) -> jax.Array:
    r"""CosFace: an additive cosine margin on the target (Wang et al. 2018, eq. 4).

    .. math:: s (\cos\theta_y - m) \text{ for the target},\quad s \cos\theta_j \text{ otherwise}

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label gets no margin.
      margin: m, in cosine. The paper trains with 0.35; insightface and TFace default to 0.4.
      scale: s.

    Returns:
      `[B, C]` logits.

    Raises:
      ValueError: a number is out of its range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> cosine, labels = jnp.array([[1.0, 0.5]]), jnp.array([0])
      >>> losses.cosface_logits(cosine, labels, margin=0.25, scale=4.0).tolist()
      [[3.0, 2.0]]

    References:
      Wang et al., CosFace, CVPR 2018, https://arxiv.org/abs/1801.09414
    """
    return margin_logits(cosine, labels, cosface_margin(margin=margin, scale=scale))[0]


def combined_margin_logits(
    cosine: jax.Array,
    labels: jax.Array,
    *,
    m1: float = 1.0,
    m2: float = 0.5,
    m3: float = 0.0,
    scale: float = 64.0,
) -> jax.Array:
    r"""The combined margin of the ArcFace paper, its three parts live together (eq. 4).

    .. math:: s (\cos(m_1 \theta_y + m_2) - m_3) \text{ for the target}

    SphereFace's multiplicative, ArcFace's angular and CosFace's cosine margin in one. The formula
    is taken as it stands: it rises again where `m1 * theta + m2` exceeds pi. arcface_torch has only
    the combinations (1, m2, 0) and (1, 0, m3) only; here m1 is not ignored.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label gets no margin.
      m1: factor of the angle.
      m2: added to the angle, radians.
      m3: taken from the cosine.
      scale: s.

    Returns:
      `[B, C]` logits.

    Raises:
      ValueError: a number is out of its range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> logits = losses.combined_margin_logits(
      ...     jnp.array([[0.5, 0.0]]), jnp.array([0]), m1=2.0, m2=0.0, m3=0.25, scale=1.0)
      >>> [round(x, 3) for x in logits[0].tolist()]  # cos(2 * 60 degrees) - 0.25
      [-0.75, 0.0]

    References:
      Deng et al., ArcFace, CVPR 2019, https://arxiv.org/abs/1801.07698
    """
    return margin_logits(cosine, labels, combined_margin(m1=m1, m2=m2, m3=m3, scale=scale))[0]


def normface_logits(cosine: jax.Array, labels: jax.Array, *, scale: float = 64.0) -> jax.Array:
    r"""NormFace: the plain scaled cosine (Wang et al. 2017), the softmax without a margin.

    .. math:: s \cos\theta_j \text{ for every class}

    The paper learns s, starting from a bound that depends on the number of classes; here it is
    given, as it is for the margins.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers; they change nothing, and are there for one signature with the margins.
      scale: s.

    Returns:
      `[B, C]` logits.

    Raises:
      ValueError: a number is out of its range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> losses.normface_logits(jnp.array([[1.0, 0.5]]), jnp.array([0]), scale=4.0).tolist()
      [[4.0, 2.0]]

    References:
      Wang et al., NormFace, ACM MM 2017, https://arxiv.org/abs/1704.06369
    """
    return margin_logits(cosine, labels, normface_margin(scale=scale))[0]
