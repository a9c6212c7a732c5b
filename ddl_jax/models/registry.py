"""Backbones by name."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ddl_jax.errors import UserError
from ddl_jax.models.batch_norm import BATCH_NORM_MODES
from ddl_jax.models.iresnet import IResNet
from ddl_jax.models.mobilefacenet import MobileFaceNet, Stage
from ddl_jax.models.parts import backbone_parts

_IR = functools.partial(IResNet, ir=True)
# 0.9 there is the share of the new value.
_MAGFACE = functools.partial(IResNet, fan_out=True, momentum=0.1, epsilon=2e-5, learn_scale=True)

# A name stands for a module class with the fields fixed that make up the architecture; the
# class's other fields are the options, the embedding size among them.
_BACKBONES: dict[str, functools.partial[nn.Module]] = {
    "iresnet18": functools.partial(IResNet, depths=(2, 2, 2, 2)),
    "iresnet34": functools.partial(IResNet, depths=(3, 4, 6, 3)),
    "iresnet50": functools.partial(IResNet, depths=(3, 4, 14, 3)),
    "iresnet100": functools.partial(IResNet, depths=(3, 13, 30, 3)),
    "iresnet200": functools.partial(IResNet, depths=(6, 26, 60, 6)),
    # For a laptop: most of a training step on CPU goes into the gradients of the convolutions at
    # half resolution, hence the narrow stem.
    "iresnet_tiny": functools.partial(
        IResNet, depths=(1, 1, 1, 1), widths=(16, 32, 64, 128), stem_width=8, stem_stride=2
    ),
    "magface_iresnet18": functools.partial(_MAGFACE, depths=(2, 2, 2, 2)),
    "magface_iresnet34": functools.partial(_MAGFACE, depths=(3, 4, 6, 3)),
    "magface_iresnet50": functools.partial(_MAGFACE, depths=(3, 4, 14, 3)),
    "magface_iresnet100": functools.partial(_MAGFACE, depths=(3, 13, 30, 3)),
    "ir_18": functools.partial(_IR, depths=(2, 2, 2, 2)),
    "ir_34": functools.partial(_IR, depths=(3, 4, 6, 3)),
    "ir_50": functools.partial(_IR, depths=(3, 4, 14, 3)),
    "ir_101": functools.partial(_IR, depths=(3, 13, 30, 3)),
    "ir_se_50": functools.partial(_IR, depths=(3, 4, 14, 3), squeeze_excite=True),
    "ir_se_101": functools.partial(_IR, depths=(3, 13, 30, 3), squeeze_excite=True),
    "mobilefacenet": functools.partial(MobileFaceNet),
    "mobilefacenet_relu6": functools.partial(
        MobileFaceNet, activation="relu6", second="separable", embedding_bias=True
    ),
    "mbf": functools.partial(
        MobileFaceNet,
        second="pairs",
        stem_width=128,
        stages=(
            Stage(128, 128, 1, 2),
            Stage(128, 128, 4, 1),
            Stage(256, 256, 1, 2),
            Stage(256, 256, 6, 1),
            Stage(512, 256, 1, 2),
            Stage(256, 256, 2, 1),
        ),
        embedding_size=512,
    ),
    "mbf_large": functools.partial(
        MobileFaceNet,
        second="",
        stem_width=256,
        stages=(
            Stage(128, 256, 2, 1),
            Stage(128, 256, 1, 2),
            Stage(128, 256, 8, 1),
            Stage(256, 512, 1, 2),
            Stage(256, 512, 12, 1),
            Stage(512, 512, 1, 2),
            Stage(256, 512, 4, 1),
        ),
        embedding_size=512,
    ),
}
_OPTIONS = (
    "batch_norm",
    "batch_norm_group",
    "axis_name",
    "frozen_parts",
    "dropout",
    "remat",
)

BACKBONES = tuple(_BACKBONES)


def create_backbone(
    name: str, *, embedding_size: int | None = None, dtype: Any = jnp.float32, **options: Any
) -> nn.Module:
    """Builds a backbone, images to embeddings.

    `module.apply(variables, images[B,H,W,3], train=False)` returns float32 embeddings
    `[B,embedding_size]` that are not normalised; images are normalised by the `ModelCard`. With
    `train=True` apply with `mutable=["batch_stats"]`. Inside a `jax.shard_map` with the default
    `check_vma=True` jax adds up the parameters' gradients over the devices; with False, or in a
    `jax.pmap`, the caller does.

    Args:
      name: one of `BACKBONES`. `iresnet18/34/50/100/200` are insightface's, `iresnet_tiny` is made
        of the same blocks for a quick start on CPU; `magface_iresnet18/34/50/100` are MagFace's,
        whose BatchNorm has another momentum and epsilon, and learns its last scale.
        `ir_18/34/50/101` and `ir_se_50/101` are those of TFace and AdaFace.
        `mobilefacenet` is the paper's, with PReLU; `mobilefacenet_relu6` a form in use, `mbf` and
        `mbf_large` are insightface's; see `mobilefacenet.MobileFaceNet`.
      embedding_size: length of an embedding; None for the network's own, 512, or 128 of the
        MobileFaceNets.
      dtype: of the convolutions, e.g. `jnp.bfloat16`; parameters stay float32.
      **options: `batch_norm` ("global" | "per_device" | "groups" | "frozen"), `batch_norm_group`
        (images of a group) and `axis_name` (the mapped axis "global" means, None outside a map),
        explained at `batch_norm.BatchNorm`; `frozen_parts`, the parts whose BatchNorms alone are
        "frozen", of the names that `backbone_parts` gives; `dropout`, the rate before the linear
        layer, 0 by default (TFace, AdaFace and MagFace train with 0.4); `remat`, a tuple of stages,
        from 1, to recompute in the backward pass, which saves memory.

    Returns:
      A Flax Linen module.

    Raises:
      UserError: an unknown name or option, or a value out of range.
    """
    if name not in _BACKBONES:
        raise UserError(f"unknown backbone {name!r}: use one of {', '.join(BACKBONES)}")
    for option in options:
        if option not in _OPTIONS:
            raise UserError(
                f"unknown option {option!r} of backbone {name}: use one of {', '.join(_OPTIONS)}"
            )
    _check_batch_norm(options.get("batch_norm", "global"), options.get("batch_norm_group", 0))
    _check_dropout(options.get("dropout", 0.0))
    if embedding_size is not None:
        if not _is_whole(embedding_size) or embedding_size < 1:
            raise UserError(f"embedding_size is {embedding_size!r}: use a positive whole number")
        options["embedding_size"] = embedding_size
    for option, example in (("remat", "(1, 2)"), ("frozen_parts", "('stem', 'stage1')")):
        if option in options:
            options[option] = _as_tuple(option, options[option], example)
    module = _BACKBONES[name](dtype=dtype, **options)
    _check_parts(name, module)
    return module


def _check_batch_norm(mode: Any, group: Any) -> None:
    if mode not in BATCH_NORM_MODES:
        raise UserError(f"unknown batch_norm {mode!r}: use one of {', '.join(BATCH_NORM_MODES)}")
    if not _is_whole(group) or group < 0 or (group > 0) != (mode == "groups"):
        raise UserError(
            f"batch_norm_group is {group!r} with batch_norm={mode!r}: give the images of a group, "
            "a whole number, with 'groups', and 0 otherwise"
        )


def _check_dropout(rate: Any) -> None:
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise UserError(f"dropout is {rate!r}: use a rate of at least 0 and below 1")


def _check_parts(name: str, module: nn.Module) -> None:
    """Refuses stages and parts that a backbone lacks."""
    parts = tuple(dict.fromkeys(backbone_parts(module).values()))
    for part in module.frozen_parts:
        if part not in parts:
            raise UserError(
                f"frozen_parts has the unknown part {part!r}: {name} has {', '.join(parts)}"
            )
    for stage in module.remat:
        if not _is_whole(stage) or f"stage{stage}" not in parts:
            stages = sum(part.startswith("stage") for part in parts)
            raise UserError(f"remat has stage {stage!r}: {name} has stages 1 to {stages}")


def _as_tuple(option: str, value: Any, example: str) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise UserError(f"{option} is {value!r}: give a tuple, as {option}={example}")
    return tuple(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
