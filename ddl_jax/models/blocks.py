"""Layers every backbone shares, with PyTorch's numerical conventions."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddl_jax.errors import UserError

# torch's kaiming_normal_(mode="fan_out", nonlinearity="relu").
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

# torch.nn.Linear's own initialisation, kaiming_uniform(a=sqrt(5)), is U(+-1/sqrt(fan_in)).
_linear_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Slope(nn.Module):
    """The learned slopes of a PReLU below zero, one per channel, 0.25 at first.

    The PReLU itself is a part of the BatchNorm before it, which asks for them.
    """

    @nn.compact
    def __call__(self, channels: int) -> jax.Array:
        """`[channels]` float32."""
        return self.param("slope", nn.initializers.constant(0.25), (channels,))


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


def check_images(images: jax.Array) -> None:
    """Refuses what no network takes: pixels that nobody normalised, or another layout.

    Raises:
      UserError: not floats, or not `[B,H,W,3]`.
    """
    if not jnp.issubdtype(images.dtype, jnp.floating) or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(
            f"images are {images.dtype} {images.shape}, expected floats (B, H, W, 3): normalise "
            "them by the model card, colours last"
        )


def check_size(images: jax.Array, found: Any, wanted: Any) -> None:
    """Refuses images of another size than that which the last layers were made for.

    The parameters tell only the size of the last map, which is that of the image over 16 or 32,
    rounded up: a depthwise layer tells height and width, a linear one their product alone, so that
    an IResNet for 112x96 takes 96x112 too.

    Raises:
      UserError: `found`, of the last map of these images, is not `wanted`, of the parameters.
    """
    if found != wanted:
        raise UserError(
            f"images of {images.shape[1]}x{images.shape[2]} do not fit the parameters: the last "
            f"map has {found}, they are for {wanted}; give images of the model card's input_size"
        )


def rematerialised(block: type[nn.Module], again: bool) -> type[nn.Module]:
    """A block called with `(x, train)`; `again` makes its values again in the backward pass."""
    return nn.remat(block, static_argnums=(2,)) if again else block


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any, *, limit: float) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -limit, limit)


def flatten_channels_first(x: jax.Array) -> jax.Array:
    """`[B,H,W,C] -> [B,C*H*W]` in PyTorch's order, so that its linear weights fit unpermuted."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
