"""The one training step, written for one device."""

import functools
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


def make_loss(
    module: nn.Module, card: ModelCard, objective: Objective, *, seed: int, micro_batches: int = 1
) -> LossOf:
    """The loss of a batch on one device of `parallel.AXIS`; see `make_train_step`."""

    def loss_of(
        params: Any, state: TrainState, batch: Batch
    ) -> tuple[jax.Array, tuple[Any, Any, Metrics]]:
        step_key = jax.random.fold_in(jax.random.key(seed), state.step)
        objective_key, dropout_key = jax.random.split(step_key)
        device_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(parallel.AXIS))
        embed = functools.partial(_embed, module, card, params["backbone"])
        embeddings, batch_stats = _in_parts(
            embed, batch["image"], state.batch_stats, device_key, micro_batches
        )
        loss, (loss_state, terms) = objective(
            embeddings, batch["label"], params["heads"], state.loss_state, objective_key
        )
        norm = jnp.mean(jnp.linalg.norm(jax.lax.stop_gradient(embeddings), axis=-1))
        terms = terms | {"loss": loss, "embedding_norm": jax.lax.pmean(norm, parallel.AXIS)}
        return loss, (batch_stats, loss_state, terms)

    return loss_of


def _embed(
    module: nn.Module,
    card: ModelCard,
    params: Any,
    images: jax.Array,
    batch_stats: Any,
    key: jax.Array,
) -> tuple[jax.Array, Any]:
    """Pixels `[b,m,H,W,3]` -> embeddings `[b,m,D]`, and the statistics they moved."""
    b, m, *shape = images.shape
    embeddings, changed = module.apply(
        {"params": params, "batch_stats": batch_stats},
        card.normalise(images.reshape(b * m, *shape)),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key},
    )
    return embeddings.reshape(b, m, -1), changed["batch_stats"]


