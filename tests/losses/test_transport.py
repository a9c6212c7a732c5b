"""Sinkhorn transport against plain scaling iterations and exact assignment, in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from ddl_jax import losses

_RNG = np.random.default_rng(0)
_FIRST = _RNG.normal(size=(2, 6, 4))
_SECOND = _RNG.normal(size=(2, 6, 4))


def _cost(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    return 1 - x @ y.T


def _scaling(cost: np.ndarray, epsilon: float, iterations: int) -> float:
    """Cuturi's algorithm as it is written, in the order and from the start of OTFace's code."""
    kernel = np.exp(-cost / epsilon)
    n, m = cost.shape
    b = np.ones(m)
    for _ in range(iterations):
        a = (np.ones(n) / n) / (kernel @ b)
        b = (np.ones(m) / m) / (kernel.T @ a)
    return np.sum(a[:, None] * kernel * b[None, :] * cost)


@pytest.mark.parametrize(("epsilon", "iterations", "size"), [(1.0, 10, 6), (0.1, 3, 4)])
def test_sinkhorn_distance_is_the_plain_iteration(epsilon: float, iterations: int, size: int):
    second = _SECOND[:, :size]
    options = dict(epsilon=epsilon, iterations=iterations)
    found = jax.jit(lambda x, y: losses.sinkhorn_distance(x, y, **options))(
        _FIRST.astype(np.float32), second.astype(np.float32)
    )
    want = [_scaling(_cost(x, y), **options) for x, y in zip(_FIRST, second)]
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_small_epsilon_gives_exact_transport_without_underflow():
    """exp(-2 / 0.003) is 0 in float32: the plain iteration would divide by it."""
    found = jax.jit(lambda x, y: losses.sinkhorn_distance(x, y, epsilon=0.003, iterations=600))(
        _FIRST.astype(np.float32), _SECOND.astype(np.float32)
    )
    for value, x, y in zip(found, _FIRST, _SECOND):
        cost = _cost(x, y)
        np.testing.assert_allclose(value, cost[linear_sum_assignment(cost)].mean(), rtol=2e-3)


def test_debiased_distance_of_equal_sets_is_zero():
    shuffled = _FIRST[:, ::-1]
    options = dict(epsilon=0.5, iterations=50)
    debiased = jax.jit(lambda x, y: losses.sinkhorn_distance(x, y, debias=True, **options))
    found = debiased(_FIRST.astype(np.float32), shuffled.astype(np.float32))
    np.testing.assert_allclose(found, 0.0, atol=1e-5)
    want = _scaling(_cost(_FIRST[0], _SECOND[0]), **options) - 0.5 * sum(
        _scaling(_cost(x, x), **options) for x in (_FIRST[0], _SECOND[0])
    )
    apart = debiased(_FIRST.astype(np.float32), _SECOND.astype(np.float32))
    np.testing.assert_allclose(apart[0], want, rtol=1e-4)


@pytest.mark.parametrize("reduction", ["mean_of_active", "mean"])
def test_transport_triplet_loss_is_a_hinge_of_distances(reduction: str):
    """Two sets and their swap: of the four triplets here one is masked and one has no loss."""
    positive = np.concatenate([_FIRST, _FIRST[:1] * 2.0, _SECOND[:1]])
    anchor, negative = np.concatenate([_SECOND, _SECOND]), np.concatenate([_SECOND[::-1]] * 2)
    where = np.array([True, True, False, True])
    distance = [
        [_scaling(_cost(x, y), 1.0, 10) for x, y in zip(anchor, others)]
        for others in (positive, negative)
    ]
    loss = np.maximum(np.subtract(*distance) + 0.1, 0.0)[where]
    assert (loss == 0).sum() == 1
    want = loss[loss > 0].mean() if reduction == "mean_of_active" else loss.mean()
    found = jax.jit(
        lambda *sets: losses.transport_triplet_loss(
            *sets, margin=0.1, where=where, reduction=reduction
        )
    )(*(x.astype(np.float32) for x in (anchor, positive, negative)))
    np.testing.assert_allclose(found, want, rtol=1e-4)


def test_nothing_to_compare_gives_zero():
    sets = jnp.asarray(_FIRST, jnp.float32)
    for sign, where in ((-1, np.zeros(2, bool)), (1, None)):
        # Masked, or with the positive the nearer one.
        loss = lambda x: losses.transport_triplet_loss(x, sign * x, -sign * x, where=where)  # noqa: E731, B023
        value, gradient = jax.jit(jax.value_and_grad(loss))(sets)
        assert value == 0.0 and not gradient.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0.0}, "epsilon is 0.0; expected at least 1e-09, in units of the cost"),
        ({"iterations": 0}, "iterations is 0; expected at least 1"),
        ({"margin": -1.0}, "margin is -1.0; expected at least 0, in units of the cost"),
        ({"reduction": "sum"}, "reduction is 'sum'; choose one of mean, mean_of_active"),
    ],
)
def test_bad_options_are_named(options, message: str):
    sets = jnp.ones((1, 2, 3))
    with pytest.raises(ValueError, match=message):
        losses.transport_triplet_loss(sets, sets, sets, **options)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ((3,), (3,), r"first has shape \(3,\); expected \[\.\.\., n, D\]"),
        ((2, 3), (3,), r"second has shape \(3,\); expected \[m, D=3\]"),
        ((4, 2, 3), (5, 2, 3), r"second has shape \(5, 2, 3\); expected \[b0=4, m, D=3\]"),
        ((4, 2, 3), (4, 2, 7), r"second has shape \(4, 2, 7\); expected \[b0=4, m, D=3\]"),
    ],
)
def test_wrong_sets_are_named(first, second, message: str):
    with pytest.raises(AssertionError, match=message):
        losses.sinkhorn_distance(jnp.ones(first), jnp.ones(second))


def test_wrong_triplets_are_named():
    sets, flat = jnp.ones((4, 2, 3)), jnp.ones((4, 3))
    with pytest.raises(
        AssertionError, match=r"positive has shape \(4, 3\); expected \[t=4, p, D=3"
    ):
        losses.transport_triplet_loss(sets, flat, sets)
    with pytest.raises(AssertionError, match="negative is of type int.*; expected floating point"):
        losses.transport_triplet_loss(sets, sets, sets.astype(int))
    with pytest.raises(AssertionError, match=r"where has shape \(3,\); expected \[n=4\]"):
        losses.transport_triplet_loss(sets, sets, sets, where=np.ones(3, bool))
    with pytest.raises(AssertionError, match="iterations is of type float.*; expected integers"):
        losses.sinkhorn_distance(sets, sets, iterations=2.5)
