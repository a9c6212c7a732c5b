"""Sampled classes: who takes part, that all of them is the whole softmax, and who is updated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddl_jax import losses

from .test_sharded import _on_devices

_B, _C, _D = 16, 72, 6
_RNG = np.random.default_rng(0)
_ROWS = _RNG.normal(size=(_B, _D)).astype(np.float32)
_CENTERS = _RNG.normal(size=(_C, _D)).astype(np.float32)
_LABELS = np.array([0, 5, 71, 40, 13, -1, 5, 22, 33, 9, 60, _C, 50, 2, 18, 27], np.int32)
_IS_CLASS = np.arange(_C) < _C - 10
_MARGIN = losses.arcface_margin(scale=16.0)


def _loss(rows, centers, labels, where, key, *, size, axis_name=None):
    sample = losses.sample_classes(
        key, labels, classes=len(centers), size=size, class_where=where, axis_name=axis_name
    )
    loss, aux = losses.margin_softmax_loss(
        rows,
        centers[sample.rows],
        sample.labels,
        margin=_MARGIN,
        class_where=where[sample.rows],
        axis_name=axis_name,
    )
    return loss, aux.has_class, sample.rows


@pytest.mark.parametrize("seed", range(5))
def test_every_class_of_the_batch_takes_part(seed: int):
    sample = losses.sample_classes(
        jax.random.key(seed), _LABELS, classes=_C, size=_B, class_where=_IS_CLASS
    )
    assert len(set(sample.rows.tolist())) == _B and (np.diff(sample.rows) > 0).all()
    is_class = (_LABELS >= 0) & (_LABELS < _C - 10)
    np.testing.assert_array_equal(sample.rows[sample.labels[is_class]], _LABELS[is_class])
    np.testing.assert_array_equal(sample.labels[~is_class], -1)
    assert sample.rows.max() < _C - 10  # no padding while there are classes


def test_the_others_are_drawn_evenly():
    draw = jax.jit(
        jax.vmap(lambda key: losses.sample_classes(key, jnp.array([3]), classes=20, size=5).rows)
    )
    rows = draw(jax.random.split(jax.random.key(0), 4000))
    counts = np.bincount(rows.ravel(), minlength=20)
    assert counts[3] == 4000
    # 4 of 19 others: 842 +- 26 each.
    np.testing.assert_allclose(np.delete(counts, 3), 4000 * 4 / 19, atol=110)


def test_all_classes_are_the_whole_softmax():
    loss, has_class, rows = _loss(
        _ROWS, _CENTERS, _LABELS, jnp.asarray(_IS_CLASS), jax.random.key(0), size=_C
    )
    expected, aux = losses.margin_softmax_loss(
        _ROWS, _CENTERS, _LABELS, margin=_MARGIN, class_where=_IS_CLASS
    )
    np.testing.assert_array_equal(rows, np.arange(_C))
    np.testing.assert_array_equal(loss, expected)
    np.testing.assert_array_equal(has_class, aux.has_class)


@pytest.mark.parametrize("size", [16, 40])
def test_a_sample_is_the_softmax_over_its_classes_alone(size: int):
    where, key = jnp.asarray(_IS_CLASS), jax.random.key(1)
    loss, _, rows = _loss(_ROWS, _CENTERS, _LABELS, where, key, size=size)
    sampled = np.isin(np.arange(_C), rows) & _IS_CLASS
    expected, _ = losses.margin_softmax_loss(
        _ROWS, _CENTERS, _LABELS, margin=_MARGIN, class_where=sampled
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)
    assert 0 < sampled.sum() < _IS_CLASS.sum()


@pytest.mark.parametrize("mapping", ["shard_map", "pmap"])
@pytest.mark.parametrize("size", [9, 16])
def test_sharded_samples_are_the_softmax_over_the_classes_of_all_devices(size: int, mapping: str):
    devices = 8 if size == 9 else 2  # all of 9 classes, 16 of 36
    per_device = functools.partial(_loss, key=jax.random.key(2), size=size, axis_name="data")
    mapped = _on_devices(per_device, devices, mapping)
    found = mapped(_ROWS, _CENTERS, _LABELS, _IS_CLASS)
    loss, has_class, rows = (np.asarray(x) for x in found)
    held = _C // devices
    first = np.repeat(np.arange(devices) * held, size)
    sampled = np.isin(np.arange(_C), rows.ravel() + first) & _IS_CLASS
    assert sampled.sum() <= devices * size
    expected, aux = losses.margin_softmax_loss(
        _ROWS, _CENTERS, _LABELS, margin=_MARGIN, class_where=sampled
    )
    np.testing.assert_array_equal(has_class.ravel(), aux.has_class)
    np.testing.assert_allclose(loss.ravel(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("optimizer", [optax.sgd, optax.adam])
def test_sampled_rows_take_the_ordinary_step_and_the_others_none(optimizer):
    def make(rate):
        step = optimizer(rate, momentum=0.9) if optimizer is optax.sgd else optimizer(rate)
        return optax.chain(optax.add_decayed_weights(0.1), step)

    transform = make(optax.linear_schedule(0.1, 0.05, 3))
    params, state = jnp.asarray(_CENTERS), None
    state = transform.init(params)
    warm = jnp.asarray(_RNG.normal(size=_CENTERS.shape), jnp.float32)
    updates, state = transform.update(warm, state, params)
    params = optax.apply_updates(params, updates)

    rows = jnp.array([3, 10, 71])
    gradients = jnp.asarray(_RNG.normal(size=(3, _D)), jnp.float32)
    new, new_state = jax.jit(functools.partial(losses.update_rows, transform))(
        gradients, state, params, rows
    )
    dense = jnp.zeros_like(params).at[rows].set(gradients)
    updates, dense_state = transform.update(dense, state, params)
    expected = optax.apply_updates(params, updates)
    rest = np.setdiff1d(np.arange(_C), rows)
    np.testing.assert_allclose(new[rows], expected[rows], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(new[rest], params[rest])
    assert np.abs(expected[rest] - params[rest]).min() > 0  # the ordinary step would have decayed
    for own, whole, old in zip(*map(jax.tree.leaves, (new_state, dense_state, state)), strict=True):
        if own.shape == params.shape:
            np.testing.assert_allclose(own[rows], whole[rows], rtol=1e-6, atol=1e-7)
            np.testing.assert_array_equal(own[rest], old[rest])
        else:
            np.testing.assert_array_equal(own, whole)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda key: losses.sample_classes(key, _LABELS, classes=_C, size=15),
            "size is 15; expected a whole number from 16 to 72, 16 to hold those of a batch of 16 "
            "rows, 72 there are",
        ),
        (
            lambda key: losses.sample_classes(key, _LABELS, classes=8, size=9),
            "size is 9; expected a whole number from 8 to 8, 8 to hold those of a batch of 16 "
            "rows, 8 there are",
        ),
        (
            lambda key: losses.sample_classes(key, _LABELS[None], classes=_C, size=20),
            "labels has shape (1, 16); expected [B]",
        ),
        (
            lambda key: losses.sample_classes(
                key, _LABELS, classes=_C, size=20, class_where=np.ones(3, bool)
            ),
            "class_where has shape (3,); expected [classes=72]",
        ),
        (
            lambda key: losses.update_rows(optax.sgd(0.1), _ROWS, (), _CENTERS, jnp.array([1, 2])),
            "gradients has shape (16, 6); expected [2, 6]",
        ),
        (
            lambda key: losses.update_rows(
                optax.sgd(0.1, momentum=0.9),
                _CENTERS[:2],
                optax.sgd(0.1, momentum=0.9).init(_CENTERS[:2]),
                _CENTERS,
                jnp.array([1, 2]),
            ),
            "state has a leaf of shape (2, 6), that of the gathered rows; expected that of all: "
            "optimizer.init(params), params of (72, 6)",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(call, message: str):
    with pytest.raises((ValueError, AssertionError)) as error:
        call(jax.random.key(0))
    assert str(error.value) == message
