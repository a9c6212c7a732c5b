"""Which parameters of a run learn, and at which share of the learning rate."""

import dataclasses
import itertools
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


def _parts(layers: Mapping[str, str]) -> tuple[str, ...]:
    """All parts, from the stem to the head."""
    return (*dict.fromkeys(layers.values()), _HEAD)


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """The parts of `{"backbone": ..., "heads": ...}` and how they learn: all alike by default.

    Attributes:
      layers: the part of every layer at the top of the backbone; see `models.backbone_parts`.
      frozen: the parts that do not learn, and whose BatchNorms keep their running statistics.
      factors: of the learning rate, for the parts that do.
      freeze_statistics: whether every BatchNorm keeps its running statistics, wherever it is.
      freeze_batch_norm: the same, and none learns its scale and bias.

    Raises:
      UserError: something is frozen, or has a factor, that no layer belongs to.
    """

    layers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    factors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    freeze_statistics: bool = False
    freeze_batch_norm: bool = False

    def __post_init__(self) -> None:
        parts = _parts(self.layers)
        for name in (*self.frozen, *self.factors):
            if name not in parts:
                raise UserError(f"FineTuning names {name!r}; its layers are of {', '.join(parts)}")
        if (self.freeze_statistics or self.freeze_batch_norm) and not self.layers:
            raise UserError("FineTuning freezes BatchNorms but has no layers: give backbone_parts")

    @property
    def frozen_parts(self) -> tuple[str, ...]:
        """The backbone's parts whose BatchNorms keep their running statistics."""
        every = self.freeze_statistics or self.freeze_batch_norm
        return tuple(part for part in _parts(self.layers)[:-1] if every or part in self.frozen)

    @property
    def has_rates(self) -> bool:
        """Whether some part does not learn at the learning rate as it is."""
        return any(factor != 1 for factor in self.factors.values())

    def freeze(self, module: nn.Module) -> nn.Module:
        """The backbone with the running statistics of `frozen_parts` frozen.

        Raises:
          UserError: the layers are not this backbone's, or it comes with other frozen parts, whose
            parameters would go on learning.
        """
        if self.layers and self.layers != backbone_parts(module):
            raise UserError("fine_tuning is of another backbone: make it for the one that trains")
        others = [p for p in getattr(module, "frozen_parts", ()) if p not in self.frozen_parts]
        if others:
            raise UserError(
                f"the backbone comes with frozen_parts={','.join(others)}, but fine_tuning lets "
                "their parameters learn: give a backbone without, and say in fine_tuning what is "
                "frozen"
            )
        return module.clone(frozen_parts=self.frozen_parts) if self.frozen_parts else module

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

    Whether they fit the network and each other is decided here and nowhere else. Refused is what
    contradicts itself, and what nothing would read: new class centres that are frozen, a rate of a
    frozen part, a decay that no stage follows, statistics "per_device" or in "groups" where every
    BatchNorm is frozen, and stages to recompute that no backward pass reaches. Frozen parts that
    "backbone" or "batch_norm" names again say nothing wrong. With `config.steps=0` nothing learns:
    everything may be frozen, whatever the head, BatchNorms and stages to recompute.

    Args:
      config: the settings.
      module: of `create_backbone`.

    Raises:
      UserError: the first thing that is refused.
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
    fine_tuning = FineTuning(
        layers=layers,
        frozen=frozen,
        factors={part: factors[part] for part in learning},
        freeze_statistics=config.model.batch_norm == "frozen",
        freeze_batch_norm=_BATCH_NORM in settings.frozen,
    )
    if config.steps:
        _check_against_frozen(config, fine_tuning)
    return fine_tuning


def _check_against_frozen(config: Config, fine_tuning: FineTuning) -> None:
    """Refuses settings that what is frozen contradicts, or leaves without effect."""
    if config.init_from.head == "reset" and _HEAD in fine_tuning.frozen:
        raise UserError(
            "config.init_from.frozen names 'head', but config.init_from.head=reset makes new class "
            "centres, which have to learn; choose keep or class_means"
        )
    mode, parts = config.model.batch_norm, _parts(fine_tuning.layers)[:-1]
    if mode in ("per_device", "groups") and fine_tuning.frozen_parts == parts:
        raise UserError(
            f"config.model.batch_norm is {mode!r}, but config.init_from.frozen freezes every "
            "BatchNorm; remove one of them"
        )
    below = set(itertools.takewhile(lambda part: part in fine_tuning.frozen, parts))
    for stage in config.model.remat:
        if f"stage{stage}" in below:
            raise UserError(
                f"config.model.remat has stage {stage}, which has no backward pass: "
                "config.init_from.frozen freezes all from the images to its end; remove it"
            )


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
