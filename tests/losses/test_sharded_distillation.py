"""Log histograms, the correction of KL's bias and the past: many devices give what one gives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

from .test_sharded import (
    _assert_replicated,
    _assert_rows,
    _by_map,
    _checked_map,
    _of_global_batch,
    _on_devices,
)

_B = 16
_RNG = np.random.default_rng(7)
_VALUES = _RNG.normal(0.3, 0.3, (_B, 4)).astype(np.float32)
_WHERE = _RNG.random((_B, 4)) < 0.7
_WHERE[:2] = False  # Of 8 devices, the first has nothing that counts.


def _queue(seed: int) -> losses.SimilarityQueue:
    values = np.random.default_rng(seed).normal(0.4, 0.2, (2, 7)).astype(np.float32)
    queue = losses.empty_similarity_queue(9)
    return losses.push_pairs(queue, losses.PairSimilarities(values[0], values[1, :5]))


def _everything(axis_name, **options):
    def loss(values, where):
        teacher, student = (
            losses.PairSimilarities(*values.T[i : i + 2], *where.T[i : i + 2]) for i in (0, 2)
        )
        return losses.distribution_distillation_loss(
            teacher, [student], axis_name=axis_name, **options
        )

    def everything(values, where):
        found, gradient = jax.value_and_grad(loss, has_aux=True)(values, where)
        return found, gradient if axis_name is None else _of_global_batch(gradient)

    return everything


# Any two of the four choices meet in one of these; the others are for `make test-all`.
_QUICK = {
    (False, False, 2, "shard_map"),
    (False, True, 8, "pmap"),
    (True, False, 8, "pmap"),
    (True, True, 2, "pmap"),
    (True, True, 8, "shard_map"),
}


@pytest.mark.parametrize(
    ("log_space", "with_past", "devices", "mapping"),
    [
        pytest.param(*case, marks=() if case in _QUICK else pytest.mark.long)
        for case in itertools.product([False, True], [False, True], [2, 8], ["shard_map", "pmap"])
    ],
)
def test_distillation_with_every_option(
    log_space: bool, with_past: bool, devices: int, mapping: str
):
    past = [_queue(0), _queue(1)] if with_past else None
    options = dict(log_space=log_space, correct_bias=True, past=past)
    found, gradient = jax.jit(_everything(None, **options))(_VALUES, _WHERE)
    mapped = _on_devices(_everything("data", **options), devices, mapping)(_VALUES, _WHERE)
    _assert_replicated(mapped[0], found)
    _assert_rows(mapped[1], gradient)
    assert np.abs(gradient).max() > 0.01 and found[1]["positive_bias"][0] > 0.01


@pytest.mark.parametrize(
    "past",
    [pytest.param(None, marks=pytest.mark.long), [_queue(0), _queue(1)]],
    ids=["batch", "past"],
)
def test_in_a_checked_map_the_gradient_is_right_as_it_comes(past):
    def loss(faces, axis_name=None):
        options = dict(preset=preset, past=past, axis_name=axis_name)
        return losses.preset_distillation_loss(faces, **options)[0]

    preset = losses.distillation_preset("paper")._replace(correct_bias=True)
    faces = np.random.default_rng(1).normal(0.2, 1.0, (_B, 6, 8)).astype(np.float32)
    by_row = jax.P("data")
    mapped = _checked_map(jax.grad(lambda faces: loss(faces, "data")), by_row, by_row)
    gradient = jax.jit(jax.grad(loss))(faces)
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_allclose(mapped(faces), gradient, rtol=1e-5, atol=1e-7)


@_by_map
def test_nothing_that_counts_anywhere(mapping: str):
    def log_histogram(values, where):
        return losses.similarity_log_histogram(
            values, nodes=jnp.linspace(-1.0, 1.0, 5), where=where, axis_name="data"
        )

    found = _on_devices(log_histogram, 8, mapping)(_VALUES[:, 0], np.zeros(_B, bool))
    np.testing.assert_allclose(found, np.full((8, 5), -np.log(5)), rtol=1e-6)
