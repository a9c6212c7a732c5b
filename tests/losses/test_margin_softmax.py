"""margin_softmax_loss on one device: reductions to known losses, masks, labels without class."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddl_jax import losses

_B, _C, _D = 7, 9, 16
_RNG = np.random.default_rng(0)
_ROWS = _RNG.normal(size=(_B, _D)).astype(np.float32)
_CENTERS = _RNG.normal(size=(_C, _D)).astype(np.float32)
_LABELS = np.array([0, 3, 8, 3, 5, 1, 7])

_MARGINS = {
    "arcface": losses.arcface_margin(),
    "arcface none": losses.arcface_margin(beyond_pi="none"),
    "cosface": losses.cosface_margin(),
    "combined": losses.combined_margin(m1=1.1, m2=0.2, m3=0.1),
}
_by_margin = pytest.mark.parametrize("margin", _MARGINS.values(), ids=list(_MARGINS))


@functools.partial(jax.jit, static_argnames="margin")
def _loss(rows, centers, labels, *, margin, class_where=None):
    return losses.margin_softmax_loss(rows, centers, labels, margin=margin, class_where=class_where)


@functools.partial(jax.jit, static_argnames="margin")
@functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
def _total(rows, centers, labels, class_where, *, margin):
    """Sum of the rows' losses, its gradients, and what `_loss` gives."""
    loss, aux = _loss(rows, centers, labels, margin=margin, class_where=class_where)
    return jnp.sum(loss), (loss, aux)


def _cosines() -> np.ndarray:
    """In float64, without the library."""
    rows, centers = _ROWS.astype(np.float64), _CENTERS.astype(np.float64)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    return unit(rows) @ unit(centers).T


@pytest.mark.parametrize(
    ("margin", "moved"),
    [
        (losses.arcface_margin(margin=0.2), lambda c: np.cos(np.arccos(c) + 0.2)),
        (losses.cosface_margin(margin=0.35), lambda c: c - 0.35),
        (
            losses.combined_margin(m1=1.1, m2=0.2, m3=0.1),
            lambda c: np.cos(1.1 * np.arccos(c) + 0.2) - 0.1,
        ),
    ],
    ids=["arcface", "cosface", "combined"],
)
def test_it_is_the_formula_of_the_docstring(margin, moved):
    cosine = _cosines()
    target = cosine[np.arange(_B), _LABELS]
    logits = 64.0 * np.where(_LABELS[:, None] == np.arange(_C), moved(cosine), cosine)
    expected = np.log(np.sum(np.exp(logits), axis=1)) - logits[np.arange(_B), _LABELS]
    loss, aux = _loss(_ROWS, _CENTERS, _LABELS, margin=margin)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(aux.target_cosine, target, rtol=1e-5, atol=1e-6)
    assert aux.has_class.all()
    np.testing.assert_array_equal(aux.regularizer, np.zeros(_B))
    assert aux.state is None


@pytest.mark.parametrize(
    "margin",
    [
        losses.arcface_margin(margin=0.0, scale=20.0),
        losses.cosface_margin(margin=0.0, scale=20.0),
        losses.combined_margin(m2=0.0, scale=20.0),
    ],
    ids=["arcface", "cosface", "combined"],
)
def test_without_a_margin_it_is_the_scaled_softmax(margin):
    logits = 20.0 * jnp.asarray(_cosines(), jnp.float32)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, _LABELS)
    loss, _ = _loss(_ROWS, _CENTERS, _LABELS, margin=margin)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_right_angle_between_two_classes():
    # The row is at 60 degrees to its class and at 30 to the other; m = 30 degrees, s = 2.
    row = jnp.array([[0.5, math.sqrt(3) / 2]])
    margin = losses.arcface_margin(margin=math.pi / 6, scale=2.0)
    loss, aux = losses.margin_softmax_loss(row, jnp.eye(2), jnp.array([0]), margin=margin)
    # log(exp(2 cos 90) + exp(2 cos 30)) - 2 cos 90
    np.testing.assert_allclose(loss, [math.log(1.0 + math.exp(math.sqrt(3.0)))], rtol=1e-5)
    np.testing.assert_allclose(aux.target_cosine, [0.5], rtol=1e-5)


def test_a_name_means_that_margins_defaults():
    for name in ("arcface", "cosface"):
        named, _ = _loss(_ROWS, _CENTERS, _LABELS, margin=name)
        given, _ = _loss(_ROWS, _CENTERS, _LABELS, margin=_MARGINS[name])
        np.testing.assert_array_equal(named, given)
    default, _ = losses.margin_softmax_loss(_ROWS, _CENTERS, _LABELS)
    arcface, _ = _loss(_ROWS, _CENTERS, _LABELS, margin="arcface")
    np.testing.assert_allclose(default, arcface, rtol=1e-5)


