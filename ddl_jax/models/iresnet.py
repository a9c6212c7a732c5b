"""The improved residual networks of face recognition: IResNet, and IR with or without SE.

Duta et al., "Improved Residual Networks for Image and Video Recognition", ICPR 2021
(arXiv 2004.04989). Layers, numbers and initialisation are those of the projects, so that their
weights fit. IResNet is insightface's (`recognition/arcface_torch/backbones/iresnet.py`):
convolutions normal(0, 0.1), linear layer as torch's default. MagFace's (`models/iresnet.py`) has
another BatchNorm and other first convolutions. IR and IR-SE are those of TFace and AdaFace
(`model_irse.py`, `net.py`), the same but for what the fields of `IResNet` say, and for the dropout
that these projects train with and ours does not unless asked (0.4; MagFace drops whole channels).
BatchNorm starts at scale 1 and bias 0, PReLU slopes at 0.25.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddl_jax.models.batch_norm import BatchNorm
from ddl_jax.models.blocks import (
    Linear,
    Slope,
    SqueezeExcite,
    check_images,
    check_size,
    flatten_channels_first,
    kaiming_normal,
    rematerialised,
)


def _convolution(
    features: int, size: int, stride: int, *, kernel_init: Any, dtype: Any, name: str
) -> nn.Conv:
    """A convolution without bias that pads as torch does: "SAME" would pad stride 2 unevenly."""
    pad = size // 2
    return nn.Conv(
        features,
        (size, size),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        use_bias=False,
        dtype=dtype,
        kernel_init=kernel_init,
        name=name,
    )


class IBasicBlock(nn.Module):
    """BatchNorm - conv - BatchNorm - PReLU - conv (stride) - BatchNorm, plus the shortcut.

    Attributes:
      features: channels out.
      stride: of the second convolution.
      norm, convolution: make the layers.
      pooled_shortcut: see `IResNet.ir`.
      squeeze_excite: whether to end in a `SqueezeExcite`.
    """

    features: int
    stride: int
    norm: Callable[..., nn.Module]
    convolution: Callable[..., nn.Module]
    pooled_shortcut: bool
    squeeze_excite: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[B,H,W,C] -> [B,ceil(H/stride),ceil(W/stride),features]`."""
        convolution = functools.partial(self.convolution, self.features)
        y = self.norm(name="bn1")(x, train)
        y = convolution(3, 1, name="conv1")(y)
        y = self.norm(name="bn2")(y, train, Slope(name="prelu"))
        y = convolution(3, self.stride, name="conv2")(y)
        y = self.norm(name="bn3")(y, train)
        if self.squeeze_excite:
            y = SqueezeExcite(dtype=y.dtype, name="se")(y)
        same = x.shape[-1] == self.features
        if same and self.pooled_shortcut:
            x = x[:, :: self.stride, :: self.stride]
        elif not same or self.stride != 1:
            x = convolution(1, self.stride, name="downsample_conv")(x)
            x = self.norm(name="downsample_bn")(x, train)
        return x + y


class IResNet(nn.Module):
    """Images to embeddings: a stem, stages of `IBasicBlock` that each halve the image, one
    linear layer and a BatchNorm, whose scale is fixed at 1 in all but MagFace's.

    Attributes:
      depths: blocks of every stage.
      widths: channels of every stage.
      stem_width, stem_stride: of the first convolution.
      embedding_size: length of an embedding.
      dtype: of the convolutions; parameters, statistics and the linear layer stay float32.
      batch_norm, batch_norm_group, axis_name: `mode`, `group` and `axis_name` of
        `batch_norm.BatchNorm`.
      frozen_parts: parts whose BatchNorms are "frozen" whatever `batch_norm` says: "stem",
        "stage1", ..., "embedding"; see `parts.backbone_parts`.
      dropout: rate before the linear layer; above 0, training needs `rngs={"dropout": key}`.
      remat: stages, from 1, whose blocks are recomputed in the backward pass: less memory, and for
        all of them about a third more work.
      ir: TFace's and AdaFace's form. Where a block keeps the number of channels its shortcut has no
        parameters, at stride 2 it takes every other pixel; the last BatchNorm has neither scale nor
        bias; convolutions and the linear layer start with variance 2 / fan-out, its bias with 0.
      squeeze_excite: every block ends in a `SqueezeExcite`.
      fan_out: convolutions start with variance 2 / fan-out, as in `ir`.
      momentum, epsilon: of every `BatchNorm`.
      learn_scale: whether the scale of the last BatchNorm learns, as in MagFace.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64
    stem_stride: int = 1
    embedding_size: int = 512
    dtype: Any = jnp.float32
    batch_norm: str = "global"
    batch_norm_group: int = 0
    axis_name: str | None = None
    frozen_parts: tuple[str, ...] = ()
    dropout: float = 0.0
    remat: tuple[int, ...] = ()
    ir: bool = False
    squeeze_excite: bool = False
    fan_out: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5
    learn_scale: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Embeds images.

        Args:
          images: `[B,H,W,3]` float, normalised by the model card, of the H and W that the network
            was initialised with. Only the last map's number of pixels is looked at here: 96x112 in
            place of 112x96 is refused by `ModelCard.normalise`.
          train: use and update batch statistics (apply with `mutable=["batch_stats"]`), drop out.

        Returns:
          Embeddings `[B,embedding_size]`, float32, not normalised to length 1.

        Raises:
          UserError: images of another type, layout or size.
        """
        fan_out = self.ir or self.fan_out
        kernel_init = kaiming_normal if fan_out else nn.initializers.normal(0.1)
        convolution = functools.partial(_convolution, kernel_init=kernel_init, dtype=self.dtype)

        check_images(images)
        x = images.astype(self.dtype)
        x = convolution(self.stem_width, 3, self.stem_stride, name="conv1")(x)
        norm = self._norm("stem")
        x = norm(name="bn1")(x, train, Slope(name="prelu"))
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            norm = self._norm(f"stage{stage}")
            block = rematerialised(IBasicBlock, stage in self.remat)
            for index in range(depth):
                stride = 2 if index == 0 else 1
                x = block(
                    width,
                    stride,
                    norm,
                    convolution,
                    self.ir,
                    self.squeeze_excite,
                    name=f"layer{stage}_{index}",
                )(x, train)
        norm = self._norm("embedding")
        x = norm(name="bn2")(x, train)
        x = flatten_channels_first(x)
        if not self.is_initializing():
            kernel = self.get_variable("params", "fc")["kernel"]
            check_size(images, f"{x.shape[1]} numbers", f"{kernel.shape[0]} numbers")
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        # insightface leaves half precision here too.
        linear = functools.partial(nn.Dense, kernel_init=kaiming_normal) if self.ir else Linear
        x = linear(self.embedding_size, name="fc")(x)
        x = norm(learn_scale=self.learn_scale, affine=not self.ir, name="features")(x, train)
        return x.astype(jnp.float32)

    def _norm(self, part: str) -> Callable[..., nn.Module]:
        """Makes the BatchNorms of a part."""
        mode = "frozen" if part in self.frozen_parts else self.batch_norm
        return functools.partial(
            BatchNorm,
            mode=mode,
            group=self.batch_norm_group,
            axis_name=self.axis_name,
            momentum=self.momentum,
            epsilon=self.epsilon,
        )
