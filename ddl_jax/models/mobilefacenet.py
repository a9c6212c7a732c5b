"""MobileFaceNet, the small network of Chen et al. 2018 (arXiv 1804.07573).

Inverted residuals of MobileNetV2 whose last convolution has no activation, and a depthwise
convolution over the whole last map in place of average pooling. Two forms of it are in use, with
PReLU as in the paper and with ReLU6; the fields of `MobileFaceNet` say where else they differ.
Convolutions start normal with variance 2 / fan-out, BatchNorm at scale 1 and bias 0, PReLU slopes
at 0.25.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddl_jax.models.blocks import BatchNorm, PReLU
from ddl_jax.models.depthwise import depthwise_convolution

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Stage(NamedTuple):
    """A row (t, c, n, s) of the paper's table of inverted residuals."""

    expansion: int
    width: int
    depth: int
    stride: int


class DepthwiseConv(nn.Module):
    """One kernel a channel; without `size` it spans the whole map and leaves one pixel."""

    size: int | None
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B,H,W,C] -> [B,H',W',C]`."""
        size = x.shape[1:3] if self.size is None else (self.size, self.size)
        kernel = self.param("kernel", _depthwise_init, (*size, x.shape[-1])).astype(self.dtype)
        if self.size is None:
            return jnp.einsum("bhwc,hwc->bc", x, kernel)[:, None, None]
        return depthwise_convolution(x, kernel, self.stride, self.size // 2)


def _depthwise_init(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Variance 2 / fan-out, of which a depthwise convolution has only its own taps."""
    return math.sqrt(2 / math.prod(shape[:2])) * jax.random.normal(key, shape)


class ConvNormAct(nn.Module):
    """Convolution - BatchNorm - activation.

    Attributes:
      features: channels out; None makes a depthwise convolution.
      size, stride: of the convolution; `size` None spans the whole map.
      norm: makes the BatchNorm.
      activation: "prelu", "relu6", "relu" or "" for none.
      dtype: of the convolution.
    """

    features: int | None
    size: int | None
    stride: int
    norm: Callable[..., nn.Module]
    activation: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B,H,W,C] -> [B,H',W',features]`, padded so that stride 1 keeps the size."""
        options = dict(use_bias=False, kernel_init=_kernel_init, dtype=self.dtype, name="conv")
        if self.features is None:
            x = DepthwiseConv(self.size, self.stride, self.dtype, name="conv")(x)
        elif self.size == 1:
            # One matrix product over all pixels: on CPU much faster in training than a convolution,
            # and than the same product over four axes (docs/benchmarks.md).
            pixels = nn.Dense(self.features, **options)(x.reshape(-1, x.shape[-1]))
            x = pixels.reshape(*x.shape[:-1], self.features)
        else:
            pad = self.size // 2
            x = nn.Conv(
                self.features,
                (self.size, self.size),
                self.stride,
                padding=((pad, pad), (pad, pad)),
                **options,
            )(x)
        x = self.norm(name="bn")(x, train)
        if self.activation == "prelu":
            return PReLU(name="prelu")(x)
        return {"relu6": nn.relu6, "relu": nn.relu, "": lambda y: y}[self.activation](x)


class InvertedResidual(nn.Module):
    """1x1 to `expanded` channels, depthwise 3x3, 1x1 to `features` without activation."""

    features: int
    expanded: int
    stride: int
    layer: Callable[..., nn.Module]
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B,H,W,C] -> [B,ceil(H/stride),ceil(W/stride),features]`."""
        act = self.activation
        y = self.layer(self.expanded, 1, 1, activation=act, name="expand")(x, train)
        y = self.layer(None, 3, self.stride, activation=act, name="depthwise")(y, train)
        y = self.layer(self.features, 1, 1, activation="", name="project")(y, train)
        return x + y if x.shape == y.shape else y


class MobileFaceNet(nn.Module):
    """Images to embeddings.

    Attributes:
      activation: "prelu" or "relu6", everywhere but in `separable_stem`.
      separable_stem: the second layer is depthwise *and* pointwise, each with a plain ReLU; without
        it is depthwise only, as in the paper.
      embedding_bias: the last convolution has a bias, though a BatchNorm follows.
      stages: of inverted residuals.
      stem_width, last_width: channels of the first layers and of the last map.
      embedding_size: length of an embedding.
      dtype: of the convolutions; parameters, statistics and the last layer stay float32.
      batch_norm, axis_name: see `blocks.BatchNorm`.
      dropout: rate before the last layer; above 0, training needs `rngs={"dropout": key}`.
      remat: recompute every block in the backward pass: less memory, about a third more work.
    """

    activation: str = "prelu"
    separable_stem: bool = False
    embedding_bias: bool = False
    stages: tuple[Stage, ...] = (
        Stage(2, 64, 5, 2),
        Stage(4, 128, 1, 2),
        Stage(2, 128, 6, 1),
        Stage(4, 128, 1, 2),
        Stage(2, 128, 2, 1),
    )
    stem_width: int = 64
    last_width: int = 512
    embedding_size: int = 128
    dtype: Any = jnp.float32
    batch_norm: str = "global"
    axis_name: str | None = None
    dropout: float = 0.0
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Embeds images.

        Args:
          images: `[B,H,W,3]` float, normalised by the model card. The depthwise layer over the last
            map fits only the H and W that it was initialised with.
          train: use and update batch statistics (apply with `mutable=["batch_stats"]`), drop out.

        Returns:
          Embeddings `[B,embedding_size]`, float32, not normalised to length 1.
        """
        norm = functools.partial(BatchNorm, mode=self.batch_norm, axis_name=self.axis_name)
        layer = functools.partial(ConvNormAct, norm=norm, dtype=self.dtype)
        block = nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        act = self.activation

        x = images.astype(self.dtype)
        x = layer(self.stem_width, 3, 2, activation=act, name="stem")(x, train)
        first = "relu" if self.separable_stem else act
        x = layer(None, 3, 1, activation=first, name="stem_depthwise")(x, train)
        if self.separable_stem:
            x = layer(self.stem_width, 1, 1, activation=first, name="stem_pointwise")(x, train)
        blocks = [(stage, index) for stage in self.stages for index in range(stage.depth)]
        for number, (stage, index) in enumerate(blocks):
            stride = stage.stride if index == 0 else 1
            expanded = stage.expansion * x.shape[-1]
            x = block(stage.width, expanded, stride, layer, act, name=f"block_{number}")(x, train)
        x = layer(self.last_width, 1, 1, activation=act, name="last")(x, train)
        x = layer(None, None, 1, activation="", name="pool")(x, train)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(
            self.embedding_size,
            use_bias=self.embedding_bias,
            kernel_init=_kernel_init,
            name="embedding",
        )(x)
        return norm(name="features")(x, train)
