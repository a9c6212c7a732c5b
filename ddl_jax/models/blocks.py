"""Layers every backbone shares, with PyTorch's numerical conventions."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddl_jax.errors import UserError

BATCH_NORM_MODES = ("global", "per_device", "frozen")

# torch's kaiming_normal_(mode="fan_out", nonlinearity="relu").
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

# torch.nn.Linear's own initialisation, kaiming_uniform(a=sqrt(5)), is U(+-1/sqrt(fan_in)).
_linear_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def batch_moments(x: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array, int]:
    """Mean and biased variance per channel, and how many values they were taken over.

    Args:
      x: `[..., C]`, float32 or wider.
      axis_name: the mapped axis over whose devices the moments are taken; None: this device's.

    Returns:
      `(mean[C], variance[C], count)`.
    """
    axes = tuple(range(x.ndim - 1))
    count = math.prod(x.shape[:-1])
    mean = jnp.mean(x, axes)
    # Squared deviations, never E[x^2] - E[x]^2: that one cancels when the mean is large.
    variance = jnp.mean(jnp.square(x - jnp.expand_dims(mean, axes)), axes)
    if axis_name is None:
        return mean, variance, count
    # Parts of equal size combine exactly, and only vectors of C numbers cross the devices.
    global_mean = jax.lax.pmean(mean, axis_name)
    variance = jax.lax.pmean(variance + jnp.square(mean - global_mean), axis_name)
    return global_mean, variance, count * jax.lax.axis_size(axis_name)


class BatchNorm(nn.Module):
    """Batch normalisation of the last axis, as `torch.nn.BatchNorm1d` and `2d` do it.

    The biased variance normalises and the *unbiased* one enters the running variance;
    `flax.linen.BatchNorm` stores the biased one. Statistics are float32 whatever the input is.

    Attributes:
      mode: "global": statistics over the batches of all devices on `axis_name`, so that N devices
        give the numbers of one; "per_device": over this device's own batch, as the references
        do, so that the running statistics come out different on every device and the training
        step has to average them; "frozen": the running statistics, never updated, in training
        too.
      axis_name: the mapped axis of "global"; None when one device sees the whole batch.
      momentum: the share of the old value a running statistic keeps (1 - torch's momentum).
      epsilon: added to the variance.
      learn_scale: False keeps the scale fixed at 1 as insightface does on its embeddings. It then
        lives in `batch_stats`, where neither gradients nor weight decay reach it.
      affine: False has neither scale nor bias, as TFace's on its embeddings.
    """

    mode: str = "global"
    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    learn_scale: bool = True
    affine: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Normalises `x[..., C]`; same shape and dtype out.

        Raises:
          UserError: one value per channel in training: it would be normalised to zero.
        """
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape)
        scale, bias = self._affine(shape)

        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean, variance = running_mean.value, running_variance.value
        # init runs outside the map, where the axis does not exist.
        if train and self.mode != "frozen" and not self.is_initializing():
            axis_name = self.axis_name if self.mode == "global" else None
            mean, variance, count = batch_moments(wide, axis_name)
            if count < 2:
                raise UserError(
                    f"BatchNorm in training needs two values per channel, its input {x.shape} has "
                    "one: give every device at least two images, or use batch_norm='frozen'"
                )
            unbiased = variance * (count / (count - 1))
            running_mean.value = self._update(running_mean.value, mean)
            running_variance.value = self._update(running_variance.value, unbiased)

        multiplier = scale * jax.lax.rsqrt(variance + self.epsilon)
        leading = tuple(range(x.ndim - 1))
        centred = wide - jnp.expand_dims(mean, leading)
        y = centred * jnp.expand_dims(multiplier, leading) + jnp.expand_dims(bias, leading)
        return y.astype(x.dtype)

    def _affine(self, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        if not self.affine:
            return jnp.ones(shape), jnp.zeros(shape)
        if self.learn_scale:
            scale = self.param("scale", nn.initializers.ones, shape)
        else:
            scale = self.variable("batch_stats", "scale", jnp.ones, shape).value
        return scale, self.param("bias", nn.initializers.zeros, shape)

    def _update(self, old: jax.Array, new: jax.Array) -> jax.Array:
        return self.momentum * old + (1 - self.momentum) * jax.lax.stop_gradient(new)


class PReLU(nn.Module):
    """`x` where positive, else `slope * x`, with one learned slope per channel (0.25 at first).

    `flax.linen.PReLU` has a single slope for all channels.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`x[..., C]`; same shape and dtype out."""
        slope = self.param("slope", nn.initializers.constant(0.25), x.shape[-1:])
        slope = jnp.expand_dims(slope.astype(x.dtype), tuple(range(x.ndim - 1)))
        return jnp.where(x > 0, x, slope * x)


class Linear(nn.Module):
    """Affine map of the last axis to `features`, initialised as `torch.nn.Linear` is:
    kernel and bias uniform in +-1/sqrt(fan_in)."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`x[..., C] -> [..., features]` in `dtype`."""
        bias_init = functools.partial(_uniform, limit=1 / math.sqrt(x.shape[-1]))
        dense = nn.Dense(
            self.features,
            dtype=self.dtype,
            kernel_init=_linear_kernel_init,
            bias_init=bias_init,
        )
        nn.share_scope(self, dense)
        return dense(x)


class SqueezeExcite(nn.Module):
    """Scales every channel by a share that the means of all channels decide (Hu et al. 2018).

    In between are a sixteenth of the channels; the two linear maps have no bias.

    Attributes:
      dtype: of their products.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B,H,W,C]`; same shape and dtype out."""
        linear = functools.partial(
            nn.Dense, use_bias=False, kernel_init=kaiming_normal, dtype=self.dtype
        )
        channels = x.shape[-1]
        share = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        share = nn.relu(linear(channels // 16, name="squeeze")(share))
        share = nn.sigmoid(linear(channels, name="excite")(share))
        return x * share[:, None, None].astype(x.dtype)


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any, *, limit: float) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -limit, limit)


def flatten_channels_first(x: jax.Array) -> jax.Array:
    """`[B,H,W,C] -> [B,C*H*W]` in PyTorch's order, so that its linear weights fit unpermuted."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
