"""Mining rules and queues on many devices are those of one device."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

from .test_sharded import _assert_replicated, _assert_rows, _by_devices, _by_map, _on_devices

_B, _D = 16, 6
_RNG = np.random.default_rng(5)
_ROWS = _RNG.normal(size=(_B, _D)).astype(np.float32)
_LABELS = np.arange(_B) % 11
_POSITIVE = _RNG.uniform(-0.2, 0.6, _B).astype(np.float32)
_WHERE = _RNG.random(_B) < 0.6


def _memory() -> losses.EmbeddingQueue:
    rows = np.random.default_rng(6).normal(size=(5, _D)).astype(np.float32)
    queue = losses.empty_embedding_queue(9, _D)
    return losses.push_embeddings(queue, rows, np.arange(8, 13))


def _mined(axis_name, *, memory=None, **options):
    def everything(rows, labels, positive):
        def total(rows):
            found, where = losses.negative_similarities(
                rows, labels, positive=positive, memory=memory, axis_name=axis_name, **options
            )
            # Weights that do not depend on where a row lies.
            return jnp.sum(found * jnp.cos(3.0 * found)), (found, where)

        gradient, found = jax.grad(total, has_aux=True)(rows)
        return found, gradient

    return everything


# Any two of the three choices meet in one of these; the others are for `make test-all`.
_QUICK = {
    ("top_k", 2, "shard_map"),
    ("top_k", 8, "pmap"),
    ("semi_hard", 2, "pmap"),
    ("semi_hard", 8, "shard_map"),
    ("random", 2, "shard_map"),
    ("random", 8, "pmap"),
}


@pytest.mark.parametrize(
    ("mining", "devices", "mapping"),
    [
        pytest.param(*case, marks=() if case in _QUICK else pytest.mark.long)
        for case in itertools.product(
            ["top_k", "semi_hard", "random"], [2, 8], ["shard_map", "pmap"]
        )
    ],
)
def test_every_rule_picks_among_all_devices(mining: str, devices: int, mapping: str):
    options = dict(mining=mining, count=3, key=jax.random.key(1), memory=_memory())
    arrays = (_ROWS, _LABELS, _POSITIVE)
    single = jax.jit(_mined(None, **options))(*arrays)
    _assert_rows(_on_devices(_mined("data", **options), devices, mapping)(*arrays), single)
    assert np.abs(single[1]).max() > 0.01
    # The test would be empty if nothing of other devices were picked.
    alone = jax.vmap(_mined(None, **options))(
        *(x.reshape(devices, -1, *x.shape[1:]) for x in arrays)
    )
    assert np.abs(alone[0][0].ravel() - single[0][0]).max() > 0.05


@_by_map
@_by_devices
def test_queues_are_the_same_everywhere(devices: int, mapping: str):
    def pushed(axis_name):
        def everything(rows, labels, positive, where):
            memory = losses.push_embeddings(
                _memory(), rows, labels, where=where, axis_name=axis_name
            )
            domain = losses.PairSimilarities(positive, positive[::2], where)
            queue = losses.empty_similarity_queue(20)
            for _ in range(2):
                queue = losses.push_pairs(queue, domain, axis_name=axis_name)
            return memory, queue

        return everything

    arrays = (_ROWS, _LABELS, _POSITIVE, _WHERE)
    single = pushed(None)(*arrays)
    _assert_replicated(_on_devices(pushed("data"), devices, mapping)(*arrays), single)
    assert single[0].filled == 9 and 1 < single[1].positive_filled < 20
