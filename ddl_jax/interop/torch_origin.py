"""Whose PyTorch weights a file holds, by the names of its tensors."""

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

from ddl_jax.models import BACKBONES, create_backbone


class Origin(NamedTuple):
    """A network as a project's training code saves it.

    Attributes:
      project: who saves it like this; empty where nothing tells.
      prefix: before the names of the network's tensors.
      family: how the names of the project's own networks begin.
      heads: beginnings of the names of what was trained with it.
      colour, mean, deviation: what the project's released networks expect of an image, as in a
        `ModelCard`; None where its releases differ.
    """

    project: str
    prefix: str
    family: str = ""
    heads: tuple[str, ...] = ()
    colour: str | None = None
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    deviation: tuple[float, float, float] = (127.5, 127.5, 127.5)


# DataParallel's "module." before all names is gone already; MagFace has it behind its own too.
_MAGFACE = dict(
    family="magface_iresnet",
    heads=("fc.", "module.fc."),
    colour="BGR",
    mean=(0.0,) * 3,
    deviation=(255.0,) * 3,
)
_ORIGINS = (
    Origin("MagFace", "features.module.", **_MAGFACE),
    Origin("MagFace", "features.", **_MAGFACE),
    Origin("AdaFace (Lightning)", "model.", "ir_", ("head.",), "BGR"),
    Origin("CVLface", "net.", "ir_"),
)
_BARE = Origin("", "")


def find_origin(names: Collection[str]) -> Origin:
    """The origin of a state dict with such names.

    A prefix is one if every name begins with it or a head's, and a known network's names follow. It
    tells the project only if the project has such networks: `model.` is before the names of many
    people's. Otherwise project and colour are empty, and so is a prefix that none of ours is.
    """
    for origin in _ORIGINS:
        own = {name.removeprefix(origin.prefix) for name in names if name.startswith(origin.prefix)}
        rest = [name for name in names if not name.startswith((origin.prefix, *origin.heads))]
        if not own or rest:
            continue
        if network_of(origin, own).startswith(origin.family):
            return origin
        if network_of(_BARE, own):
            return Origin("", origin.prefix)
    return _BARE


def network_of(origin: Origin, names: Collection[str]) -> str:
    """The backbone that has such names, "" if none has.

    Args:
      origin: of `find_origin`.
      names: of the network's tensors, without the prefix.
    """
    if "layer1.0.conv1.weight" in names:
        depths = tuple(_count(rf"layer{stage}\.(\d+)\.", names) for stage in range(1, 5))
        family = "magface_iresnet" if origin.project == "MagFace" else "iresnet"
        return _with(family, lambda name: create_backbone(name).depths == depths)
    if "body.0.res_layer.1.weight" in names:
        blocks = _count(r"body\.(\d+)\.", names)
        family = "ir_se_" if any(".se_block." in name for name in names) else "ir_"
        return _with(family, lambda name: sum(create_backbone(name).depths) == blocks)
    return next((name for name, tensor in _OF_ITS_OWN.items() if tensor in names), "")


# A tensor that no other network has.
_OF_ITS_OWN = {
    "mobilefacenet": "linear7.conv.weight",
    "mobilefacenet_relu6": "gdconv.depthwise.weight",
    "mbf_large": "layers.1.layers.0.layers.0.layers.0.weight",
    "mbf": "conv_sep.layers.0.weight",
}


def _count(pattern: str, names: Collection[str]) -> int:
    return len({match[1] for name in names if (match := re.match(pattern, name))})


def _with(family: str, fits: Callable[[str], bool]) -> str:
    members = (name for name in BACKBONES if re.fullmatch(rf"{family}(\d+|_tiny)", name))
    return next(filter(fits, members), "")
