"""What a run minimises: margin softmax heads, and the DDL on batches made for it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax import losses, parallel
from ddl_jax.config import Batch, Config, Distillation, Loss
from ddl_jax.errors import UserError

Metrics = dict[str, jax.Array]
# (embeddings [b, m, D], labels [b, m], heads, loss state, step) -> (loss, (loss state, terms)), all
# for one device of parallel.AXIS; the loss is that of the global batch.
Objective = Callable[
    [jax.Array, jax.Array, Any, Any, jax.Array], tuple[jax.Array, tuple[Any, Metrics]]
]

_SHARED = "shared"
_DIVERGENCES = {"kl": losses.kl_divergence, "js": losses.js_divergence}


def softmax_columns(loss: Loss, batch: Batch) -> dict[str, list[int]]:
    """For each head the columns of a batch row that it classifies.

    A row of a ddl batch holds (single, first, second) of every domain, teacher first.
    """
    if batch.kind == "images":
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
        if loss.inter_class_filter == 1.0:
            return margin
        return losses.filtered_margin(margin, threshold=loss.inter_class_filter)
    except ValueError as error:
        raise UserError(f"config.loss, margin {loss.margin}: {error}") from error


def initial_loss_state(config: Config) -> dict[str, Any]:
    """What the margin of each head remembers before the first batch; empty for most margins."""
    state = make_margin(config.loss).initial_state
    if state is None:
        return {}
    arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), state)
    return {name: arrays for name in head_names(config)}


def make_objective(config: Config, classes: int) -> Objective:
    """The objective of a config for this many classes.

    The loss is the sum over the heads of their mean cross-entropy and, with its weight, of the
    margin's regularizer if it has one; plus on a ddl batch `distillation.weight` times the DDL. The
    DDL's terms are reported with weight 0 too.
    """
    columns = softmax_columns(config.loss, config.batch)
    margin = make_margin(config.loss)
    distillation = config.loss.distillation

    def objective(
        embeddings: jax.Array, labels: jax.Array, heads: Any, loss_state: Any, step: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Metrics]]:
        terms, new_state = {}, {}
        softmax = regularizer = 0.0
        keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), step), len(columns))
        for key, (name, own) in zip(keys, columns.items(), strict=True):
            head = _head_loss(
                embeddings[:, own],
                labels[:, own],
                heads[name]["class_centers"],
                margin=margin,
                state=loss_state.get(name),
                key=key,
                classes=classes,
                loss=config.loss,
            )
            softmax += head.loss
            regularizer += head.regularizer
            terms[f"target_cosine/{name}"] = head.target_cosine
            if name in loss_state:
                new_state[name] = head.state
                terms |= _state_terms(name, head.state)
        terms["margin_softmax"] = loss = softmax
        if config.loss.margin == "magface":
            terms["regularizer"] = regularizer
            loss += config.loss.magface.regularizer_weight * regularizer
        if config.batch.kind == "ddl":
            ddl, ddl_terms = _distillation_loss(
                embeddings, labels, config.batch.domains, distillation
            )
            terms |= ddl_terms
            if distillation.weight:
                loss += distillation.weight * ddl
        return loss, (new_state, terms)

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
    held = class_centers.shape[0]
    numbers = held * jax.lax.axis_index(parallel.AXIS) + jnp.arange(held)
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
    if isinstance(state, losses.AdaFaceState):
        return {f"norm_mean/{head}": state.mean, f"norm_std/{head}": state.std}
    return {f"curricular_t/{head}": state}


def _distillation_loss(
    embeddings: jax.Array, labels: jax.Array, domains: tuple[str, ...], options: Distillation
) -> tuple[jax.Array, Metrics]:
    """The DDL of a ddl batch, and its unweighted terms by domain."""
    nodes = jnp.linspace(options.lowest_node, options.highest_node, options.nodes)
    divergence = _DIVERGENCES.get(
        options.divergence, functools.partial(losses.earth_mover_distance, nodes=nodes)
    )
    how = vars(options) | {"divergence": divergence}
    del how["weight"]
    loss, terms = losses.preset_distillation_loss(
        embeddings, labels, preset=losses.DistillationPreset(**how), axis_name=parallel.AXIS
    )
    named = {"distillation": loss, "order": terms["order"]}
    for what, names in (
        ("positive_divergence", domains[1:]),
        ("negative_divergence", domains[1:]),
        ("positive_mean", domains),
        ("negative_mean", domains),
    ):
        named |= {f"{what}/{name}": terms[what][i] for i, name in enumerate(names)}
    return loss, named
