"""The functional train state: all that a step changes, and nothing else."""

from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ddl_jax import parallel
from ddl_jax.config import Config
from ddl_jax.errors import UserError
from ddl_jax.models import PREPROCESSING, ModelCard, create_backbone
from ddl_jax.training.fine_tuning import EVERYTHING, FineTuning
from ddl_jax.training.objective import head_names, initial_loss_state

# Class centres are padded to a multiple of this, whatever the devices: a checkpoint then has one
# shape everywhere, and 1, 2, 4 ... 1024 devices share them evenly.
_CLASS_MULTIPLE = 1024
_CENTER_DEVIATION = 0.01  # of new class centres, as in arcface_torch


class TrainState(flax.struct.PyTreeNode):
    """What a checkpoint holds. Functions (module, optimizer) are made again from the config.

    Attributes:
      step: int32, finished updates.
      params: `{"backbone": ..., "heads": {name: {"class_centers": [C padded, D]}}}`.
      batch_stats: running statistics of the backbone.
      loss_state: what the losses remember: of `objective.initial_loss_state`.
      opt_state: of the Optax optimizer, for the parameters that learn.
      skipped: int32 counts of the steps that changed nothing, as something in them was not finite:
        `total`, and those `in_a_row` up to now.
      averaged: variables of the backbone, averaged over the updates; None where the config keeps no
        average.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    loss_state: Any
    opt_state: Any
    skipped: Any
    averaged: Any = None

    @property
    def variables(self) -> Any:
        """The backbone to evaluate: `{"params": ..., "batch_stats": ...}`, averaged if kept so."""
        if self.averaged is not None:
            return self.averaged
        return {"params": self.params["backbone"], "batch_stats": self.batch_stats}


def padded_classes(classes: int) -> int:
    """The rows of a head for this many classes."""
    return -(-classes // _CLASS_MULTIPLE) * _CLASS_MULTIPLE


def make_module(config: Config, axis_name: str | None = parallel.AXIS) -> nn.Module:
    """The backbone of a config, to be trained over a mapped axis, or on one device with None.

    What `config.init_from` freezes is the business of `make_train_step`.

    Raises:
      UserError: a setting that this network cannot have.
    """
    model = config.model
    try:
        return create_backbone(
            model.name,
            embedding_size=model.embedding_size,
            dtype=jnp.dtype(model.dtype),
            batch_norm=model.batch_norm,
            batch_norm_group=model.batch_norm_group,
            dropout=model.dropout,
            remat=model.remat,
            axis_name=axis_name if model.batch_norm == "global" else None,
        )
    except UserError as error:
        raise UserError(f"config.model: {error}") from error


def make_card(config: Config) -> ModelCard:
    """The model card of a network trained from scratch under a config."""
    model = config.model
    return ModelCard(
        network=model.name,
        input_size=tuple(model.input_size),
        embedding_size=model.embedding_size,
        **told_preprocessing(config),
    )


def told_preprocessing(config: Config) -> dict[str, Any]:
    """What a config says of colour, mean and deviation."""
    values = {name: getattr(config.model, name) for name in PREPROCESSING}
    return {name: value for name, value in values.items() if value}


def init_backbone(module: nn.Module, card: ModelCard, key: jax.Array) -> Any:
    """Fresh variables `{"params": ..., "batch_stats": ...}` of a backbone."""
    return module.init(key, jnp.zeros((1, *card.input_size, 3), jnp.float32))


def init_heads(key: jax.Array, names: tuple[str, ...], classes: int, embedding_size: int) -> Any:
    """Fresh class centres, normal with a small deviation."""
    shape = (padded_classes(classes), embedding_size)
    keys = jax.random.split(key, len(names))
    return {
        name: {"class_centers": _CENTER_DEVIATION * jax.random.normal(k, shape)}
        for name, k in zip(names, keys)
    }


def init_state(
    config: Config,
    module: nn.Module,
    card: ModelCard,
    optimizer: optax.GradientTransformation,
    *,
    classes: int,
    mesh: Mesh,
    fine_tuning: FineTuning = EVERYTHING,
) -> TrainState:
    """The state of step 0, made in place on the devices of the mesh."""

    def init() -> TrainState:
        backbone_key, head_key = jax.random.split(jax.random.key(config.seed))
        variables = init_backbone(module, card, backbone_key)
        params = {
            "backbone": variables["params"],
            "heads": init_heads(head_key, head_names(config), classes, card.embedding_size),
        }
        zero = jnp.zeros((), jnp.int32)
        return TrainState(
            step=zero,
            params=params,
            batch_stats=variables["batch_stats"],
            loss_state=initial_loss_state(config),
            opt_state=optimizer.init(fine_tuning.learnt(params)),
            skipped={"total": zero, "in_a_row": zero},
            averaged=variables if config.optimizer.ema_decay else None,
        )

    placed = parallel.shardings(mesh, jax.eval_shape(init))
    return jax.jit(init, out_shardings=placed)()
