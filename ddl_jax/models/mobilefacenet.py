"""MobileFaceNet, the small network of Chen et al. 2018 (arXiv 1804.07573).

Inverted residuals of MobileNetV2 whose last convolution has no activation, and a depthwise
convolution over the whole last map in place of average pooling. Three forms of it are in use: with
PReLU as in the paper, with ReLU6, and insightface's wider `mbf` and `mbf_large`
(`recognition/arcface_torch/backbones/mobilefacenet.py`); the fields of `MobileFaceNet` say where
they differ. Convolutions start normal with variance 2 / fan-out, BatchNorm at scale 1 and bias 0,
PReLU slopes at 0.25.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddl_jax.models.batch_norm import BatchNorm
from ddl_jax.models.blocks import (
    Slope,
    check_images,
    check_size,
    kaiming_normal,
    rematerialised,
)
from ddl_jax.models.depthwise import depthwise_convolution


class Stage(NamedTuple):
    """A row of the paper's table of inverted residuals.

    Attributes:
      expanded: channels in between; the paper gives their ratio t to the channels in.
      width: channels out.
      depth: blocks.
      stride: of the first of them.
    """

    expanded: int
    width: int
    depth: int
    stride: int


class DepthwiseConv(nn.Module):
    """A kernel for every channel, which sees this channel alone or a group of them.

    Attributes:
      size: of the kernel; None spans the whole map and leaves one pixel.
      stride: along both axes.
      dtype: of the products.
      group: channels that a kernel sees; as many come out of a group as go in.
    """

    size: int | None
    stride: int
    dtype: Any
    group: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B,H,W,C] -> [B,H',W',C]`."""
        size = x.shape[1:3] if self.size is None else (self.size, self.size)
        # Fan-out as torch counts it, over all channels, whatever a kernel sees.
        shape = (*size, self.group, x.shape[-1])
        kernel = self.param("kernel", kaiming_normal, shape, jnp.float32).astype(self.dtype)
        if self.size is None:
            return jnp.einsum("bhwc,hwc->bc", x, kernel[:, :, 0])[:, None, None]
        convolve = functools.partial(
            depthwise_convolution, stride=self.stride, padding=self.size // 2
        )
        if self.group == 1:
            return convolve(x, kernel[:, :, 0])
        # A sum of depthwise ones, for which there is a form fast on CPU: the first channel of every
        # group with its part of the kernels, the second one with its part, ...
        groups = x.reshape(*x.shape[:-1], -1, self.group)
        each = (jnp.repeat(groups[..., i], self.group, axis=-1) for i in range(self.group))
        return sum(convolve(part, kernel[:, :, i]) for i, part in enumerate(each))


_AFTER_NORM = {"relu6": nn.relu6, "relu": nn.relu, "prelu": lambda x: x, "": lambda x: x}


