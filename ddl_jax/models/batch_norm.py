"""Batch normalisation by PyTorch's conventions, with the PReLU that may follow it.

On an accelerator a network spends about half of its step in passes over memory around the
convolutions, so this makes as few as it can: one for both moments, two for the gradient, and
PReLU's input is made again rather than kept. docs/benchmarks.md says what that is worth.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddl_jax.errors import UserError
from ddl_jax.models.varying import vary_together

BATCH_NORM_MODES = ("global", "per_device", "groups", "frozen")


class BatchNorm(nn.Module):
    """Batch normalisation of the last axis, as `torch.nn.BatchNorm1d` and `2d` do it.

    The biased variance normalises and the *unbiased* one enters the running variance;
    `flax.linen.BatchNorm` stores the biased one. Statistics are float32 whatever the input is.
    In training it can be differentiated in reverse mode only.

    Attributes:
      mode: "global" (SyncBN): statistics over the batches of all devices on `axis_name`, so that N
        devices give the numbers of one; "per_device": over this device's own batch, as the
        references do, so that the running statistics come out different on every device and the
        training step has to average them; "groups" (Ghost BatchNorm, Hoffer et al. 2017, arXiv
        1705.08741): over every `group` images that follow each other, as "per_device" on so many
        devices more; "frozen": the running statistics, never updated, in training too.
      axis_name: the mapped axis of "global"; None when one device sees the whole batch.
      group: images of a group; 0 for the other modes.
      momentum: the share of the old value a running statistic keeps (1 - torch's momentum).
      epsilon: added to the variance.
      learn_scale: False keeps the scale fixed at 1 as insightface does on its embeddings. It then
        lives in `batch_stats`, where neither gradients nor weight decay reach it.
      affine: False has neither scale nor bias, as TFace's on its embeddings.
    """

    mode: str = "global"
    axis_name: str | None = None
    group: int = 0
    momentum: float = 0.9
    epsilon: float = 1e-5
    learn_scale: bool = True
    affine: bool = True

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        prelu: Callable[[int], jax.Array] | None = None,
    ) -> jax.Array:
        """Normalises `x[B,...,C]`; same shape and dtype out.

        Args:
          x: images or vectors.
          train: whether to use and update the batch's statistics.
          prelu: gives the C slopes of a PReLU that follows, as `blocks.Slope` does; None: none.

        Raises:
          UserError: one value per channel in training: it would be normalised to zero; or a batch
            that groups do not divide.
        """
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale, bias = self._affine(shape)
        slope = None if prelu is None else prelu(shape[0])
        # init runs outside the map, where the axis does not exist.
        if not train or self.mode == "frozen" or self.is_initializing():
            inverse = jax.lax.rsqrt(running_variance.value + self.epsilon)
            return _activate(x, running_mean.value, inverse, scale, bias, slope).astype(x.dtype)

        y, mean, unbiased = self._normalise(x, scale, bias, slope)
        running_mean.value = self._update(running_mean.value, mean)
        running_variance.value = self._update(running_variance.value, unbiased)
        return y

    def _normalise(self, x, scale, bias, slope):
        """The output, and the mean and unbiased variance that enter the running ones."""
        x, scale, bias, slope = vary_together(x, scale, bias, slope)
        axis_name = self.axis_name if self.mode == "global" else None
        count = math.prod(x.shape[:-1]) * (jax.lax.axis_size(axis_name) if axis_name else 1)
        normalise = functools.partial(_normalise, self.epsilon, axis_name)
        if self.mode != "groups":
            y, mean, variance = normalise(x, scale, bias, slope)
        elif self.group < 1 or x.shape[0] % self.group:
            raise UserError(
                f"BatchNorm cannot split a device's {x.shape[0]} images into groups of "
                f"{self.group}: give a number that divides them, or use batch_norm='per_device'"
            )
        else:
            groups = x.shape[0] // self.group
            count //= groups
            split = x.reshape(groups, self.group, *x.shape[1:])
            each = jax.vmap(normalise, in_axes=(0, None, None, None))(split, scale, bias, slope)
            y, mean, variance = each[0].reshape(x.shape), jnp.mean(each[1], 0), jnp.mean(each[2], 0)
        if count < 2:
            raise UserError(
                f"BatchNorm in training needs two values per channel, its input {x.shape} has "
                "one: give every device at least two images, or use batch_norm='frozen'"
            )
        return y, mean, variance * (count / (count - 1))

    def _affine(self, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        if not self.affine:
            return jnp.ones(shape, jnp.float32), jnp.zeros(shape, jnp.float32)
        if self.learn_scale:
            scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        else:
            scale = self.variable("batch_stats", "scale", jnp.ones, shape, jnp.float32).value
        return scale, self.param("bias", nn.initializers.zeros, shape, jnp.float32)

    def _update(self, old: jax.Array, new: jax.Array) -> jax.Array:
        moved = self.momentum * old + (1 - self.momentum) * jax.lax.stop_gradient(new)
        return moved.astype(old.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _normalise(epsilon, axis_name, x, scale, bias, slope):
    """The batch normalised, its mean and biased variance; no gradient passes through these two."""
    return _forward(epsilon, axis_name, x, scale, bias, slope)[0]


def _forward(epsilon, axis_name, x, scale, bias, slope):
    mean, variance = _moments(_wide(x), axis_name)
    inverse = jax.lax.rsqrt(variance + epsilon)
    y = _activate(x, mean, inverse, scale, bias, slope).astype(x.dtype)
    return (y, mean, variance), (x, mean, inverse, scale, bias, slope)


def _backward(epsilon, axis_name, saved, gradients):
    x, mean, inverse, scale, bias, slope = saved
    axes = tuple(range(x.ndim - 1))
    vector = functools.partial(jnp.expand_dims, axis=axes)
    dy = _wide(gradients[0])
    normalised = (_wide(x) - vector(mean)) * vector(inverse)
    d_slope = None
    if slope is not None:
        inside = normalised * vector(scale) + vector(bias)
        d_slope = jnp.sum(jnp.where(inside > 0, 0, inside) * dy, axes).astype(slope.dtype)
        dy = jnp.where(inside > 0, dy, vector(slope) * dy)
    d_bias, d_scale = jnp.sum(dy, axes), jnp.sum(dy * normalised, axes)
    # What y changes by when x moves the mean and the deviation, those of all devices.
    mean_dy, mean_dy_x = (total / math.prod(x.shape[:-1]) for total in (d_bias, d_scale))
    if axis_name is not None:
        mean_dy, mean_dy_x = jax.lax.pmean((mean_dy, mean_dy_x), axis_name)
    dx = vector(scale * inverse) * (dy - vector(mean_dy) - normalised * vector(mean_dy_x))
    return dx.astype(x.dtype), d_scale.astype(scale.dtype), d_bias.astype(bias.dtype), d_slope


_normalise.defvjp(_forward, _backward)


def _moments(x: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance per channel of `x[..., C]`, over all devices of an axis."""
    axes = tuple(range(x.ndim - 1))
    # One pass over x for both. E[x^2] - E[x]^2 cancels where the mean is large, so distances from
    # the first image's mean are taken: one of B images is sqrt(B - 1) deviations from the mean at
    # most, and the square of that is what rounding grows by. One of N pixels may be sqrt(N - 1).
    start = jnp.mean(x[0], axes[:-1])
    distance = x - jnp.expand_dims(start, axes)
    mean = jnp.mean(distance, axes)
    variance = jnp.maximum(jnp.mean(jnp.square(distance), axes) - jnp.square(mean), 0)
    mean += start
    if axis_name is None:
        return mean, variance
    # Parts of equal size combine exactly, and only vectors of C numbers cross the devices.
    global_mean = jax.lax.pmean(mean, axis_name)
    return global_mean, jax.lax.pmean(variance + jnp.square(mean - global_mean), axis_name)


def _activate(x, mean, inverse, scale, bias, slope):
    """`(x - mean) * inverse * scale + bias`, in float32 or wider, and the PReLU if there is one."""
    vector = functools.partial(jnp.expand_dims, axis=tuple(range(x.ndim - 1)))
    y = (_wide(x) - vector(mean)) * vector(inverse * scale) + vector(bias)
    return y if slope is None else jnp.where(y > 0, y, vector(slope) * y)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
