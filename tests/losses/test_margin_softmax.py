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

    margin = losses.Margin(target, scale=2.0)
    loss, aux = losses.margin_softmax_loss(
        3.0 * jnp.eye(2), jnp.eye(2), jnp.array([0, 1]), margin=margin, margin_state=0.5
    )
    np.testing.assert_allclose(loss, np.full(2, math.log(1.0 + math.exp(-1.0))), rtol=1e-6)
    np.testing.assert_allclose(seen[0].norms, [3.0, 3.0])
    assert aux.state == 0.5


@pytest.mark.parametrize(
    ("rows", "centers", "labels", "class_where"),
    [
        (_ROWS[0], _CENTERS, _LABELS, None),
        (_ROWS, _CENTERS[0], _LABELS, None),
        (_ROWS, _CENTERS, _LABELS[:, None], None),
        (_ROWS, _CENTERS, _LABELS[:-1], None),
        (_ROWS, _CENTERS[:, :-1], _LABELS, None),
        (_ROWS, _CENTERS, _LABELS.astype(np.float32), None),
        (_ROWS, _CENTERS, _LABELS, np.ones(_C + 1, bool)),
    ],
    ids=["rows", "centers", "label rank", "label count", "size", "label type", "class_where"],
)
def test_what_does_not_fit_is_refused(rows, centers, labels, class_where):
    with pytest.raises(AssertionError):
        losses.margin_softmax_loss(rows, centers, labels, class_where=class_where)


def test_an_unknown_margin_is_told_in_one_line():
    with pytest.raises(ValueError) as error:
        losses.margin_softmax_loss(_ROWS, _CENTERS, _LABELS, margin="sphereface")
    assert str(error.value) == "margin is 'sphereface'; choose one of arcface, cosface, combined"
