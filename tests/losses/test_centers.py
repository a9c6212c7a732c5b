"""The center loss and its update against the paper's equations, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_RNG = np.random.default_rng(0)
_ROWS = _RNG.normal(size=(6, 3))
_CENTERS = _RNG.normal(size=(4, 3))
# Class 1 three times, class 3 once, classes 0 and 2 never; the last two rows have no class.
_LABELS = np.array([1, 3, 1, 1, -1, 4])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_center_loss_is_the_papers(reduction: str, normalize: bool):
    rows = _ROWS / np.linalg.norm(_ROWS, axis=1, keepdims=True) if normalize else _ROWS
    want = 0.5 * sum(np.sum((rows[i] - _CENTERS[_LABELS[i]]) ** 2) for i in range(4))
    found = losses.center_loss(
        jnp.asarray(_ROWS, jnp.float32),
        jnp.asarray(_CENTERS, jnp.float32),
        _LABELS,
        reduction=reduction,
        normalize=normalize,
    )
    np.testing.assert_allclose(found, want / 4 if reduction == "mean" else want, rtol=1e-5)


def test_centers_move_as_in_the_paper():
    """Wen et al., eq. 4 and the step after it, centre by centre."""
    alpha, want = 0.3, _CENTERS.copy()
    for j in range(4):
        members = [i for i in range(6) if _LABELS[i] == j]
        move = sum((_CENTERS[j] - _ROWS[i] for i in members), np.zeros(3)) / (1 + len(members))
        want[j] -= alpha * move
    found = jax.jit(lambda c, x: losses.updated_centers(c, x, _LABELS, update_rate=alpha))(
        jnp.asarray(_CENTERS, jnp.float32), jnp.asarray(_ROWS, jnp.float32)
    )
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[0], _CENTERS[0].astype(np.float32))


def test_centers_have_no_gradient_and_stay_wide():
    total = lambda x: jnp.sum(losses.updated_centers(_CENTERS, x, _LABELS))  # noqa: E731
    assert not jax.grad(total)(jnp.asarray(_ROWS, jnp.float32)).any()
    half = losses.updated_centers(
        jnp.asarray(_CENTERS, jnp.bfloat16), jnp.asarray(_ROWS, jnp.bfloat16), _LABELS
    )
    assert half.dtype == jnp.float32


@pytest.mark.parametrize("norm", [0.0, 1e-30, 1e15])
def test_every_norm_is_finite(norm: float):
    rows = jnp.asarray(norm * _ROWS, jnp.float32)
    found = jax.value_and_grad(losses.center_loss)(rows, jnp.asarray(_CENTERS), _LABELS)
    moved = losses.updated_centers(jnp.asarray(_CENTERS), rows, _LABELS)
    for leaf in jax.tree.leaves((found, moved)):
        assert np.isfinite(leaf).all()


def test_no_class_at_all_gives_zero():
    found = jax.value_and_grad(losses.center_loss)(
        jnp.asarray(_ROWS, jnp.float32), jnp.asarray(_CENTERS), np.full(6, -1)
    )
    assert found[0] == 0.0 and not found[1].any()


def test_bad_options_are_named():
    arrays = jnp.ones((1, 2)), jnp.ones((1, 2)), np.zeros(1, int)
    with pytest.raises(ValueError, match="reduction is 'max'; choose one of mean, sum"):
        losses.center_loss(*arrays, reduction="max")
    with pytest.raises(ValueError, match="update_rate is 1.5; expected from 0 to 1"):
        losses.updated_centers(*arrays, update_rate=1.5)


@pytest.mark.parametrize(
    ("shapes", "dtype", "message"),
    [
        ([(4, 8), (5, 7), (4,)], int, r"centers has shape \(5, 7\); expected \[C, D=8\]"),
        ([(8,), (5, 8), (4,)], int, r"embeddings has shape \(8,\); expected \[b, D\]"),
        ([(4, 8), (5, 8), (3,)], int, r"labels has shape \(3,\); expected \[b=4\]"),
        ([(4, 8), (5, 8), (4,)], np.float32, "labels is of type float32; expected integers"),
    ],
)
def test_wrong_arrays_are_named(shapes, dtype, message: str):
    embeddings, centers = (jnp.ones(shape) for shape in shapes[:2])
    labels = np.zeros(shapes[2], dtype)
    with pytest.raises(AssertionError, match=message):
        losses.center_loss(embeddings, centers, labels)
    with pytest.raises(AssertionError, match=message):
        losses.updated_centers(centers, embeddings, labels)
