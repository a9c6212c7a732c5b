"""insightface's IResNet in PyTorch, the other side of comparisons; needs torch.

Layers, names of parameters and arithmetic of `ddl_jax.models.iresnet.IResNet`, so that a state dict
that `ddl_jax.interop.save_torch_backbone` wrote loads into it.
"""

import torch
from torch import nn

DEPTHS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}
_WIDTHS = (64, 128, 256, 512)


def _convolution(channels: int, features: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, features, size, stride, padding=size // 2, bias=False)


class _Block(nn.Module):
    def __init__(self, channels: int, features: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = _convolution(channels, features, 3)
        self.bn2 = nn.BatchNorm2d(features)
        self.prelu = nn.PReLU(features)
        self.conv2 = _convolution(features, features, 3, stride)
        self.bn3 = nn.BatchNorm2d(features)
        self.downsample = None
        if stride != 1 or channels != features:
            shortcut = _convolution(channels, features, 1, stride)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(features))

    def forward(self, x):
        y = self.bn2(self.conv1(self.bn1(x)))
        y = self.bn3(self.conv2(self.prelu(y)))
        return y + (x if self.downsample is None else self.downsample(x))


class TorchIResNet(nn.Module):
    """`[B,3,H,W]` normalised images to `[B,embedding_size]` embeddings, of the parameters' type.

    Under autocast the convolutions are in half precision and the linear layer is not, as with
    `create_backbone(name, dtype=jnp.bfloat16)`.
    """

    def __init__(
        self, name: str, embedding_size: int = 512, input_size: tuple[int, int] = (112,) * 2
    ):
        super().__init__()
        if name not in DEPTHS:
            raise ValueError(f"{name} is not written in PyTorch here, {', '.join(DEPTHS)} are")
        self.conv1 = _convolution(3, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        channels = 64
        for stage, (depth, width) in enumerate(zip(DEPTHS[name], _WIDTHS, strict=True), 1):
            blocks = []
            for index in range(depth):
                blocks.append(_Block(channels, width, 1 if index else 2))
                channels = width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(channels)
        pixels = -(-input_size[0] // 16) * -(-input_size[1] // 16)
        self.fc = nn.Linear(channels * pixels, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        self.features.weight.requires_grad = False

    def forward(self, images):
        x = self.prelu(self.bn1(self.conv1(images)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        x = self.bn2(x).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            return self.features(self.fc(x.to(self.fc.weight.dtype)))


def arcface_loss(embeddings, centers, labels, *, margin: float = 0.5, scale: float = 64.0):
    """Mean ArcFace loss as insightface computes it: `[B,D]`, `[C,D]`, `[B]`; margin in radians."""
    unit = nn.functional.normalize
    cosine = nn.functional.linear(unit(embeddings), unit(centers))
    cosine = cosine.to(torch.promote_types(cosine.dtype, torch.float32)).clamp(-1, 1)
    rows = torch.arange(len(labels), device=labels.device)
    angle = torch.acos(cosine[rows, labels].clamp(-1 + 1e-7, 1 - 1e-7))
    logits = cosine.index_put((rows, labels), torch.cos(angle + margin))
    return nn.functional.cross_entropy(scale * logits, labels)
