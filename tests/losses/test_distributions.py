"""Histograms of similarities and the divergences between them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_NODES = np.linspace(-1.0, 1.0, 101).astype(np.float32)
_RNG = np.random.default_rng(0)
_SIMILARITIES = _RNG.uniform(-1.0, 1.0, 12).astype(np.float32)
_histogram = functools.partial(losses.similarity_histogram, nodes=_NODES)

_DIVERGENCES = {
    "kl": losses.kl_divergence,
    "js": losses.js_divergence,
    "emd": functools.partial(losses.earth_mover_distance, nodes=_NODES),
}
_by_divergence = pytest.mark.parametrize(
    "divergence", _DIVERGENCES.values(), ids=list(_DIVERGENCES)
)


def _two_histograms(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    p, q = np.random.default_rng(seed).dirichlet(np.ones(101), size=2).astype(np.float32)
    return p, q


def test_the_histogram_is_the_formula_of_the_docstring():
    bumps = np.exp(-30.0 * (_SIMILARITIES[:, None].astype(np.float64) - _NODES) ** 2)
    expected = bumps.sum(axis=0) / bumps.sum()
    found = _histogram(_SIMILARITIES, gamma=30.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)


def test_gamma_50_is_a_standard_deviation_of_a_tenth():
    histogram = np.asarray(_histogram(jnp.array([0.2])), np.float64)
    mean = np.sum(histogram * _NODES)
    np.testing.assert_allclose(mean, 0.2, atol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.sum(histogram * (_NODES - mean) ** 2)), 0.1, atol=1e-4)


@pytest.mark.parametrize("similarity", [-30.0, -1.0, 0.005, 1.0, 3.0])
@pytest.mark.parametrize("gamma", [1.0, 50.0, 1e4])
def test_the_histogram_sums_to_1_however_far_from_the_nodes(similarity: float, gamma: float):
    total = lambda s: jnp.sum(_histogram(s, gamma=gamma))  # noqa: E731
    value, gradient = jax.value_and_grad(total)(jnp.array([similarity]))
    np.testing.assert_allclose(value, 1.0, rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_far_similarities_land_on_the_nearest_node():
    histogram = losses.similarity_histogram(jnp.array([3.0]), nodes=jnp.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(histogram, [0.0, 0.0, 1.0], atol=1e-6)


def test_where_equals_slicing():
    where = _SIMILARITIES > 0.0
    assert 1 < where.sum() < where.size - 1

    def last_bins(similarities, where):
        return jnp.sum(_histogram(similarities, where=where)[80:])

    np.testing.assert_allclose(
        _histogram(_SIMILARITIES, where=where), _histogram(_SIMILARITIES[where]), atol=1e-7
    )
    gradient = jax.grad(last_bins)(_SIMILARITIES, where)
    np.testing.assert_allclose(
        gradient[where], jax.grad(last_bins)(_SIMILARITIES[where], None), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(gradient[~where], 0.0)


def test_the_order_of_similarities_does_not_matter():
    expected = _histogram(_SIMILARITIES)
    np.testing.assert_allclose(_histogram(_SIMILARITIES[::-1]), expected, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 4])
def test_nothing_that_counts_gives_the_uniform_histogram(count: int):
    similarities = jnp.linspace(0.1, 0.5, count)
    first = lambda s: _histogram(s, where=jnp.zeros(count, bool))[0]  # noqa: E731
    np.testing.assert_allclose(first(similarities), 1.0 / 101, rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(first)(similarities), np.zeros(count))


@_by_divergence
def test_divergence_of_equals_is_0_and_otherwise_positive(divergence):
    p, q = _two_histograms()
    np.testing.assert_allclose(divergence(p, p), 0.0, atol=1e-7)
    np.testing.assert_allclose(jax.grad(divergence, argnums=1)(p, p).std(), 0.0, atol=1e-6)
    assert divergence(p, q) > 0.01


def test_kl_and_js_are_never_negative():
    p, q = np.random.default_rng(1).dirichlet(np.full(101, 0.3), size=(2, 200)).astype(np.float32)
    # Also a hair's breadth apart, where rounding could show.
    q[100:] = p[100:] + 1e-6 * (q[100:] - p[100:])
    for divergence in (losses.kl_divergence, losses.js_divergence):
        assert jnp.min(jax.vmap(divergence)(p, q)) > -1e-6


def test_kl_has_epsilon_on_both_sides():
    p, q = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    epsilon = 1e-3
    expected = (1 + epsilon) * math.log((1 + epsilon) / epsilon) + epsilon * math.log(
        epsilon / (1 + epsilon)
    )
    np.testing.assert_allclose(losses.kl_divergence(p, q, epsilon=epsilon), expected, rtol=1e-5)
    # The default caps the logarithm at log 1e9.
    np.testing.assert_allclose(losses.kl_divergence(p, q), math.log(1e9), rtol=1e-5)


def test_js_is_symmetric_and_at_most_log_2():
    p, q = _two_histograms()
    np.testing.assert_allclose(losses.js_divergence(p, q), losses.js_divergence(q, p), rtol=1e-5)
    apart = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    np.testing.assert_allclose(losses.js_divergence(*apart), math.log(2.0), rtol=1e-6)
    # By hand: p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4).
    half = losses.js_divergence(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]))
    expected = 0.5 * math.log(4 / 3) + 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2.0))
    np.testing.assert_allclose(half, expected, rtol=1e-5)


def test_earth_mover_distance_is_mass_times_way():
    nodes = jnp.array([-1.0, 0.0, 0.5, 1.0])
    p, q = jnp.array([0.5, 0.5, 0.0, 0.0]), jnp.array([0.0, 0.5, 0.5, 0.0])
    distance = losses.earth_mover_distance(p, q, nodes=nodes)
    np.testing.assert_allclose(distance, 0.5 * 1.5, rtol=1e-6)
    np.testing.assert_allclose(losses.earth_mover_distance(q, p, nodes=nodes), distance)


@pytest.mark.parametrize("rest", [0.0, 1e-40, 1e-37, 1e-20])
@_by_divergence
def test_empty_bins_have_finite_values_and_gradients(divergence, rest: float):
    p, q = jnp.full(101, rest).at[3].set(1.0), jnp.full(101, rest).at[90].set(1.0)
    value, gradients = jax.value_and_grad(divergence, (0, 1))(p, q)
    assert np.isfinite(value)
    assert np.isfinite(gradients).all()


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (
            lambda p, q: losses.kl_divergence(p, q[1:]),
            "q has shape (100,); expected [R=101]",
        ),
        (
            lambda p, q: losses.js_divergence(p, q[1:]),
            "q has shape (100,); expected [R=101]",
        ),
        (
            lambda p, q: losses.earth_mover_distance(p, q, nodes=_NODES[1:]),
            "nodes has shape (100,); expected [R=101]",
        ),
        (
            lambda p, q: losses.kl_divergence(p[None], q[None]),
            "p has shape (1, 101); expected [R]",
        ),
        (lambda p, q: _histogram(p[None]), "similarities has shape (1, 101); expected [n]"),
        (
            lambda p, q: _histogram(p, where=np.ones(3, bool)),
            "where has shape (3,); expected [n=101]",
        ),
        (
            lambda p, q: _histogram(p, where=np.ones(101, np.float32)),
            "where is of type float32; expected bool",
        ),
        (
            lambda p, q: losses.similarity_histogram(p, nodes=_NODES[None]),
            "nodes has shape (1, 101); expected [R]",
        ),
    ],
    ids=["kl", "js", "emd", "kl rank", "similarity rank", "where", "where type", "node rank"],
)
def test_what_does_not_fit_is_told_in_one_line(compute, message: str):
    with pytest.raises(AssertionError) as error:
        compute(*_two_histograms())
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (
            lambda p, q: _histogram(p, gamma=0.0),
            "gamma is 0.0; expected at least 1e-09, one over squared cosines",
        ),
        (
            lambda p, q: losses.kl_divergence(p, q, epsilon=0.0),
            "epsilon is 0.0; expected at least 1e-30",
        ),
        (
            lambda p, q: losses.earth_mover_distance(p, q, nodes=_NODES[::-1]),
            "nodes does not rise; give numbers from the lowest to the highest",
        ),
    ],
    ids=["gamma", "epsilon", "falling nodes"],
)
@pytest.mark.parametrize("map_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_values_out_of_range_are_told_in_one_line(map_, compute, message: str):
    with pytest.raises(ValueError) as error:
        map_(compute)(*_two_histograms())
    assert str(error.value) == message
