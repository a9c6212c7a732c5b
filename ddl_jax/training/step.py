"""The one training step, written for one device."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ddl_jax import parallel
from ddl_jax.errors import UserError
from ddl_jax.models import ModelCard
from ddl_jax.training.fine_tuning import EVERYTHING, FineTuning, overlay
from ddl_jax.training.objective import Metrics, Objective
from ddl_jax.training.state import TrainState

Batch = dict[str, jax.Array]
Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
# (params, state, batch) -> (loss, (batch_stats, loss state, terms)). Not the state's parameters are
# looked at but those given, so that they can be differentiated.
LossOf = Callable[[Any, TrainState, Batch], tuple[jax.Array, tuple[Any, Any, Metrics]]]


def make_loss(module: nn.Module, card: ModelCard, objective: Objective, *, seed: int) -> LossOf:
    """The loss of a batch on one device of `parallel.AXIS`; see `make_train_step`."""

    def loss_of(
        params: Any, state: TrainState, batch: Batch
    ) -> tuple[jax.Array, tuple[Any, Any, Metrics]]:
        b, m, *shape = batch["image"].shape
        images = card.normalise(batch["image"].reshape(b * m, *shape))
        variables = {"params": params["backbone"], "batch_stats": state.batch_stats}
        step_key = jax.random.fold_in(jax.random.key(seed), state.step)
        objective_key, dropout_key = jax.random.split(step_key)
        device_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(parallel.AXIS))
        embeddings, changed = module.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": device_key}
        )
        embeddings = embeddings.reshape(b, m, -1)
        loss, (loss_state, terms) = objective(
            embeddings, batch["label"], params["heads"], state.loss_state, objective_key
        )
        norm = jnp.mean(jnp.linalg.norm(jax.lax.stop_gradient(embeddings), axis=-1))
        terms = terms | {"loss": loss, "embedding_norm": jax.lax.pmean(norm, parallel.AXIS)}
        return loss, (changed["batch_stats"], loss_state, terms)

    return loss_of


def make_train_step(
    module: nn.Module,
    card: ModelCard,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    fine_tuning: FineTuning = EVERYTHING,
) -> Step:
    """The per-device step `(state, batch) -> (state, metrics)` over the axis `parallel.AXIS`.

    The batch holds the device's rows, `image[b, m, H, W, 3]` uint8 RGB and `label[b, m]`. All m
    images of all rows go through the backbone at once, so that easy and hard share BatchNorm's
    statistics. Map it with `parallel.map_step`.

    Args:
      module: the backbone; `fine_tuning` says which of its BatchNorms are frozen.
      card: how its images are normalised.
      objective: see `objective.make_objective`.
      optimizer: of `fine_tuning.learnt({"backbone": ..., "heads": ...})`.
      seed: of what a step draws: for its number always the same.
      fine_tuning: what learns, everything by default. Anything else has no gradient, and leaves the
        step as it came.

    Returns:
      The step; metrics are scalars of the global batch, equal on every device.

    Raises:
      UserError: the module comes with frozen parts that `fine_tuning` does not know of or, from the
        step, the state's optimizer is of other parameters than those that learn.
    """
    module = fine_tuning.freeze(module)
    loss_of = make_loss(module, card, objective, seed=seed)

    def loss_of_learnt(
        learnt: Any, state: TrainState, batch: Batch
    ) -> tuple[jax.Array, tuple[Any, Any, Metrics]]:
        return loss_of(overlay(state.params, learnt), state, batch)

    gradient_of = jax.value_and_grad(loss_of_learnt, has_aux=True)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        learnt = fine_tuning.learnt(state.params)
        _check_optimizer(optimizer, learnt, state.opt_state)
        (_, (batch_stats, loss_state, terms)), gradients = gradient_of(learnt, state, batch)
        gradients = parallel.reduce_gradients(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, learnt)
        norms = {"gradient_norm": parallel.global_norm(gradients)}
        params = overlay(state.params, optax.apply_updates(learnt, updates))
        # Loss and gradient are those before the update: this alone tells of a state gone infinite.
        norms["parameter_norm"] = parallel.global_norm(params)
        # Equal already where they are global; with statistics per device, their mean. The mean of
        # equal numbers may round: not of those that stay.
        moved = jax.lax.pmean(fine_tuning.moving(batch_stats), parallel.AXIS)
        state = state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=overlay(state.batch_stats, moved),
            loss_state=loss_state,
            opt_state=opt_state,
        )
        return state, terms | norms

    return step


def _check_optimizer(optimizer: optax.GradientTransformation, learnt: Any, opt_state: Any) -> None:
    """Refuses, while the step is traced, a state that was made for learning something else."""
    wanted = jax.eval_shape(optimizer.init, learnt)
    if jax.tree.structure(opt_state) != jax.tree.structure(wanted):
        raise UserError(
            "the state's optimizer is not of the parameters that learn: give init_state and "
            "make_train_step the same optimizer and the same fine_tuning"
        )
