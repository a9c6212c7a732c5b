"""Many devices give what one device gives: values, terms and gradients, in both kinds of map."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from ddl_jax import losses

_B, _C, _D = 16, 72, 6  # No product of two of them equals one of another two.
_RNG = np.random.default_rng(0)
_ROWS = _RNG.normal(size=(_B, _D)).astype(np.float32)
_CENTERS = _RNG.normal(size=(_C, _D)).astype(np.float32)
# Two rows of class 5, two rows without a class, classes of the first and the last device.
_LABELS = np.array([0, 5, 71, 40, 13, -1, 5, 22, 33, 9, 65, _C, 50, 2, 18, 27], np.int32)
# The last 10 classes are padding: at 8 devices, all classes of the last one.
_IS_CLASS = np.arange(_C) < _C - 10

_TOLERANCE = dict(rtol=1e-5, atol=1e-5)
_by_map = pytest.mark.parametrize("mapping", ["shard_map", "pmap"])
_by_devices = pytest.mark.parametrize("devices", [2, 8])


def _on_devices(function: Callable, devices: int, mapping: str) -> Callable:
    """Maps a function of the devices' own rows; outputs gain a leading axis of devices."""
    if mapping == "pmap":
        mapped = jax.pmap(function, axis_name="data", devices=jax.devices()[:devices])
        split = lambda x: x.reshape(devices, -1, *x.shape[1:])  # noqa: E731
        return lambda *arrays: mapped(*map(split, arrays))
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    per_device = lambda *arrays: jax.tree.map(lambda x: x[None], function(*arrays))  # noqa: E731
    by_row = PartitionSpec("data")
    return jax.jit(
        jax.shard_map(per_device, mesh=mesh, in_specs=by_row, out_specs=by_row, check_vma=False)
    )


def _of_global_batch(gradient_sum: Any) -> Any:
    """Inside a map a gradient is that of the sum over devices of a loss they all return."""
    return jax.tree.map(lambda x: x / jax.lax.axis_size("data"), gradient_sum)


def _assert_rows(sharded: Any, single: Any):
    """Every device's rows, one after another, are the rows of the single device."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a.reshape(b.shape), b, **_TOLERANCE),
        sharded,
        single,
    )


def _assert_replicated(sharded: Any, single: Any):
    """Every device holds what the single device holds."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, np.stack([b] * len(a)), **_TOLERANCE),
        sharded,
        single,
    )


def _softmax(
    margin: losses.Margin, axis_name: str | None, class_chunk: int | None = None
) -> Callable:
    """Rows' losses, aux, and the gradients of the mean over the global batch.

    The state, which every device holds whole, is repeated for each row.
    """

    def mean_loss(rows, centers, labels, is_class):
        loss, aux = losses.margin_softmax_loss(
            rows,
            centers,
            labels,
            margin=margin,
            key=jax.random.key(0),
            class_where=is_class,
            class_chunk=class_chunk,
            axis_name=axis_name,
        )
        aux = aux.replace(state=jax.tree.map(lambda x: jnp.broadcast_to(x, loss.shape), aux.state))
        mean = jnp.mean(loss + 0.1 * aux.regularizer + aux.target_cosine)
        return mean if axis_name is None else jax.lax.pmean(mean, axis_name), (loss, aux)

    def everything(*arrays):
        gradients, (loss, aux) = jax.grad(mean_loss, argnums=(0, 1), has_aux=True)(*arrays)
        return (loss, aux), gradients if axis_name is None else _of_global_batch(gradients)

    return everything


@_by_map
@_by_devices
def test_margin_softmax_loss(devices: int, mapping: str):
    _compare_margin_softmax(losses.arcface_margin(scale=16.0), _CENTERS, devices, mapping)


# The scale is small, so that every class has a share in every gradient.
_MARGINS = {
    "combined": losses.combined_margin(m1=1.1, m2=0.2, m3=0.1, scale=16.0),
    "straight-through": losses.arcface_margin(gradient="straight_through", scale=16.0),
    "filtered": losses.filtered_margin(losses.cosface_margin(scale=16.0), threshold=0.3),
    "warming": losses.warming_margin(losses.curricularface_margin(scale=16.0), steps=3),
    "magface": losses.magface_margin(lower_norm=1.0, upper_norm=4.0, scale=16.0),
    "elasticface": losses.elasticface_margin(assignment="ranked", scale=16.0),
} | {
    name: losses.named_margin(name, scale=16.0)
    for name in ("normface", "sphereface", "curricularface", "adaface")
}