def _in_parts(
    embed: Callable, images: jax.Array, batch_stats: Any, key: jax.Array, parts: int
) -> tuple[jax.Array, Any]:
    """Embeds the rows in `parts`, one after the other, and the backward pass does the same.

    Only the embeddings of all parts are kept: the backward pass makes what is inside the backbone
    again. The loss sees the whole batch, hardest negatives and histograms included, so that nothing
    but BatchNorm's statistics, which are those of a part, tells the parts from one large batch.
    """
    if parts == 1:
        return embed(images, batch_stats, key)

    def one(batch_stats: Any, part: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        number, rows = part
        embeddings, batch_stats = embed(rows, batch_stats, jax.random.fold_in(key, number))
        return batch_stats, embeddings

    rows = images.reshape(parts, images.shape[0] // parts, *images.shape[1:])
    batch_stats, embeddings = jax.lax.scan(
        jax.checkpoint(one), batch_stats, (jnp.arange(parts), rows)
    )
    return embeddings.reshape(-1, *embeddings.shape[2:]), batch_stats


def make_train_step(
    module: nn.Module,
    card: ModelCard,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    fine_tuning: FineTuning = EVERYTHING,
    micro_batches: int = 1,
    ema_decay: float = 0.0,
) -> Step:
    """The per-device step `(state, batch) -> (state, metrics)` over the axis `parallel.AXIS`.

    The batch holds the device's rows, `image[b, m, H, W, 3]` uint8 RGB and `label[b, m]`. All m
    images of a row go through the backbone at once, so that easy and hard share BatchNorm's
    statistics. Map it with `parallel.map_step`.

    A step whose loss, gradient or new parameters are not finite changes nothing but the numbers
    `step` and `skipped`.

    Args:
      module: the backbone; `fine_tuning` says which of its BatchNorms are frozen.
      card: how its images are normalised.
      objective: see `objective.make_objective`.
      optimizer: of `fine_tuning.learnt({"backbone": ..., "heads": ...})`.
      seed: of what a step draws: for its number always the same.
      fine_tuning: what learns, everything by default. Anything else has no gradient, and leaves the
        step as it came.
      micro_batches: the parts, of whole rows, in which the backbone sees the device's rows; memory
        falls, and the forward pass is done twice.
      ema_decay: of the average in `state.averaged`; 0 where the state has none.

    Returns:
      The step; metrics are scalars of the global batch, equal on every device.

    Raises:
      UserError: the module comes with frozen parts that `fine_tuning` does not know of or, from the
        step, the state's optimizer is of other parameters than those that learn.
    """
    module = fine_tuning.freeze(module)
    loss_of = make_loss(module, card, objective, seed=seed, micro_batches=micro_batches)
    return make_update(loss_of, optimizer, fine_tuning, ema_decay=ema_decay)


def make_update(
    loss_of: LossOf,
    optimizer: optax.GradientTransformation,
    fine_tuning: FineTuning,
    *,
    ema_decay: float,
) -> Step:
    """The step of `make_train_step` for a loss of `make_loss`, its module frozen already."""

    def loss_of_learnt(
        learnt: Any, state: TrainState, batch: Batch
    ) -> tuple[jax.Array, tuple[Any, Any, Metrics]]:
        return loss_of(overlay(state.params, learnt), state, batch)

    gradient_of = jax.value_and_grad(loss_of_learnt, has_aux=True)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        learnt = fine_tuning.learnt(state.params)
        _check_optimizer(optimizer, learnt, state.opt_state)
        (loss, (batch_stats, loss_state, terms)), gradients = gradient_of(learnt, state, batch)
        gradients = parallel.reduce_gradients(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, learnt)
        params = overlay(state.params, optax.apply_updates(learnt, updates))
        # Loss and gradient are those before the update: this alone tells of a state gone infinite.
        norms = {
            "gradient_norm": parallel.global_norm(gradients),
            "parameter_norm": parallel.global_norm(params),
        }
        # Equal already where they are global; with statistics per device, their mean. The mean of
        # equal numbers may round: not of those that stay.
        moved = jax.lax.pmean(fine_tuning.moving(batch_stats), parallel.AXIS)
        new = state.replace(
            params=params,
            batch_stats=overlay(state.batch_stats, moved),
            loss_state=loss_state,
            opt_state=opt_state,
        )
        if ema_decay:
            new = new.replace(averaged=_averaged(state, new, ema_decay))
        finite = jnp.isfinite(loss) & jnp.isfinite(jnp.stack(list(norms.values()))).all()
        state = _unless_broken(finite, new, state)
        return state, terms | norms | {"skipped": state.skipped["total"]}

    return step


def _check_optimizer(optimizer: optax.GradientTransformation, learnt: Any, opt_state: Any) -> None:
    """Refuses, while the step is traced, a state that was made for learning something else."""
    wanted = jax.eval_shape(optimizer.init, learnt)
    if jax.tree.structure(opt_state) != jax.tree.structure(wanted):
        raise UserError(
            "the state's optimizer is not of the parameters that learn: give init_state and "
            "make_train_step the same optimizer and the same fine_tuning"
        )


def _averaged(before: TrainState, after: TrainState, decay: float) -> Any:
    """The average of the backbone's weights and statistics after one more update.

    While there are few updates it forgets faster: the weights of step 0 are nobody's.
    """
    updates = (before.step - before.skipped["total"]).astype(jnp.float32)
    rate = 1.0 - jnp.minimum(decay, (1.0 + updates) / (10.0 + updates))
    now = after.replace(averaged=None).variables
    # In this form, what does not change is kept exactly.
    return jax.tree.map(lambda old, new: old + rate * (new - old), before.averaged, now)


def _unless_broken(finite: jax.Array, new: TrainState, old: TrainState) -> TrainState:
    """The new state, or the old one with the step counted as skipped."""
    kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
    skipped = (~finite).astype(jnp.int32)
    return kept.replace(
        step=old.step + 1,
        skipped={
            "total": old.skipped["total"] + skipped,
            "in_a_row": (old.skipped["in_a_row"] + 1) * skipped,
        },
    )
