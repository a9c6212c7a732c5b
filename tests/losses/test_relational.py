"""Relational and similarity-preserving distillation against their papers' equations in numpy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_RNG = np.random.default_rng(0)
_STUDENT = _RNG.normal(size=(5, 4))
_TEACHER = 3.0 * _RNG.normal(size=(5, 6))


def _huber(a: float, b: float) -> float:
    return 0.5 * (a - b) ** 2 if abs(a - b) <= 1 else abs(a - b) - 0.5


def _relative_distances(rows: np.ndarray) -> dict[tuple[int, int], float]:
    pairs = list(itertools.permutations(range(len(rows)), 2))
    distance = {(i, j): np.linalg.norm(rows[i] - rows[j]) for i, j in pairs}
    mean = np.mean(list(distance.values()))
    return {pair: d / mean for pair, d in distance.items()}


def _angles(rows: np.ndarray) -> dict[tuple[int, int, int], float]:
    def direction(i, j):
        return (rows[i] - rows[j]) / np.linalg.norm(rows[i] - rows[j])

    triples = itertools.permutations(range(len(rows)), 3)
    return {(i, j, k): direction(i, j) @ direction(k, j) for i, j, k in triples}


def _paper_relations(student, teacher, relation, reduction: str) -> float:
    s, t = relation(student), relation(teacher)
    order = 2 if relation is _relative_distances else 3
    number = len(s) if reduction == "mean" else len(student) ** order
    return sum(_huber(t[key], s[key]) for key in s) / number


_FUNCTIONS = {
    "distance": (losses.relational_distance_loss, _relative_distances),
    "angle": (losses.relational_angle_loss, _angles),
}


@pytest.mark.parametrize(("normalize", "reduction"), [(False, "mean"), (True, "mean_of_all")])
@pytest.mark.parametrize("name", _FUNCTIONS)
def test_relational_losses_are_the_papers(name: str, normalize: bool, reduction: str):
    function, relation = _FUNCTIONS[name]
    student, teacher = (
        x / np.linalg.norm(x, axis=1, keepdims=True) if normalize else x
        for x in (_STUDENT, _TEACHER)
    )
    found = jax.jit(lambda s, t: function(s, t, reduction=reduction, normalize=normalize))(
        _STUDENT.astype(np.float32), _TEACHER.astype(np.float32)
    )
    want = _paper_relations(student, teacher, relation, reduction)
    assert want > 0.05
    np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
def test_similarity_preserving_loss_is_the_papers(normalize: bool):
    """Tung and Mori, for one layer; features of any shape are flattened."""
    unit = []
    for rows in (_STUDENT, _TEACHER):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize else rows
        gram = rows @ rows.T
        unit.append(gram / np.linalg.norm(gram, axis=1, keepdims=True))
    found = jax.jit(lambda s, t: losses.similarity_preserving_loss(s, t, normalize=normalize))(
        _STUDENT.astype(np.float32).reshape(5, 2, 2),
        _TEACHER.astype(np.float32).reshape(5, 3, 1, 2),
    )
    np.testing.assert_allclose(found, np.sum((unit[0] - unit[1]) ** 2) / 25, rtol=1e-5)


_ALL = {
    "distance": losses.relational_distance_loss,
    "angle": losses.relational_angle_loss,
    "similarity": losses.similarity_preserving_loss,
}


@pytest.mark.parametrize("name", _ALL)
def test_teacher_is_a_constant_unless_asked(name: str):
    def loss(teacher, stop):
        return _ALL[name](_STUDENT.astype(np.float32), teacher, stop_teacher_gradient=stop)

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    gradients = [gradient(_TEACHER.astype(np.float32), stop) for stop in (True, False)]
    assert not gradients[0].any() and np.abs(gradients[1]).max() > 1e-4


@pytest.mark.parametrize("name", _ALL)
def test_degenerate_batches_are_finite(name: str):
    """One row, equal rows and zeros."""
    compiled = jax.jit(jax.value_and_grad(_ALL[name]))
    for count in (1, 3):
        for rows in (_STUDENT[:count], np.ones((count, 4)), np.zeros((count, 4))):
            value, gradient = compiled(rows.astype(np.float32), _TEACHER[:count])
            assert np.isfinite(value) and np.isfinite(gradient).all()
            # Equal rows have no direction to move in; similarities still feel their lengths.
            if rows[0, 0] == rows[-1, 0] and name != "similarity":
                np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_unknown_reduction_is_named(name: str):
    with pytest.raises(ValueError, match="reduction is 'sum'; choose one of mean, mean_of_all"):
        _FUNCTIONS[name][0](jnp.ones((2, 2)), jnp.ones((2, 2)), reduction="sum")


@pytest.mark.parametrize("name", _ALL)
@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((2,), (2, 2), r"student has shape \(2,\); expected \[b, \.\.\.\]"),
        ((2, 2), (), r"teacher has shape \(\); expected \[b=2, \.\.\.\]"),
        ((2, 2), (3, 2), r"teacher has shape \(3, 2\); expected \[b=2, \.\.\.\]"),
    ],
)
def test_wrong_shapes_are_named(name: str, student, teacher, message: str):
    with pytest.raises(AssertionError, match=message):
        _ALL[name](jnp.ones(student), jnp.ones(teacher))
    with pytest.raises(AssertionError, match="student is of type int.*; expected floating point"):
        _ALL[name](jnp.ones((2, 2), int), jnp.ones((2, 2)))