# The others do nothing to a cosine but by its own value and label.
_OF_THE_BATCH = {"filtered", "warming", "magface", "elasticface", "adaface", "curricularface"}


@pytest.mark.parametrize("name", _MARGINS)
def test_every_margin_is_the_same_in_chunks_and_sharded(name: str):
    _compare_margin_softmax(
        _MARGINS[name],
        _CENTERS,
        8,
        "shard_map",
        class_chunk=4,
        each_alone=name in _OF_THE_BATCH,
    )


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(_MARGINS) - _OF_THE_BATCH))
def test_every_other_margin_is_the_same_in_chunks_alone_and_sharded_alone(name: str):
    _compare_margin_softmax(_MARGINS[name], _CENTERS, 8, "shard_map", class_chunk=4)


def test_sub_centers_are_the_same_in_chunks_sharded_and_both():
    centers = np.random.default_rng(1).normal(size=(_C, 3, _D)).astype(np.float32)
    _compare_margin_softmax(_MARGINS["adaface"], centers, 8, "pmap", class_chunk=4)


def _compare_margin_softmax(
    margin: losses.Margin,
    centers: np.ndarray,
    devices: int,
    mapping: str,
    class_chunk: int | None = None,
    each_alone: bool = True,
):
    """One device's numbers are those of many, of chunks, and of both; or of both only."""
    arrays = (_ROWS, centers, _LABELS, _IS_CLASS)
    single = jax.jit(_softmax(margin, None))(*arrays)
    (loss, aux), gradients = single
    # Labels -1, 72, and the two that name padding.
    assert (~aux.has_class).sum() == 4
    np.testing.assert_array_equal(loss[~aux.has_class], 0.0)
    np.testing.assert_array_equal(gradients[1][~_IS_CLASS], 0.0)
    assert np.abs(gradients[0]).max() > 0.01 and np.abs(gradients[1]).max() > 0.01
    if each_alone:
        _assert_rows(_on_devices(_softmax(margin, "data"), devices, mapping)(*arrays), single)
    if class_chunk is not None and each_alone:
        chunked = _softmax(margin, None, 5 * class_chunk)
        _assert_rows(jax.jit(chunked)(*arrays), single)
    if class_chunk is not None:
        both = _softmax(margin, "data", class_chunk)
        _assert_rows(_on_devices(both, devices, mapping)(*arrays), single)


