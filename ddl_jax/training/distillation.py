"""The DDL of a run: its options from a config, and what it remembers of past batches."""

from typing import Any

import jax
import jax.numpy as jnp

from ddl_jax import losses, parallel
from ddl_jax.config import Config, Distillation
from ddl_jax.losses.axis import gather_rows
from ddl_jax.losses.presets import loss_of_pairs

Metrics = dict[str, jax.Array]

_DIVERGENCES = {
    "kl": losses.kl_divergence,
    "js": losses.js_divergence,
    "earth_mover": losses.earth_mover_distance,
}


def initial_memory(config: Config) -> dict[str, Any]:
    """What the DDL remembers before the first batch: only what the config asks for."""
    memory: dict[str, Any] = {}
    if config.batch.kind != "ddl":
        return memory
    options, domains = config.loss.distillation, config.batch.domains
    if size := options.past_similarities:
        memory["similarities"] = tuple(losses.empty_similarity_queue(size) for _ in domains)
    if size := options.past_embeddings:
        dimensions = config.model.embedding_size
        memory["embeddings"] = tuple(
            losses.empty_embedding_queue(size, dimensions) for _ in domains
        )
    return memory


def distillation_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    memory: dict[str, Any],
    key: jax.Array,
    config: Config,
) -> tuple[jax.Array, dict[str, Any], Metrics]:
    """The DDL of a ddl batch on one device of `parallel.AXIS`.

    Args:
      embeddings: `[b, 3 (K + 1), D]`, the device's rows.
      labels: `[b, 3 (K + 1)]`.
      memory: of `initial_memory`, or of the batch before.
      key: for random negatives, the same on all devices.
      config: of the run.

    Returns:
      `(loss, memory, terms)`: the terms are unweighted and named by domain; among them arrays of
      the global batch's similarities, NaN where there is none.
    """
    preset = _preset(config.loss.distillation)
    domains = losses.domain_pairs(
        embeddings,
        labels,
        preset=preset,
        key=key,
        memories=memory.get("embeddings"),
        axis_name=parallel.AXIS,
    )
    loss, terms = loss_of_pairs(
        domains, preset, past=memory.get("similarities"), axis_name=parallel.AXIS
    )
    remembered = {}
    if "similarities" in memory:
        remembered["similarities"] = tuple(
            losses.push_pairs(queue, pairs, axis_name=parallel.AXIS)
            for queue, pairs in zip(memory["similarities"], domains, strict=True)
        )
    if "embeddings" in memory:  # the singles, which are what negatives are picked from
        remembered["embeddings"] = tuple(
            losses.push_embeddings(
                queue, embeddings[:, 3 * k], labels[:, 3 * k], axis_name=parallel.AXIS
            )
            for k, queue in enumerate(memory["embeddings"])
        )
    names = config.batch.domains
    return loss, remembered, _named(loss, terms, names) | _similarities(domains, names)


def _preset(options: Distillation) -> losses.DistillationPreset:
    fields = losses.DistillationPreset._fields
    same = {name: value for name, value in vars(options).items() if name in fields}
    return losses.DistillationPreset(
        **same | {"count": options.negatives, "divergence": _DIVERGENCES[options.divergence]}
    )


def _similarities(
    domains: list[losses.PairSimilarities], names: tuple[str, ...]
) -> dict[str, jax.Array]:
    """The similarities themselves, for whoever wants to see their distributions."""
    found = {}
    for name, pairs in zip(names, domains, strict=True):
        positive, negative = jax.lax.stop_gradient((pairs.positive, pairs.negative))
        for what, values, where in (
            ("positive", positive, pairs.positive_where),
            ("negative", negative, pairs.negative_where),
        ):
            kept = values if where is None else jnp.where(where, values, jnp.nan)
            found[f"similarities/{what}/{name}"] = gather_rows(kept, parallel.AXIS).ravel()
    return found


def _named(loss: jax.Array, terms: Metrics, domains: tuple[str, ...]) -> Metrics:
    """The terms as metrics: one name for each domain they are of."""
    named = {"distillation": loss, "order": terms["order"]}
    for what, values in terms.items():
        if what != "order":
            own = domains if what.endswith("_mean") else domains[1:]
            named |= {f"{what}/{name}": values[i] for i, name in enumerate(own)}
    return named
