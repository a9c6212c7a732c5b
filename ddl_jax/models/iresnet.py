"""IResNet, the improved residual network of insightface's arcface_torch.

Duta et al., "Improved Residual Networks for Image and Video Recognition", ICPR 2021
(arXiv 2004.04989). Layers, numbers and initialisation are those of
`recognition/arcface_torch/backbones/iresnet.py`, so that its weights fit: convolutions
normal(0, 0.1), BatchNorm scale 1 and bias 0, PReLU slopes 0.25, linear layer as torch's default.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddl_jax.models.blocks import BatchNorm, Linear, PReLU, flatten_channels_first


def _convolution(features: int, size: int, stride: int, *, dtype: Any, name: str) -> nn.Conv:
    """A convolution without bias that pads as torch does: "SAME" would pad stride 2 unevenly."""
    pad = size // 2
    return nn.Conv(
        features,
        (size, size),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        use_bias=False,
        dtype=dtype,
        kernel_init=nn.initializers.normal(0.1),
        name=name,
    )


class IBasicBlock(nn.Module):
    """BatchNorm - conv - BatchNorm - PReLU - conv (stride) - BatchNorm, plus the shortcut."""

    features: int
    stride: int
    norm: Callable[..., nn.Module]
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B,H,W,C] -> [B,ceil(H/stride),ceil(W/stride),features]`."""
        convolution = functools.partial(_convolution, self.features, dtype=self.dtype)
        y = self.norm(name="bn1")(x, train)
        y = convolution(3, 1, name="conv1")(y)
        y = self.norm(name="bn2")(y, train)
        y = PReLU(name="prelu")(y)
        y = convolution(3, self.stride, name="conv2")(y)
        y = self.norm(name="bn3")(y, train)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = convolution(1, self.stride, name="downsample_conv")(x)
            x = self.norm(name="downsample_bn")(x, train)
        return x + y


class IResNet(nn.Module):
    """Images to embeddings: a stem, stages of `IBasicBlock` that each halve the image, one
    linear layer and a BatchNorm whose scale is fixed at 1.

    Attributes:
      depths: blocks of every stage.
      widths: channels of every stage.
      stem_width, stem_stride: of the first convolution.
      embedding_size: length of an embedding.
      dtype: of the convolutions; parameters, statistics and the linear layer stay float32.
      batch_norm, axis_name: see `blocks.BatchNorm`.
      dropout: rate before the linear layer; above 0, training needs `rngs={"dropout": key}`.
      remat: recompute every block in the backward pass: less memory, about a third more work.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64
    stem_stride: int = 1
    embedding_size: int = 512
    dtype: Any = jnp.float32
    batch_norm: str = "global"
    axis_name: str | None = None
    dropout: float = 0.0
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Embeds images.

        Args:
          images: `[B,H,W,3]` float, normalised by the model card. The linear layer fits only the
            H and W that it was initialised with.
          train: use and update batch statistics (apply with `mutable=["batch_stats"]`), drop out.

        Returns:
          Embeddings `[B,embedding_size]`, float32, not normalised to length 1.
        """
        norm = functools.partial(BatchNorm, mode=self.batch_norm, axis_name=self.axis_name)
        block = nn.remat(IBasicBlock, static_argnums=(2,)) if self.remat else IBasicBlock
        stem = _convolution(self.stem_width, 3, self.stem_stride, dtype=self.dtype, name="conv1")

        x = stem(images.astype(self.dtype))
        x = norm(name="bn1")(x, train)
        x = PReLU(name="prelu")(x)
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            for index in range(depth):
                stride = 2 if index == 0 else 1
                x = block(width, stride, norm, self.dtype, name=f"layer{stage}_{index}")(x, train)
        x = norm(name="bn2")(x, train)
        x = flatten_channels_first(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        # insightface leaves half precision here too.
        x = Linear(self.embedding_size, name="fc")(x)
        x = norm(learn_scale=False, name="features")(x, train)
        return x.astype(jnp.float32)
