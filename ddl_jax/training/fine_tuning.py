"""Which parameters of a run learn, and at which share of the learning rate."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util

from ddl_jax import config as config_lib
from ddl_jax.config import Config
from ddl_jax.errors import UserError
from ddl_jax.models import backbone_parts, is_batch_norm

_HEAD, _BACKBONE, _BATCH_NORM = "head", "backbone", "batch_norm"


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """The parts of `{"backbone": ..., "heads": ...}` and how they learn: all alike by default.

    Attributes:
      layers: the part of every layer at the top of the backbone; see `models.backbone_parts`.
      frozen: the parts that do not learn.
      factors: of the learning rate, for the parts that do.
      frozen_parts: the backbone's parts whose BatchNorms keep their running statistics.
      freeze_batch_norm: whether no BatchNorm learns its scale and bias, wherever it is.
    """

    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    frozen_parts: tuple[str, ...] = ()
    freeze_batch_norm: bool = False

    @property
    def has_rates(self) -> bool:
        """Whether some part does not learn at the learning rate as it is."""
        return any(factor != 1 for factor in self.factors.values())

    def learnt(self, params: Any) -> Any:
        """The parameters that learn: a tree of the same names without the others.

        The optimizer knows these alone, so that the others take no memory in its state and do not
        decay, and nobody computes or adds up their gradients.
        """
        flat = traverse_util.flatten_dict(params)
        return traverse_util.unflatten_dict(
            {path: leaf for path, leaf in flat.items() if self._learns(path)}
        )

    def moving(self, batch_stats: Any) -> Any:
        """The running statistics that a step moves, of those of all layers."""
        return {
            layer: statistics
            for layer, statistics in batch_stats.items()
            if self.layers.get(layer) not in self.frozen_parts
        }

    def labels(self, params: Any) -> Any:
        """The part of every parameter, as a tree of the same names."""
        flat = traverse_util.flatten_dict(params)
        return traverse_util.unflatten_dict({path: self._part(path) for path in flat})

    def describe(self, params: Any) -> str:
        """A line for whoever starts a run; empty where everything learns at the whole rate."""
        frozen = (*self.frozen, *(["every BatchNorm"] if self.freeze_batch_norm else []))
        rates = [f"{part} x {factor:.4g}" for part, factor in self.factors.items()]
        if not frozen and not self.has_rates:
            return ""
        learnt, whole = (
            sum(leaf.size for leaf in jax.tree.leaves(tree.get(_BACKBONE)))
            for tree in (self.learnt(params), params)
        )
        centers = " and the class centres" if _HEAD in self.factors else ""
        return "; ".join(
            ([f"frozen: {', '.join(frozen)}"] if frozen else [])
            + ([f"learning rate: {', '.join(rates)}"] if self.has_rates else [])
            + [f"{learnt:,} of the {whole:,} parameters{centers} learn"]
        )

    def _part(self, path: tuple[str, ...]) -> str | None:
        return self.layers.get(path[1]) if path[0] == _BACKBONE else _HEAD

    def _learns(self, path: tuple[str, ...]) -> bool:
        if self.freeze_batch_norm and path[0] == _BACKBONE and is_batch_norm(path[-2]):
            return False
        return self._part(path) not in self.frozen


EVERYTHING = FineTuning()


def overlay(tree: Any, part: Any) -> Any:
    """`tree` with what `FineTuning.learnt` or `moving` made of it, and a step changed, in place."""
    flat = traverse_util.flatten_dict(tree, keep_empty_nodes=True)
    return traverse_util.unflatten_dict(flat | traverse_util.flatten_dict(part))


def make_fine_tuning(config: Config, module: nn.Module) -> FineTuning:
    """What `config.init_from` says about the parts of a backbone.

    Raises:
      UserError: it names a part that the backbone lacks, leaves nothing to learn, or has a setting
        that nothing would read.
    """
    settings, layers = config.init_from, backbone_parts(module)
    parts, rates = _parts(layers), config_lib.part_rates(settings)
    _check_names("frozen", settings.frozen, (*parts, _BACKBONE, _BATCH_NORM), config.model.name)
    _check_names("rates", rates, (*parts, _BACKBONE), config.model.name)
    named = {part for name in settings.frozen for part in _meant(name, parts)}
    frozen = tuple(part for part in parts if part in named)
    learning = tuple(part for part in parts if part not in named)
    if not learning and config.steps:
        raise UserError(
            f"config.init_from.frozen is {','.join(settings.frozen)}, which leaves nothing to "
            "learn; free a part, or set config.steps=0 to evaluate the weights as they are"
        )
    for name in rates:
        if not set(_meant(name, parts)) & set(learning):
            raise UserError(
                f"config.init_from.rates has {name!r}, which config.init_from.frozen freezes; "
                "remove one of them"
            )
    factors, without = (_factors(parts, rates, decay) for decay in (settings.layer_decay, 1.0))
    if settings.layer_decay != 1 and all(factors[part] == without[part] for part in learning):
        raise UserError(
            f"config.init_from.layer_decay is {settings.layer_decay}, but every stage is frozen or "
            "has a rate of its own; remove it"
        )
    freeze_batch_norm = _BATCH_NORM in settings.frozen
    no_statistics = freeze_batch_norm or config.model.batch_norm == "frozen"
    return FineTuning(
        layers=layers,
        frozen=frozen,
        factors={part: factors[part] for part in learning},
        frozen_parts=tuple(part for part in parts[:-1] if no_statistics or part in frozen),
        freeze_batch_norm=freeze_batch_norm,
    )


def _parts(layers: Mapping[str, str]) -> tuple[str, ...]:
    """All parts, from the stem to the head."""
    return (*dict.fromkeys(layers.values()), _HEAD)


def _meant(name: str, parts: tuple[str, ...]) -> tuple[str, ...]:
    """The parts that a name of the settings stands for; BatchNorms are none."""
    return parts[:-1] if name == _BACKBONE else (name,)


def _check_names(key: str, names: Iterable[str], known: tuple[str, ...], network: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"config.init_from.{key} names {name!r}; {network} has {', '.join(known)}"
            )


def _factors(parts: tuple[str, ...], rates: Mapping[str, float], decay: float) -> dict[str, float]:
    """The factor of every part: its own, else the backbone's, else that of the decay."""
    *stages, last, head = parts
    # As in ELECTRA and BEiT: the farther from the loss, the more general is what was learnt.
    factors = {part: decay**power for power, part in enumerate(reversed(stages), 1)}
    factors |= {last: 1.0, head: 1.0}
    if _BACKBONE in rates:
        factors |= dict.fromkeys(parts[:-1], rates[_BACKBONE])
    return {part: rates.get(part, factors[part]) for part in parts}
