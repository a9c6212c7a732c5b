"""Margins of the margin softmax: what is done to the target cosine and to the other cosines."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from ddl_jax.losses.cosine import at_least_float32


class MarginInputs(NamedTuple):
    """What a margin may look at besides cosines.

    Attributes:
      norms: `[B]` lengths of the embeddings, or None where a caller has only cosines.
      state: the margin's running statistics, or None for a margin without any.
    """

    norms: jax.Array | None = None
    state: Any = None


class Margin(NamedTuple):
    """A margin softmax, told by what happens to the target and to the other classes.

    Attributes:
      target: `(target_cosine[B], inputs) -> [B]`, the target's cosine with its margin.
      negatives: `(cosine[B, C], target_cosine[B], inputs) -> [B, C]`, the cosines of the other
        classes; the columns of targets are computed too and thrown away.
      scale: the factor from cosines to logits (the field's `s`).
    """

    target: Callable[[jax.Array, MarginInputs], jax.Array]
    negatives: Callable[[jax.Array, jax.Array, MarginInputs], jax.Array] = (
        lambda cosine, target_cosine, inputs: cosine
    )
    scale: float = 64.0


def margin_logits(
    cosine: jax.Array, labels: jax.Array, margin: Margin, inputs: MarginInputs | None = None
) -> jax.Array:
    """Logits of any margin: what `arcface_logits` and the others are made of.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label has no target, so all its logits
        are those of negatives.
      margin: the margin.
      inputs: what the margin looks at besides cosines.

    Returns:
      `[B, C]` logits.

    Raises:
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> halved = losses.Margin(lambda cosine, inputs: cosine / 2, scale=10.0)
      >>> losses.margin_logits(jnp.array([[0.5, 0.5]]), jnp.array([1]), halved).tolist()
      [[5.0, 2.5]]
    """
    chex.assert_rank([cosine, labels], [2, 1])
    chex.assert_equal_shape_prefix([cosine, labels], 1)
    chex.assert_type(labels, int)
    cosine, inputs = at_least_float32(cosine), inputs or MarginInputs()
    is_target = labels[:, None] == jnp.arange(cosine.shape[1])[None, :]
    target_cosine = jnp.sum(jnp.where(is_target, cosine, 0.0), axis=1)
    target = margin.target(target_cosine, inputs)
    negatives = margin.negatives(cosine, target_cosine, inputs)
    return margin.scale * jnp.where(is_target, target[:, None], negatives)


def arcface_margin(
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    beyond_pi: str = "monotone",
    gradient: str = "exact",
) -> Margin:
    """The additive angular margin as a `Margin`; see `arcface_logits`."""
    _one_of("beyond_pi", beyond_pi, ("monotone", "none"))
    _one_of("gradient", gradient, ("exact", "straight_through"))

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        del inputs
        moved = cosine * jnp.cos(margin) - _sine(cosine) * jnp.sin(margin)
        if beyond_pi == "monotone":
            moved = jnp.where(cosine > -jnp.cos(margin), moved, cosine - margin * jnp.sin(margin))
        if gradient == "straight_through":
            moved = cosine + jax.lax.stop_gradient(moved - cosine)
        return moved

    return Margin(target, scale=scale)


def cosface_margin(*, margin: float = 0.4, scale: float = 64.0) -> Margin:
    """The additive cosine margin as a `Margin`; see `cosface_logits`."""
    return Margin(lambda cosine, inputs: cosine - margin, scale=scale)


def combined_margin(
    *, m1: float = 1.0, m2: float = 0.5, m3: float = 0.0, scale: float = 64.0
) -> Margin:
    """The combined margin as a `Margin`; see `combined_margin_logits`."""

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        del inputs
        # arctan2 of a guarded sine: arccos has an infinite derivative at +-1 and none beyond.
        theta = jnp.arctan2(_sine(cosine), cosine)
        return jnp.cos(m1 * theta + m2) - m3

    return Margin(target, scale=scale)


_MARGINS = {"arcface": arcface_margin, "cosface": cosface_margin, "combined": combined_margin}


def named_margin(name: str, **options: Any) -> Margin:
    """The `Margin` of a name, "arcface", "cosface" or "combined", with that margin's own options.

    Raises:
      ValueError: no margin has this name.

    Examples:
      >>> from ddl_jax import losses
      >>> losses.named_margin("cosface", margin=0.35).scale
      64.0
    """
    _one_of("margin", name, tuple(_MARGINS))
    return _MARGINS[name](**options)


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
      gradient: "exact" is the derivative of the formula. "straight_through" takes the derivative of
        the target with respect to its cosine as 1, as arcface_torch does by adding the margin under
        no_grad; the value is the same.

    Returns:
      `[B, C]` logits.

    Raises:
      ValueError: an option has an unknown name.
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
    return margin_logits(cosine, labels, arcface_margin(**options))


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
      AssertionError: ranks or shapes do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> cosine, labels = jnp.array([[1.0, 0.5]]), jnp.array([0])
      >>> losses.cosface_logits(cosine, labels, margin=0.25, scale=4.0).tolist()
      [[3.0, 2.0]]

    References:
      Wang et al., CosFace, CVPR 2018, https://arxiv.org/abs/1801.09414
    """
    return margin_logits(cosine, labels, cosface_margin(margin=margin, scale=scale))


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
      AssertionError: ranks or shapes do not fit.

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
    return margin_logits(cosine, labels, combined_margin(m1=m1, m2=m2, m3=m3, scale=scale))


def _sine(cosine: jax.Array) -> jax.Array:
    """sin(theta) >= 0 from cos(theta): 0 with gradient 0 where rounding left |cosine| >= 1."""
    squared = (1.0 - cosine) * (1.0 + cosine)  # exact near +-1, where 1 - c * c cancels
    inside = squared > 0
    return jnp.where(inside, jnp.sqrt(jnp.where(inside, squared, 1.0)), 0.0)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{option} is {value!r}; choose one of {', '.join(known)}")
