"""What a run minimises: margin softmax heads, and the DDL on batches made for it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax import losses, parallel
from ddl_jax.config import Batch, Config, Loss
from ddl_jax.errors import UserError
from ddl_jax.losses.axis import own_numbers
from ddl_jax.training.distillation import Metrics, distillation_loss, initial_memory

# (embeddings [b, m, D], labels [b, m], heads, loss state, key) -> (loss, (loss state, terms)), all
# for one device of parallel.AXIS; the loss is that of the global batch, the key the same on all.
Objective = Callable[
    [jax.Array, jax.Array, Any, Any, jax.Array], tuple[jax.Array, tuple[Any, Metrics]]
]

_SHARED = "shared"


def softmax_columns(loss: Loss, batch: Batch) -> dict[str, list[int]]:
    """For each head the columns of a batch row that it classifies.

    A row of a ddl batch holds (single, first, second) of every domain, teacher first.
    """
    if batch.kind != "ddl":  # one image a row
        return {_SHARED: [0]}
    seen = [0] if loss.softmax_images == "singles" else [0, 1, 2]
    columns = {
        domain: [3 * number + column for column in seen]
        for number, domain in enumerate(batch.domains)
    }
    if loss.heads == "per_domain":
        return columns
    return {_SHARED: [column for own in columns.values() for column in own]}


def head_names(config: Config) -> tuple[str, ...]:
    """The names of the classifiers a config trains."""
    return tuple(softmax_columns(config.loss, config.batch))


def make_margin(loss: Loss) -> losses.Margin:
    """The margin of a config."""
    options = dict(vars(getattr(loss, loss.margin)))
    options.pop("regularizer_weight", None)
    try:
        margin = losses.named_margin(loss.margin, scale=loss.scale, **options)
        if loss.inter_class_filter != 1.0:
            margin = losses.filtered_margin(margin, threshold=loss.inter_class_filter)
        if loss.margin_warmup_steps:
            margin = losses.warming_margin(margin, steps=loss.margin_warmup_steps)
        return margin
    except ValueError as error:
        raise UserError(f"config.loss, margin {loss.margin}: {error}") from error


def initial_loss_state(config: Config) -> dict[str, Any]:
    """What the losses remember before the first batch.

    `margins`: by head, the state of the margin, empty for most margins; `distillation`: queues of
    the DDL, empty unless the config asks for any.
    """
    state = make_margin(config.loss).initial_state
    margins = {}
    if state is not None:
        arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), state)
        margins = {name: arrays for name in head_names(config)}
    return {"margins": margins, "distillation": initial_memory(config)}


def make_objective(config: Config, classes: int) -> Objective:
    """The objective of a config for this many classes.

    The loss is the sum over the heads of their mean cross-entropy and, with its weight, of the
    margin's regularizer if it has one; plus on a ddl batch `distillation.weight` times the DDL. The
    DDL's terms are reported with weight 0 too.
    """
    columns = softmax_columns(config.loss, config.batch)
    margin = make_margin(config.loss)

    def objective(
        embeddings: jax.Array, labels: jax.Array, heads: Any, loss_state: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Metrics]]:
        terms, margins = {}, {}
        memory = loss_state["distillation"]
        softmax = regularizer = 0.0
        *keys, ddl_key = jax.random.split(key, len(columns) + 1)
        for own_key, (name, own) in zip(keys, columns.items(), strict=True):
            head = _head_loss(
                embeddings[:, own],
                labels[:, own],
                heads[name]["class_centers"],
                margin=margin,
                state=loss_state["margins"].get(name),
                key=own_key,
                classes=classes,
                loss=config.loss,
            )
            softmax += head.loss
            regularizer += head.regularizer
            terms[f"target_cosine/{name}"] = head.target_cosine
            if name in loss_state["margins"]:
                margins[name] = head.state
                terms |= _state_terms(name, head.state)
        terms["margin_softmax"] = loss = softmax
        if config.loss.margin == "magface":
            terms["regularizer"] = regularizer
            loss += config.loss.magface.regularizer_weight * regularizer
        if config.batch.kind == "ddl":
            ddl, memory, ddl_terms = distillation_loss(embeddings, labels, memory, ddl_key, config)
            terms |= ddl_terms
            if weight := config.loss.distillation.weight:
                loss += weight * ddl
        return loss, ({"margins": margins, "distillation": memory}, terms)

    return objective


class _Head(NamedTuple):
    """Means over the global batch, and the margin's state after it."""

    loss: jax.Array
    regularizer: jax.Array
    target_cosine: jax.Array
    state: Any


def _head_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    class_centers: jax.Array,
    *,
    margin: losses.Margin,
    state: Any,
    key: jax.Array,
    classes: int,
    loss: Loss,
) -> _Head:
    numbers = own_numbers(class_centers.shape[0], parallel.AXIS)
    values, aux = losses.margin_softmax_loss(
        embeddings.reshape(-1, embeddings.shape[-1]),
        class_centers,
        labels.reshape(-1),
        margin=margin,
        margin_state=state,
        key=key,
        class_chunk=loss.class_chunk or None,
        class_where=numbers < classes,
        axis_name=parallel.AXIS,
        precision=loss.precision,
    )
    means = [
        jax.lax.pmean(jnp.mean(x), parallel.AXIS)
        for x in (values, aux.regularizer, aux.target_cosine)
    ]
    return _Head(*means, aux.state)


def _state_terms(head: str, state: Any) -> Metrics:
    """The statistics a margin keeps, as metrics."""
    if isinstance(state, losses.MarginWarmUp):
        state = state.margin
    if state is None:
        return {}
    if isinstance(state, losses.AdaFaceState):
        return {f"norm_mean/{head}": state.mean, f"norm_std/{head}": state.std}
    return {f"curricular_t/{head}": state}
