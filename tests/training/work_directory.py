"""A work directory with one checkpoint of a real backbone that nobody trained."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from ddl_jax import config as config_lib
from ddl_jax import losses, parallel
from ddl_jax.config import Config
from ddl_jax.training.checkpoint import Checkpoints, Meta, config_path
from ddl_jax.training.optimizer import make_optimizer
from ddl_jax.training.state import TrainState, init_state, make_card, make_module

from ..random_values import random_values

_OFFSETS = ("bias", "mean")


def write_work_directory(
    workdir: pathlib.Path,
    network: str = "iresnet_tiny",
    *,
    centred: bool = False,
    config: Config | None = None,
) -> TrainState:
    """Writes the state of step 7: a network for BGR images of 32x32, 16 numbers an embedding.

    Its values are random, different in every array. With `centred`, biases and means are 0, and
    unlike images have unlike embeddings.
    """
    config = config or Config(devices=1)
    config.model.name, config.model.embedding_size = network, 16
    config.model.input_size, config.model.colour = (32, 32), "BGR"
    config.loss.margin, config.seed = "adaface", 1
    card = dataclasses.replace(make_card(config), source="a test")
    module = make_module(config)
    optimizer, mesh = make_optimizer(config), parallel.make_mesh(1)
    shapes = jax.eval_shape(
        lambda: init_state(config, module, card, optimizer, classes=3, mesh=mesh)
    )
    state = random_values(shapes)
    if centred:
        state = jax.tree_util.tree_map_with_path(_without_offset, state)
    state = jax.device_put(state, parallel.shardings(mesh, state)).replace(step=jnp.int32(7))
    workdir.mkdir(exist_ok=True)
    config_path(workdir).write_text(config_lib.to_json(config))
    with Checkpoints(workdir) as checkpoints:
        meta = Meta(card.to_json(), 3, "i", ["shared"], "d")
        state.loss_state["margins"]["shared"] = losses.AdaFaceState(
            jnp.float32(17.0), jnp.float32(3.0)
        )
        checkpoints.save(state, meta)
    return state


def _without_offset(path: tuple, value: np.ndarray) -> np.ndarray:
    return (
        np.zeros_like(value) if jax.tree_util.keystr(path[-1:], simple=True) in _OFFSETS else value
    )