@_by_margin
def test_lengths_of_embeddings_and_centers_do_not_matter(margin):
    lengths = np.geomspace(1e-3, 1e3, _B, dtype=np.float32)[:, None]
    loss, _ = _loss(_ROWS, _CENTERS, _LABELS, margin=margin)
    scaled, _ = _loss(lengths * _ROWS, 1e-2 * _CENTERS, _LABELS, margin=margin)
    np.testing.assert_allclose(scaled, loss, rtol=1e-5)


@_by_margin
def test_the_order_of_rows_and_of_classes_does_not_matter(margin):
    loss, _ = _loss(_ROWS, _CENTERS, _LABELS, margin=margin)
    rows, classes = np.random.default_rng(1).permutation(_B), np.roll(np.arange(_C), 4)
    new_number = np.argsort(classes)
    moved, _ = _loss(_ROWS[rows], _CENTERS[classes], new_number[_LABELS[rows]], margin=margin)
    np.testing.assert_allclose(moved, loss[rows], rtol=1e-5)


@_by_margin
def test_class_where_equals_slicing(margin):
    padded = np.concatenate([_CENTERS, 100.0 * np.ones((3, _D), np.float32)])
    is_class = np.arange(len(padded)) < _C

    (value, _), gradients = _total(_ROWS, padded, _LABELS, is_class, margin=margin)
    (expected, _), expected_gradients = _total(_ROWS, _CENTERS, _LABELS, None, margin=margin)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradients[0], expected_gradients[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradients[1][:_C], expected_gradients[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(gradients[1][_C:], 0.0)


@pytest.mark.parametrize("label", [-1, _C, 2**31 - 1, 4])
def test_a_row_without_class_has_loss_and_gradient_0_and_is_marked(label: int):
    labels = _LABELS.copy()
    labels[2] = label  # Class 4 is masked out below, and has no other row.
    is_class = np.arange(_C) != 4

    arcface = _MARGINS["arcface"]
    (total, (loss, aux)), gradients = _total(_ROWS, _CENTERS, labels, is_class, margin=arcface)
    assert loss[2] == 0.0 and aux.target_cosine[2] == 0.0
    np.testing.assert_array_equal(gradients[0][2], 0.0)
    np.testing.assert_array_equal(aux.has_class, np.arange(_B) != 2)
    # The other rows do not notice.
    rest = np.arange(_B) != 2
    (expected, _), expected_gradients = _total(
        _ROWS[rest], _CENTERS, labels[rest], is_class, margin=arcface
    )
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    np.testing.assert_allclose(gradients[1], expected_gradients[1], rtol=1e-4, atol=1e-4)


def test_a_margins_state_is_handed_to_it_and_back():
    seen = []

    def target(cosine, inputs):
        seen.append(inputs)
        return cosine - inputs.state

    margin = losses.Margin(target, scale=2.0, initial_state=0.0)
    loss, aux = losses.margin_softmax_loss(
        3.0 * jnp.eye(2), jnp.eye(2), jnp.array([0, 1]), margin=margin, margin_state=0.5
    )
    np.testing.assert_allclose(loss, np.full(2, math.log(1.0 + math.exp(-1.0))), rtol=1e-6)
    np.testing.assert_allclose(seen[0].norms, [3.0, 3.0])
    assert aux.state == 0.5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(embeddings=_ROWS[0]), "embeddings has shape (16,); expected [B, D]"),
        (dict(class_centers=_CENTERS[0]), "class_centers has shape (16,); expected [C, D=16]"),
        (dict(labels=_LABELS[:, None]), "labels has shape (7, 1); expected [B=7]"),
        (dict(labels=_LABELS[:-1]), "labels has shape (6,); expected [B=7]"),
        (
            dict(class_centers=_CENTERS[:, :-1]),
            "class_centers has shape (9, 15); expected [C, D=16]",
        ),
        (
            dict(labels=_LABELS.astype(np.float32)),
            "labels is of type float32; expected integers",
        ),
        (
            dict(embeddings=_ROWS.astype(np.int32)),
            "embeddings is of type int32; expected floating point numbers",
        ),
        (dict(class_where=np.ones(_C + 1, bool)), "class_where has shape (10,); expected [C=9]"),
        (dict(class_where=np.ones(_C)), "class_where is of type float32; expected bool"),
        (dict(class_centers=_CENTERS[:0]), "class_centers has shape (0, 16); expected a class"),
        (
            dict(margin=0.5),
            "margin is of type float; expected Margin such as losses.arcface_margin(), or a name",
        ),
        (
            dict(margin="adaface", margin_state=0.0),
            "the margin's state is float of shapes [()]; expected AdaFaceState of shapes [(), ()]",
        ),
        (
            dict(margin="curricularface", margin_state=np.zeros(8)),
            "the margin's state is ndarray of shapes [(8,)]; expected float of shapes [()]",
        ),
        (
            dict(margin_state=0.0),
            "the margin's state is float of shapes [()]; expected no state",
        ),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_what_does_not_fit_is_named(changed: dict, message: str):
    given = dict(embeddings=_ROWS, class_centers=_CENTERS, labels=_LABELS, class_where=None)
    given |= changed
    arrays = [given.pop(name) for name in ("embeddings", "class_centers", "labels")]
    with pytest.raises(AssertionError) as error:
        losses.margin_softmax_loss(*arrays, **given)
    assert str(error.value) == message


@pytest.mark.parametrize("class_chunk", [0, -3, 2.0, True])
def test_a_chunk_that_is_none_is_refused(class_chunk):
    message = f"class_chunk is {class_chunk}; expected a whole number from 1, or None for all$"
    with pytest.raises(ValueError, match=message):
        losses.margin_softmax_loss(_ROWS, _CENTERS, _LABELS, class_chunk=class_chunk)


def test_a_chunk_may_be_any_whole_number():
    found, wanted = (
        losses.margin_softmax_loss(_ROWS, _CENTERS, _LABELS, class_chunk=chunk)[0]
        for chunk in (np.int64(2), 2)
    )
    np.testing.assert_array_equal(found, wanted)


def test_a_margin_of_ones_own_may_keep_an_array():
    counts = lambda target, inputs, where, axis_name: inputs.state + jnp.sum(where)  # noqa: E731
    margin = losses.Margin(lambda cosine, inputs: cosine, initial_state=np.zeros(3), update=counts)
    _, aux = losses.margin_softmax_loss(_ROWS, _CENTERS, _LABELS, margin=margin)
    np.testing.assert_array_equal(aux.state, np.full(3, aux.has_class.sum()))


def test_the_nearest_sub_center_is_that_of_the_class():
    # Class 0 has centres at 0 and 90 degrees, class 1 at 180 and 200.
    degrees = jnp.radians(jnp.array([[0.0, 90.0], [180.0, 200.0]]))
    centers = jnp.stack([jnp.cos(degrees), jnp.sin(degrees)], axis=-1)
    row = jnp.array([[0.5, math.sqrt(3) / 2]])  # at 60 degrees
    margin = losses.normface_margin(scale=2.0)
    for class_chunk in (None, 1):
        loss, aux = losses.margin_softmax_loss(
            row, centers, jnp.array([0]), margin=margin, class_chunk=class_chunk
        )
        nearest, other = math.cos(math.pi / 6), math.cos(2 * math.pi / 3)
        np.testing.assert_allclose(aux.target_cosine, [nearest], rtol=1e-5)
        expected = math.log(1.0 + math.exp(2.0 * (other - nearest)))
        np.testing.assert_allclose(loss, [expected], rtol=1e-5)


def test_a_sure_row_keeps_a_loss_above_0():
    """e^-60 is lost beside 1 in a difference of logarithms."""
    rows, centers = jnp.array([[1.0, 0.0]]), jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    margin = losses.normface_margin(scale=30.0)
    for class_chunk in (None, 1):
        loss, _ = losses.margin_softmax_loss(
            rows, centers, jnp.array([0]), margin=margin, class_chunk=class_chunk
        )
        np.testing.assert_allclose(loss, [math.exp(-60.0)], rtol=1e-4)


@pytest.mark.parametrize("class_chunk", [1, 2, 4, _C, 2 * _C])
def test_any_chunk_gives_what_the_dense_form_gives(class_chunk: int):
    """Every margin in chunks, and sharded too, is in test_sharded.py; here any size of a chunk."""
    is_class = np.arange(_C) != 4
    margin = losses.curricularface_margin(scale=16.0)

    def total(rows, centers, class_chunk):
        loss, aux = losses.margin_softmax_loss(
            rows,
            centers,
            _LABELS,
            margin=margin,
            margin_state=0.1,
            class_where=is_class,
            class_chunk=class_chunk,
        )
        return jnp.sum(loss) + jnp.sum(aux.target_cosine), (loss, aux)

    found = jax.value_and_grad(total, (0, 1), has_aux=True)
    dense, chunked = found(_ROWS, _CENTERS, None), found(_ROWS, _CENTERS, class_chunk)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), chunked, dense
    )


def test_no_array_of_the_size_of_the_logits_exists_in_chunks():
    rows, classes = 12, 1000
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((rows, 4), (classes, 4))]
    labels = jax.ShapeDtypeStruct((rows,), jnp.int32)

    def program(class_chunk):
        def mean(rows, centers, labels):
            loss, _ = losses.margin_softmax_loss(rows, centers, labels, class_chunk=class_chunk)
            return jnp.mean(loss)

        compiled = jax.jit(jax.grad(mean, (0, 1))).lower(*shapes, labels).compile()
        return compiled.as_text(), compiled.memory_analysis().temp_size_in_bytes

    dense, dense_bytes = program(None)
    chunked, chunked_bytes = program(100)
    assert f"[{rows},{classes}]" in dense and f"[{rows},{classes}]" not in chunked
    assert chunked_bytes < 0.5 * dense_bytes


def test_an_unknown_margin_is_told_in_one_line():
    with pytest.raises(ValueError) as error:
        losses.margin_softmax_loss(_ROWS, _CENTERS, _LABELS, margin="arc")
    assert str(error.value).startswith("margin is 'arc'; choose one of arcface, cosface, ")