def _checked_map(function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """Over 8 devices, with jax's own check of replication."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs))


def _in_a_checked_map(class_chunk: int | None) -> tuple:
    """The gradient of the centres as jax's own check of replication gives it."""

    def mean_loss(rows, centers, labels):
        loss, _ = losses.margin_softmax_loss(
            rows, centers, labels, class_chunk=class_chunk, axis_name="data"
        )
        return jax.lax.pmean(jnp.mean(loss), "data")

    by_row = PartitionSpec("data")
    return _checked_map(jax.grad(mean_loss, 1), by_row, by_row)(_ROWS, _CENTERS, _LABELS)


def test_in_a_checked_map_the_gradient_is_right_as_it_comes():
    def mean_loss(centers):
        return jnp.mean(losses.margin_softmax_loss(_ROWS, centers, _LABELS)[0])

    wanted = jax.jit(jax.grad(mean_loss))(_CENTERS)
    np.testing.assert_allclose(_in_a_checked_map(None), wanted, **_TOLERANCE)


def test_class_centers_that_every_device_holds_whole_are_refused_where_they_can_be_seen():
    by_row, whole = PartitionSpec("data"), PartitionSpec()
    mapped = _checked_map(
        lambda *arrays: losses.margin_softmax_loss(*arrays, axis_name="data")[0],
        (by_row, whole, by_row),
        by_row,
    )
    with pytest.raises(ValueError, match="class_centers is the same on every device of 'data'"):
        mapped(_ROWS, _CENTERS, _LABELS)


def test_in_a_checked_map_class_centers_may_be_whole_where_rows_are_not_gathered():
    """Plain data parallelism: every device has all classes and its own rows."""

    def mean_loss(rows, centers, labels):
        return jnp.mean(losses.margin_softmax_loss(rows, centers, labels)[0])

    by_row, whole = PartitionSpec("data"), PartitionSpec()
    mapped = _checked_map(
        jax.grad(lambda *arrays: jax.lax.pmean(mean_loss(*arrays), "data"), 1),
        (by_row, whole, by_row),
        whole,
    )
    arrays = (_ROWS, _CENTERS, _LABELS)
    wanted = jax.jit(jax.grad(mean_loss, 1))(*arrays)
    np.testing.assert_allclose(mapped(*arrays), wanted, **_TOLERANCE)


def test_chunks_in_a_checked_map_are_refused():
    with pytest.raises(ValueError, match="class_chunk in jax.shard_map needs check_vma=False"):
        _in_a_checked_map(4)


@_by_map
def test_margin_softmax_loss_without_any_class_is_finite(mapping: str):
    arrays = (_ROWS, _CENTERS, _LABELS, np.zeros(_C, bool))
    found = _on_devices(_softmax(losses.arcface_margin(), "data"), 8, mapping)(*arrays)
    for leaf in jax.tree.leaves(found):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


_COLLECTIVE = re.compile(r" (all-gather|all-reduce|all-to-all|reduce-scatter|collective-\w+)\S*\(")


def _communicated_sizes(program: str) -> dict[str, set[int]]:
    """Numbers of elements, in and out, of every collective in a compiled program, by its kind."""
    sizes: dict[str, set[int]] = {}
    for line in program.splitlines():
        if found := _COLLECTIVE.search(line):
            for shape in re.findall(r"\w+\[([\d,]*)\]", line):
                size = int(np.prod([int(n) for n in shape.split(",") if n], initial=1))
                sizes.setdefault(found[1], set()).add(size)
    return sizes


@pytest.mark.parametrize("class_chunk", [None, 4])
def test_class_centers_and_their_logits_never_leave_their_device(class_chunk: int | None):
    arrays = (_ROWS, _CENTERS, _LABELS, _IS_CLASS)
    program = _softmax(losses.arcface_margin(), "data", class_chunk)
    mapped = _on_devices(program, 8, "shard_map")
    sizes = _communicated_sizes(mapped.lower(*arrays).compile().as_text())
    assert _B * _D in sizes["all-gather"]  # Embeddings are: the pattern reads what there is.
    assert _B in sizes["all-reduce"]
    own = _B // 8
    rows_and_row_scalars = {_B * _D, own * _D, _B, own, 1}
    assert set().union(*sizes.values()) <= rows_and_row_scalars


def test_the_reader_of_programs_sees_a_gathered_center():
    gather = _on_devices(lambda x: jax.lax.all_gather(x, "data", tiled=True), 8, "shard_map")
    sizes = _communicated_sizes(gather.lower(_CENTERS).compile().as_text())
    assert _C * _D in sizes["all-gather"]


# Rows 1 and 6 of `_LABELS`, on different devices of 8, are of one identity and nearly equal.
_SINGLES = _ROWS.copy()
_SINGLES[6] = _ROWS[1] + 0.01


def _hardest(mining: str, axis_name: str | None) -> Callable:
    def everything(singles, labels):
        def total(singles):
            found = losses.hardest_negative_similarities(
                singles, labels, mining=mining, axis_name=axis_name
            )
            return jnp.sum(found[0] * jnp.arange(1.0, len(found[0]) + 1)), found

        gradient, found = jax.grad(total, has_aux=True)(singles)
        return found, gradient

    return everything


@pytest.mark.parametrize(
    ("mining", "devices", "mapping"),
    [("paper", 2, "pmap"), ("paper", 8, "shard_map"), ("tface", 8, "shard_map")],
)
def test_hardest_negatives_come_from_all_devices(mining: str, devices: int, mapping: str):
    single, _ = jax.jit(_hardest(mining, None))(_SINGLES, _LABELS)
    sharded, _ = _on_devices(_hardest(mining, "data"), devices, mapping)(_SINGLES, _LABELS)
    _assert_rows(sharded, single)
    # The test would be empty if the own rows, or another's of the same identity, were the hardest.
    alone = jax.vmap(lambda x: losses.hardest_negative_similarities(x, mining=mining)[0])(
        _SINGLES.reshape(devices, -1, _D)
    )
    assert np.abs(alone.ravel() - single[0]).max() > 0.1
    assert single[0].max() < 0.99


def _distillation(axis_name: str | None, **options: Any) -> Callable:
    """Loss, terms and the gradients with respect to all embeddings `[b, 3 * domains, D]`."""

    def loss(faces, labels):
        domains = [
            losses.pair_similarities(*domain, labels, axis_name=axis_name)
            for domain in jnp.split(faces.transpose(1, 0, 2), 2)
        ]
        return losses.distribution_distillation_loss(
            domains[0], domains[1:], axis_name=axis_name, **options
        )

    def everything(faces, labels):
        (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(faces, labels)
        gradient = gradient if axis_name is None else _of_global_batch(gradient)
        return (value, terms), gradient

    return everything


def _faces() -> np.ndarray:
    """Singles with a collision as above; pairs alike, but some opposite: those do not count."""
    faces = np.random.default_rng(1).normal(size=(_B, 6, _D)).astype(np.float32)
    faces[6, ::3] = faces[1, ::3] + 0.01
    faces[:, 2::3] = faces[:, 1::3] + faces[:, 2::3]
    faces[2:5, 5] = -faces[2:5, 4]
    return faces


# The other two are in test_sharded_distillation.py, with options.
@pytest.mark.parametrize(
    ("devices", "mapping"),
    [
        (2, "pmap"),
        (8, "shard_map"),
        pytest.param(2, "shard_map", marks=pytest.mark.long),
        pytest.param(8, "pmap", marks=pytest.mark.long),
    ],
)
def test_distribution_distillation_loss(devices: int, mapping: str):
    _compare_distillation(devices, mapping)


def test_distribution_distillation_loss_with_a_stopped_teacher():
    _compare_distillation(
        8, "shard_map", divergence=losses.js_divergence, stop_teacher_gradient=True
    )


def _compare_distillation(devices: int, mapping: str, **options: Any):
    labels = np.where(_LABELS < 0, 99, _LABELS)
    (loss, gradient) = jax.jit(_distillation(None, **options))(_faces(), labels)
    sharded_loss, sharded_gradient = _on_devices(
        _distillation("data", **options), devices, mapping
    )(_faces(), labels)
    _assert_replicated(sharded_loss, loss)
    _assert_rows(sharded_gradient, gradient)
    assert np.abs(gradient).max() > 0.01


@_by_map
def test_distillation_where_some_devices_have_nothing_that_counts(mapping: str):
    """Histograms, means and the order loss are those of the global batch, empty shards included."""
    values = np.random.default_rng(2).uniform(-1, 1, (_B, 4)).astype(np.float32)
    where = np.zeros((_B, 4), bool)
    where[:5, 0] = where[3:, 1] = where[8:10, 2] = True  # The last set is empty everywhere.

    def everything(axis_name):
        def found(values, where):
            domains = [
                losses.PairSimilarities(*values.T[i : i + 2], *where.T[i : i + 2]) for i in (0, 2)
            ]
            histogram = losses.similarity_histogram(
                values[:, 0],
                nodes=jnp.linspace(-1.0, 1.0, 11),
                where=where[:, 0],
                axis_name=axis_name,
            )
            loss, terms = losses.distribution_distillation_loss(
                domains[0], domains[1:], axis_name=axis_name
            )
            return loss, terms, losses.order_loss(domains, axis_name=axis_name), histogram

        return found

    single = everything(None)(values, where)
    _assert_replicated(_on_devices(everything("data"), 8, mapping)(values, where), single)
    assert single[1]["positive_divergence"][0] > 0 and single[1]["negative_divergence"][0] == 0
