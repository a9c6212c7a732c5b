"""PyTorch weights under names that nobody knows: layer for layer, in order, by kind and shape."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ddl_jax.errors import UserError
from ddl_jax.interop.one_line import cut, short

# Our name of a tensor to theirs, by kind of layer.
_KINDS = {
    "convolution": {"kernel": "weight"},
    "linear layer": {"kernel": "weight", "bias": "bias"},
    "PReLU": {"slope": "weight"},
    "BatchNorm": {
        "scale": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    },
    "BatchNorm without scale": {"mean": "running_mean", "var": "running_var"},
}

_Path = tuple[str, ...]


class _Layer(NamedTuple):
    name: str
    leaves: dict[str, object]  # last part of a tensor's name to what stands for the tensor


def names_by_order(
    orders: Sequence[Sequence[_Path]], theirs: Mapping[str, np.ndarray], where: str
) -> dict[_Path, str]:
    """For each of our paths the tensor that stands at its place: the n-th layer is the n-th layer.

    Kinds are compared, here, and shapes, by the caller: between layers of one kind and one shape
    the order is all there is to go by.

    Args:
      orders: our paths `(collection, module, ..., leaf)`, layers in each order in which a file may
        have them; the first that fits is taken.
      theirs: a state dict in the order of its registration, without counters.
      where: what does not fit, for the error.

    Raises:
      UserError: names the first layers that differ in kind or number, in the order that fits
        furthest.
    """
    found = _layers([(*name.rpartition(".")[::2], name) for name in theirs])
    furthest = (-1, "")
    for ours in orders:
        wanted = _layers([(".".join(path[1:-1]), path[-1], path) for path in ours])
        names, differs = _pair(wanted, found, theirs)
        if not differs:
            return names
        furthest = max(furthest, (len(names), differs), key=lambda problem: problem[0])
    raise UserError(
        f"{where}: its names are unknown, and in order of layers {furthest[1]}: check the "
        "network's name"
    )


def _pair(
    wanted: list[_Layer], found: list[_Layer], theirs: Mapping[str, np.ndarray]
) -> tuple[dict[_Path, str], str]:
    """The tensors of the layers that fit, one after the other, and what the first other one is."""
    names: dict[_Path, str] = {}
    for number, (our, their) in enumerate(itertools.zip_longest(wanted, found), 1):
        if our is None or their is None:
            more, layer = ("no", our) if their is None else ("another", their)
            return names, f"it has {more} layer {short(layer.name)} as number {number}"
        kind, other = _our_kind(our), _their_kind(their, theirs)
        if kind != other:
            told = f"number {number}, {short(their.name)}, is a {other}, but {our.name!r} a {kind}"
            return names, told
        names |= {our.leaves[leaf]: their.leaves[torch] for leaf, torch in _KINDS[kind].items()}
    return names, ""


def _layers(tensors: list[tuple[str, str, object]]) -> list[_Layer]:
    layers: dict[str, _Layer] = {}
    for module, leaf, whole in tensors:
        layers.setdefault(module, _Layer(module, {})).leaves[leaf] = whole
    return list(layers.values())


def _our_kind(layer: _Layer) -> str:
    return next(kind for kind, leaves in _KINDS.items() if set(leaves) == set(layer.leaves))


def _their_kind(layer: _Layer, tensors: Mapping[str, np.ndarray]) -> str:
    for kind, leaves in _KINDS.items():
        if set(leaves.values()) == set(layer.leaves):
            # A slope a channel is the only weight of one axis that stands alone.
            alone = len(leaves) == 1 and tensors[layer.leaves["weight"]].ndim == 1
            return "PReLU" if alone else kind
    return f"layer of {cut(', '.join(layer.leaves))}"
