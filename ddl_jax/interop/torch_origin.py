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


# A file of a hundred thousand names behind as many prefixes is no trainer's, and would take hours.
_MOST_PREFIXES = 20


def network_prefixes(names: Collection[str]) -> list[str]:
    """What stands before the names of every known network in a state dict, whatever it is.

    >>> network_prefixes(["model.module.layer1.0.conv1.weight", "model.module.fc.weight", "head.t"])
    ['model.module.']
    """
    anchors = (_IRESNET, _IR, *_OF_ITS_OWN.values())
    found = {
        name.removesuffix(anchor)
        for name in names
        for anchor in anchors
        if name == anchor or name.endswith(f".{anchor}")
    }
    prefixes: list[str] = []
    for prefix in sorted(found, key=len)[:_MOST_PREFIXES]:
        # Inside a network, parts of it may look like another's whole.
        inside = any(prefix.startswith(outer) for outer in prefixes)
        if not inside and network_of(_BARE, _behind(prefix, names)):
            prefixes.append(prefix)
    return prefixes


def find_origin(names: Collection[str]) -> Origin:
    """The origin of a state dict with such names.

    The prefix is what stands before the names of a known network, empty where there is none or
    more than one. It tells the project only if the project has such networks and all else is its
    head's: `model.` is before the names of many people's. Otherwise project and colour are empty.
    """
    prefixes = network_prefixes(names)
    if len(prefixes) != 1:
        return _BARE
    own = _behind(prefixes[0], names)
    for origin in _ORIGINS:
        if origin.prefix == prefixes[0] and network_of(origin, own).startswith(origin.family):
            if all(name.startswith((origin.prefix, *origin.heads)) for name in names):
                return origin
    return Origin("", prefixes[0])


def _behind(prefix: str, names: Collection[str]) -> set[str]:
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def network_of(origin: Origin, names: Collection[str]) -> str:
    """The backbone that has such names, "" if none has.

    Args:
      origin: of `find_origin`.
      names: of the network's tensors, without the prefix.
    """
    if _IRESNET in names:
        depths = tuple(_count(rf"layer{stage}\.(\d+)\.", names) for stage in range(1, 5))
        family = "magface_iresnet" if origin.project == "MagFace" else "iresnet"
        return _with(family, lambda name: create_backbone(name).depths == depths)
    if _IR in names:
        blocks = _count(r"body\.(\d+)\.", names)
        family = "ir_se_" if any(".se_block." in name for name in names) else "ir_"
        return _with(family, lambda name: sum(create_backbone(name).depths) == blocks)
    return next((name for name, tensor in _OF_ITS_OWN.items() if tensor in names), "")


# A tensor that no other family has, and one that no other network has.
_IRESNET, _IR = "layer1.0.conv1.weight", "body.0.res_layer.1.weight"
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
