"""AdaFace: the margin follows the quality of the image, read from the length of its embedding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_sum
from ddl_jax.losses.checks import check_range
from ddl_jax.losses.margin import Margin, MarginInputs, angle, margin_logits
from ddl_jax.losses.masked import masked_mean

_EPSILON = 1e-3  # of the released code: of cosines, of angles and of the deviation
_SHORTEST, _LONGEST = 1e-3, 100.0


class AdaFaceState(NamedTuple):
    """Running statistics of the embeddings' lengths.

    Attributes:
      mean: of the lengths.
      std: their sample standard deviation.
    """

    mean: jax.typing.ArrayLike = 20.0
    std: jax.typing.ArrayLike = 100.0


def adaface_margin(
    *, margin: float = 0.4, h: float = 0.333, scale: float = 64.0, update_rate: float = 0.01
) -> Margin:
    """The quality-adaptive margin as a `Margin`, its state `AdaFaceState`; see `adaface_logits`."""
    check_range("margin", margin, 0.0, jnp.pi / 2, "in radians and in units of cosine")
    check_range("h", h, 0.0)
    check_range("scale", scale, 1e-9)
    check_range("update_rate", update_rate, 0.0, 1.0)

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        state = inputs.state
        quality = (_lengths(inputs) - state.mean) / (state.std + _EPSILON)
        quality = jnp.clip(h * quality, -1.0, 1.0)
        theta = jnp.clip(angle(_inside(cosine)) - margin * quality, _EPSILON, jnp.pi - _EPSILON)
        return jnp.cos(theta) - margin * (1.0 + quality)

    def negatives(cosine: jax.Array, target_cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        del target_cosine, inputs
        return _inside(cosine)

    def update(
        target_cosine: jax.Array, inputs: MarginInputs, where: jax.Array, axis_name: str | None
    ) -> AdaFaceState:
        del target_cosine
        lengths = _lengths(inputs)
        count = axis_sum(jnp.sum(where), axis_name)
        mean = masked_mean(lengths, where, axis_name)
        squares = axis_sum(jnp.sum((lengths - mean) ** 2, where=where), axis_name)
        std = jnp.sqrt(squares / jnp.maximum(count - 1, 1))

        def moved(new: jax.Array, old: jax.Array, enough: jax.Array) -> jax.Array:
            return jnp.where(enough, update_rate * new + (1.0 - update_rate) * old, old)

        # One row has a mean, but no deviation; the references' becomes NaN there.
        return AdaFaceState(
            moved(mean, inputs.state.mean, count > 0), moved(std, inputs.state.std, count > 1)
        )

    return Margin(target, negatives, scale=scale, initial_state=AdaFaceState(), update=update)


def adaface_logits(
    cosine: jax.Array,
    labels: jax.Array,
    norms: jax.Array,
    state: AdaFaceState,
    *,
    margin: float = 0.4,
    h: float = 0.333,
    scale: float = 64.0,
    update_rate: float = 0.01,
    axis_name: str | None = None,
) -> tuple[jax.Array, AdaFaceState]:
    r"""AdaFace: easy images get the larger margin where quality is high (Kim et al. 2022).

    .. math::
      s \left( \cos(\theta_y - m \hat z) - m (1 + \hat z) \right), \qquad
      \hat z = \operatorname{clip}\left( h \frac{\lVert x \rVert - \mu}{\sigma}, -1, 1 \right)

    z-hat of -1 is ArcFace, 0 CosFace, 1 a negative angular margin. mu and sigma are exponential
    means of the batches' mean and deviation, this batch included. As in the released code all
    cosines are clipped to +-(1 - 1e-3), lengths to [1e-3, 100], the moved angle to
    [1e-3, pi - 1e-3], and 1e-3 is added to sigma.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label does not enter the statistics.
      norms: `[B]` lengths of the embeddings before normalisation; constants to the gradient.
      state: `AdaFaceState()` before the first batch.
      margin: m, radians and units of cosine at once, in [0, pi / 2].
      h: how far from the mean the margin saturates: at 1 / h deviations.
      scale: s.
      update_rate: weight of the new batch in the statistics (the released head's own default, 1.0,
        is overridden with 0.01 in its training).
      axis_name: rows are the device's own part; statistics are those of the global batch. (The
        references' are each GPU's own.)

    Returns:
      `(logits[B, C], state)`.

    Raises:
      ValueError: a number is out of its range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> logits, state = losses.adaface_logits(
      ...     jnp.array([[0.5, 0.0]]), jnp.array([0]), jnp.array([20.0]), losses.AdaFaceState(),
      ...     margin=0.25, scale=4.0)
      >>> [round(x, 4) for x in logits[0].tolist()], float(state.mean)  # mean quality: CosFace
      ([1.0, 0.0], 20.0)

    References:
      Kim et al., AdaFace, CVPR 2022, https://arxiv.org/abs/2204.00964
    """
    adaptive = adaface_margin(margin=margin, h=h, scale=scale, update_rate=update_rate)
    inputs = MarginInputs(norms=norms, state=state)
    return margin_logits(cosine, labels, adaptive, inputs, axis_name=axis_name)


def _lengths(inputs: MarginInputs) -> jax.Array:
    if inputs.norms is None:
        raise ValueError("adaface got no norms; give the lengths of the embeddings")
    return jnp.clip(jax.lax.stop_gradient(inputs.norms), _SHORTEST, _LONGEST)


def _inside(cosine: jax.Array) -> jax.Array:
    return jnp.clip(cosine, -1.0 + _EPSILON, 1.0 - _EPSILON)
