"""The comparison losses on many devices: values and gradients are those of one device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

from .test_sharded import (
    _assert_replicated,
    _assert_rows,
    _compare_margin_softmax,
    _of_global_batch,
    _on_devices,
)

_B, _D, _C = 16, 6, 5
_RNG = np.random.default_rng(0)
_ROWS, _OTHERS = _RNG.normal(size=(2, _B, _D)).astype(np.float32)
_ENTROPIES = _RNG.gamma(1.0, size=_B).astype(np.float32)
_CENTERS = _RNG.normal(size=(_C, _D)).astype(np.float32)
# Identities spread over the devices, one of them alone, and two rows outside [0, C): both of the
# first of 2 devices, so that a mean of the devices' means is not the mean.
_LABELS = np.array([0, 1, 2, 7, 3, -1, 1, 2, 0, 3, 4, 1, 3, 2, 2, 0])
# Of the 8 devices the second has no row that counts, the third one.
_WHERE = np.array([1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1], bool)
_ARRAYS = (_ROWS, _OTHERS, _ENTROPIES, _LABELS, _WHERE)


def _losses(axis: str | None) -> dict[str, Callable]:
    """Every scalar loss as a function of the rows, others, entropies, labels and where."""
    teacher = dict(stop_teacher_gradient=False, axis_name=axis)
    sets = lambda x: x.reshape(len(x), 3, 2)  # noqa: E731

    def histogram(x, y, e, labels, where):
        pairs = losses.batch_pair_similarities(x, labels, axis_name=axis)
        return losses.histogram_loss(pairs, axis_name=axis)

    def transport(x, y, e, labels, where):
        return losses.transport_triplet_loss(
            sets(x), sets(y), sets(x[:, ::-1]), iterations=2, where=where, axis_name=axis
        )

    def cross_resolution(x, y, e, labels, where):
        return losses.cross_resolution_loss(x, y, x[:, :4], y[:, :4], where=where, **teacher)[0]

    def of_rows(function, **options):
        return lambda x, y, e, labels, where: function(x, labels, axis_name=axis, **options)

    def of_both(function, **options):
        return lambda x, y, e, labels, where: function(x, y, **teacher, **options)

    return {
        "histogram": histogram,
        "ohem": lambda x, y, e, labels, where: losses.ohem_loss(e, where=where, axis_name=axis),
        "triplet": of_rows(losses.batch_hard_triplet_loss, margin=0.5),
        "soft triplet": of_rows(losses.batch_hard_triplet_loss, margin=None, normalize=False),
        "contrastive": of_rows(losses.supervised_contrastive_loss),
        "center": lambda x, y, e, labels, where: losses.center_loss(
            x, _CENTERS, labels, axis_name=axis
        ),
        "distances": of_both(losses.relational_distance_loss),
        "angles": of_both(losses.relational_angle_loss, reduction="mean_of_all"),
        "similarities": of_both(losses.similarity_preserving_loss),
        "transport": transport,
        "cross resolution": cross_resolution,
    }


def _values_and_gradients(axis: str | None) -> Callable:
    def everything(*arrays):
        found = {
            name: jax.value_and_grad(loss, argnums=(0, 1, 2))(*arrays)
            for name, loss in _losses(axis).items()
        }
        values = {name: value for name, (value, _) in found.items()}
        gradients = {name: gradient for name, (_, gradient) in found.items()}
        return values, gradients if axis is None else _of_global_batch(gradients)

    return everything


@pytest.fixture(scope="module")
def single():
    return jax.jit(_values_and_gradients(None))(*_ARRAYS)


# pmap: other tests show that both maps give a loss the same axis.
@pytest.mark.parametrize(
    ("devices", "mapping"), [pytest.param(2, "pmap", marks=pytest.mark.long), (8, "shard_map")]
)
def test_values_and_gradients_are_those_of_one_device(devices: int, mapping: str, single):
    values, gradients = _on_devices(_values_and_gradients("data"), devices, mapping)(*_ARRAYS)
    _assert_replicated(values, single[0])
    _assert_rows(gradients, single[1])
    for gradient in single[1].values():
        assert max(np.abs(leaf).max() for leaf in gradient) > 1e-3


def test_each_device_alone_would_be_wrong(single):
    """Or the test above would not show that rows of other devices have a part."""
    parts = [x.reshape(2, -1, *x.shape[1:]) for x in _ARRAYS]
    alone = jax.jit(
        jax.vmap(lambda *arrays: {name: loss(*arrays) for name, loss in _losses(None).items()})
    )(*parts)
    for name, value in alone.items():
        assert abs(np.mean(value) - single[0][name]) > 1e-4, name


def test_state_and_searches_are_of_the_global_batch():
    def found(axis):
        def everything(x, y, e, labels, where):
            return (
                losses.hardest_rows(e, number=5, where=where, axis_name=axis),
                losses.hardest_triplets(x, labels, axis_name=axis),
            ), losses.updated_centers(_CENTERS, x, labels, axis_name=axis)

        return everything

    searches, centers = found(None)(*_ARRAYS)
    assert searches[0].sum() == 5
    sharded_searches, sharded_centers = _on_devices(found("data"), 8, "shard_map")(*_ARRAYS)
    _assert_rows(sharded_searches, searches)
    _assert_replicated(sharded_centers, centers)
    assert np.abs(centers - _CENTERS).max() > 0.1


def test_misclassified_vectors_with_sharded_class_centers():
    margin = losses.mv_softmax_margin(margin=losses.cosface_margin(margin=0.2, scale=16.0))
    centers = np.random.default_rng(1).normal(size=(72, _D)).astype(np.float32)
    _compare_margin_softmax(margin, centers, 8, "shard_map", class_chunk=4)


def test_comparison_losses_need_no_labels_of_their_own_device():
    """Each identity on its own device: the only positives are elsewhere, or nowhere."""
    labels = np.arange(_B) // 2
    arrays = (_ROWS[:, :3], np.roll(labels, 1))

    def loss(axis):
        return lambda x, labels: losses.batch_hard_triplet_loss(
            x, labels, margin=1.0, axis_name=axis
        )

    value = loss(None)(*map(jnp.asarray, arrays))
    _assert_replicated(_on_devices(loss("data"), 8, "shard_map")(*arrays), value)