class ConvNormAct(nn.Module):
    """Convolution - BatchNorm - activation.

    Attributes:
      features: channels out; None makes a depthwise convolution.
      size, stride: of the convolution; `size` None spans the whole map.
      norm: makes the BatchNorm.
      activation: "prelu", "relu6", "relu" or "" for none.
      dtype: of the convolution.
      group: see `DepthwiseConv`.
    """

    features: int | None
    size: int | None
    stride: int
    norm: Callable[..., nn.Module]
    activation: str
    dtype: Any
    group: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B,H,W,C] -> [B,H',W',features]`, padded so that stride 1 keeps the size."""
        options = dict(use_bias=False, kernel_init=kaiming_normal, dtype=self.dtype, name="conv")
        if self.features is None:
            x = DepthwiseConv(self.size, self.stride, self.dtype, self.group, name="conv")(x)
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
        prelu = Slope(name="prelu") if self.activation == "prelu" else None
        x = self.norm(name="bn")(x, train, prelu)
        return _AFTER_NORM[self.activation](x)


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
      activation: "prelu" or "relu6", everywhere but in a separable second layer.
      second: what follows the first convolution: a "depthwise" one, as in the paper; a "separable"
        one, depthwise and pointwise, each with a plain ReLU; one whose kernels see two channels,
        "pairs"; or "" for nothing.
      embedding_bias: the last convolution has a bias, though a BatchNorm follows.
      stages: of inverted residuals.
      stem_width, last_width: channels of the first layers and of the last map.
      embedding_size: length of an embedding.
      dtype: of the convolutions; parameters, statistics and the last layer stay float32.
      batch_norm, batch_norm_group, axis_name: `mode`, `group` and `axis_name` of
        `batch_norm.BatchNorm`.
      frozen_parts: parts whose BatchNorms are "frozen" whatever `batch_norm` says: "stem",
        "stage1", ..., "embedding"; see `parts.backbone_parts`.
      dropout: rate before the last layer; above 0, training needs `rngs={"dropout": key}`.
      remat: stages, from 1, whose blocks are recomputed in the backward pass: less memory, and for
        all of them about a third more work.
    """

    activation: str = "prelu"
    second: str = "depthwise"
    embedding_bias: bool = False
    stages: tuple[Stage, ...] = (
        Stage(128, 64, 5, 2),
        Stage(256, 128, 1, 2),
        Stage(256, 128, 6, 1),
        Stage(512, 128, 1, 2),
        Stage(256, 128, 2, 1),
    )
    stem_width: int = 64
    last_width: int = 512
    embedding_size: int = 128
    dtype: Any = jnp.float32
    batch_norm: str = "global"
    batch_norm_group: int = 0
    axis_name: str | None = None
    frozen_parts: tuple[str, ...] = ()
    dropout: float = 0.0
    remat: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Embeds images.

        Args:
          images: `[B,H,W,3]` float, normalised by the model card. The depthwise layer over the last
            map fits only the H and W that it was initialised with.
          train: use and update batch statistics (apply with `mutable=["batch_stats"]`), drop out.

        Returns:
          Embeddings `[B,embedding_size]`, float32, not normalised to length 1.

        Raises:
          UserError: images of another type, layout or size.
        """
        act = self.activation

        check_images(images)
        x = images.astype(self.dtype)
        layer = self._layer("stem")
        x = layer(self.stem_width, 3, 2, activation=act, name="stem")(x, train)
        first = "relu" if self.second == "separable" else act
        if self.second:
            group = 2 if self.second == "pairs" else 1
            second = layer(None, 3, 1, activation=first, group=group, name="stem_depthwise")
            x = second(x, train)
        if self.second == "separable":
            x = layer(self.stem_width, 1, 1, activation=first, name="stem_pointwise")(x, train)
        number = itertools.count()
        for which, stage in enumerate(self.stages, 1):
            layer = self._layer(f"stage{which}")
            block = rematerialised(InvertedResidual, which in self.remat)
            for index in range(stage.depth):
                stride = stage.stride if index == 0 else 1
                name = f"block_{next(number)}"
                x = block(stage.width, stage.expanded, stride, layer, act, name=name)(x, train)
        layer = self._layer("embedding")
        x = layer(self.last_width, 1, 1, activation=act, name="last")(x, train)
        if not self.is_initializing():
            kernel = self.get_variable("params", "pool")["conv"]["kernel"]
            found, wanted = (f"{h}x{w} pixels" for h, w in (x.shape[1:3], kernel.shape[:2]))
            check_size(images, found, wanted)
        x = layer(None, None, 1, activation="", name="pool")(x, train)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(
            self.embedding_size,
            use_bias=self.embedding_bias,
            kernel_init=kaiming_normal,
            name="embedding",
        )(x)
        return self._norm("embedding")(name="features")(x, train)

    def _layer(self, part: str) -> Callable[..., nn.Module]:
        """Makes the layers of a part."""
        return functools.partial(ConvNormAct, norm=self._norm(part), dtype=self.dtype)

    def _norm(self, part: str) -> Callable[..., nn.Module]:
        """Makes the BatchNorms of a part."""
        mode = "frozen" if part in self.frozen_parts else self.batch_norm
        return functools.partial(
            BatchNorm, mode=mode, group=self.batch_norm_group, axis_name=self.axis_name
        )
