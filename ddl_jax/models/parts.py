"""The parts of a backbone that fine-tuning treats apart: its stem, its stages, its last layers."""

from collections.abc import Sequence

import flax.linen as nn

from ddl_jax.models.iresnet import IResNet
from ddl_jax.models.mobilefacenet import MobileFaceNet

_STEM = ("conv1", "bn1", "prelu", "stem", "stem_depthwise", "stem_pointwise")
_EMBEDDING = ("bn2", "last", "pool", "fc", "embedding", "features")


def backbone_parts(module: nn.Module) -> dict[str, str]:
    """The part that each layer of a backbone belongs to.

    Args:
      module: of `create_backbone`.

    Returns:
      A part for every name at the top of `params["backbone"]`, and for layers that other networks
      of the family have; parts in the order of the images' way: "stem", "stage1", "stage2", ...,
      "embedding". A stage begins where the module's `depths` or `stages` say.

    Raises:
      TypeError: the module is none of `create_backbone`.
    """
    if isinstance(module, IResNet):
        blocks = _iresnet_blocks(module.depths)
    elif isinstance(module, MobileFaceNet):
        blocks = _mobilefacenet_blocks([stage.depth for stage in module.stages])
    else:
        raise TypeError(f"{type(module).__name__} is no backbone of create_backbone")
    return dict.fromkeys(_STEM, "stem") | blocks | dict.fromkeys(_EMBEDDING, "embedding")


def _iresnet_blocks(depths: Sequence[int]) -> dict[str, str]:
    stages = enumerate(depths, 1)
    return {f"layer{stage}_{i}": f"stage{stage}" for stage, depth in stages for i in range(depth)}


def _mobilefacenet_blocks(depths: Sequence[int]) -> dict[str, str]:
    """Its blocks are numbered through."""
    stages = [f"stage{stage}" for stage, depth in enumerate(depths, 1) for _ in range(depth)]
    return {f"block_{number}": stage for number, stage in enumerate(stages)}


def is_batch_norm(layer: str) -> bool:
    """Whether a layer of this name, e.g. the "bn1" of a block, is a BatchNorm, in any backbone."""
    return "bn" in layer or layer == "features"
