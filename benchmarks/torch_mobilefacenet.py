"""MobileFaceNet in PyTorch with PReLU, the other side of comparisons; needs torch.

Layers, names of parameters and arithmetic of `create_backbone("mobilefacenet")`, so that a state
dict that `ddl_jax.interop.save_torch_backbone` wrote loads into it.
"""

from torch import nn

# Ratio of the channels in between, channels out, blocks, stride of the first of them.
_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class _Layer(nn.Module):
    """Convolution - BatchNorm - PReLU or nothing."""

    def __init__(self, channels, features, size, stride=1, *, depthwise=False, active=True):
        super().__init__()
        size = (size, size) if isinstance(size, int) else size
        self.conv = nn.Conv2d(
            channels,
            features,
            size,
            stride,
            padding=1 if size == (3, 3) else 0,
            groups=channels if depthwise else 1,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(features)
        self.prelu = nn.PReLU(features) if active else nn.Identity()

    def forward(self, x):
        return self.prelu(self.bn(self.conv(x)))


class _Block(nn.Module):
    def __init__(self, channels, expanded, features, stride):
        super().__init__()
        layers = (
            _Layer(channels, expanded, 1),
            _Layer(expanded, expanded, 3, stride, depthwise=True),
            _Layer(expanded, features, 1, active=False),
        )
        # One flat Sequential, as the files of this network number it.
        flat = [part for layer in layers for part in (layer.conv, layer.bn, layer.prelu)]
        self.conv = nn.Sequential(*flat[:-1])
        self.residual = stride == 1 and channels == features

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class TorchMobileFaceNet(nn.Module):
    """`[B,3,H,W]` normalised images to `[B,embedding_size]` embeddings."""

    def __init__(self, embedding_size: int = 128, input_size: tuple[int, int] = (112, 112)):
        super().__init__()
        self.conv1 = _Layer(3, 64, 3, 2)
        self.dw_conv1 = _Layer(64, 64, 3, depthwise=True)
        blocks, channels = [], 64
        for ratio, features, depth, stride in _STAGES:
            for index in range(depth):
                blocks.append(_Block(channels, ratio * channels, features, 1 if index else stride))
                channels = features
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = _Layer(channels, 512, 1)
        last = tuple(-(-size // 16) for size in input_size)
        self.linear7 = _Layer(512, 512, last, depthwise=True, active=False)
        self.linear1 = _Layer(512, embedding_size, 1, active=False)

    def forward(self, images):
        x = self.blocks(self.dw_conv1(self.conv1(images)))
        return self.linear1(self.linear7(self.conv2(x))).flatten(1)
