"""Histograms as logarithms: the same numbers where linear ones have any, and gradients beyond."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_NODES = np.linspace(-1.0, 1.0, 101).astype(np.float32)
_SIMILARITIES = np.random.default_rng(0).uniform(-1.0, 1.0, 12).astype(np.float32)
_log_histogram = functools.partial(losses.similarity_log_histogram, nodes=_NODES)
_histogram = functools.partial(losses.similarity_histogram, nodes=_NODES)


def test_it_is_the_logarithm_of_the_histogram():
    where = _SIMILARITIES > -0.5
    np.testing.assert_allclose(
        jnp.exp(_log_histogram(_SIMILARITIES, where=where)),
        _histogram(_SIMILARITIES, where=where),
        rtol=1e-4,
        atol=1e-8,
    )


def test_it_is_exact_where_the_histogram_is_0():
    similarities = np.array([-0.95, -0.9], np.float32)
    exponents = -50.0 * (similarities.astype(np.float64)[:, None] - _NODES) ** 2
    heights = np.logaddexp(*exponents)
    expected = heights - np.logaddexp.reduce(heights)
    np.testing.assert_allclose(_log_histogram(similarities), expected, rtol=1e-5)
    assert _histogram(similarities)[-1] == 0.0 and expected[-1] < -150


@pytest.mark.parametrize("count", [0, 4])
def test_nothing_that_counts_gives_the_uniform_histogram(count: int):
    # What does not count may lie anywhere.
    similarities = jnp.linspace(0.1, 1e9, count)
    first = lambda s: _log_histogram(s, where=jnp.zeros(count, bool))[0]  # noqa: E731
    np.testing.assert_allclose(first(similarities), -np.log(101), rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(first)(similarities), np.zeros(count))


def test_where_equals_slicing():
    where = _SIMILARITIES > 0.0
    last_bins = lambda s, where: jnp.sum(_log_histogram(s, where=where)[80:])  # noqa: E731
    value, gradient = jax.value_and_grad(last_bins)(_SIMILARITIES, where)
    expected, expected_gradient = jax.value_and_grad(last_bins)(_SIMILARITIES[where], None)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[where], expected_gradient, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(gradient[~where], 0.0)


def test_kl_is_the_linear_one_without_epsilon():
    p, q = np.random.default_rng(1).dirichlet(np.full(101, 2.0), size=2)
    expected = np.sum(p * np.log(p / q))
    found = losses.log_space_kl_divergence(jnp.log(p), jnp.log(q))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert losses.log_space_kl_divergence(jnp.log(p), jnp.log(p)) == 0.0


def _pull(divergence, histogram, distance: float) -> tuple[float, float]:
    """KL, and its derivative by the place of the student, `distance` below the teacher."""

    def value(place):
        return divergence(histogram(jnp.array([0.9])), histogram(place[None]))

    return jax.value_and_grad(value)(jnp.asarray(0.9 - distance))


def test_the_gradient_lives_where_the_linear_one_has_died():
    value, gradient = _pull(losses.kl_divergence, _histogram, 1.8)
    assert value < np.log(1e9)  # epsilon's cap
    np.testing.assert_allclose(gradient, 0.0, atol=1e-3)
    value, gradient = _pull(losses.log_space_kl_divergence, _log_histogram, 1.8)
    # KL of two equal bumps is gamma d^2, its derivative 2 gamma d, but for the ends of the nodes.
    np.testing.assert_allclose(value, 50.0 * 1.8**2, rtol=0.1)
    np.testing.assert_allclose(gradient, -100.0 * 1.8, rtol=0.1)
    both = [
        _pull(losses.kl_divergence, _histogram, 0.3),
        _pull(losses.log_space_kl_divergence, _log_histogram, 0.3),
    ]
    np.testing.assert_allclose(*both, rtol=1e-3)


@pytest.mark.parametrize(
    ("compute", "error", "message"),
    [
        (
            lambda: _log_histogram(_SIMILARITIES[None]),
            AssertionError,
            "similarities has shape (1, 12); expected [n]",
        ),
        (
            lambda: _log_histogram(_SIMILARITIES, where=np.ones(3, bool)),
            AssertionError,
            "where has shape (3,); expected [n=12]",
        ),
        (
            lambda: losses.log_space_kl_divergence(_NODES, _NODES[1:]),
            AssertionError,
            "log_q has shape (100,); expected [R=101]",
        ),
        (
            lambda: _log_histogram(_SIMILARITIES, gamma=-1.0),
            ValueError,
            "gamma is -1.0; expected at least 1e-09, one over squared cosines",
        ),
    ],
    ids=["rank", "where", "log_q", "gamma"],
)
def test_what_does_not_fit_is_told_in_one_line(compute, error, message: str):
    with pytest.raises(error) as caught:
        compute()
    assert str(caught.value) == message
