"""The histogram loss against the paper's equations, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_RNG = np.random.default_rng(0)
_ROWS = _RNG.normal(size=(7, 5))
_LABELS = np.array([0, 1, 0, 2, 1, 0, 3])


def _paper_histogram(values: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Ustinova and Lempitsky, Sec. 3, node by node and pair by pair."""
    step, heights = nodes[1] - nodes[0], np.zeros(len(nodes))
    for s in values:
        for r, t in enumerate(nodes):
            if t - step <= s <= t:
                heights[r] += (s - (t - step)) / step
            elif t <= s <= t + step:
                heights[r] += (t + step - s) / step
    return heights / len(values)


def _paper_loss(positive: np.ndarray, negative: np.ndarray, nodes: np.ndarray) -> float:
    """Of every node, the negatives there times the positives up to there."""
    p, n = _paper_histogram(positive, nodes), _paper_histogram(negative, nodes)
    return sum(n[r] * p[: r + 1].sum() for r in range(len(nodes)))


@pytest.mark.parametrize("count", [11, 101])
def test_histogram_loss_is_the_papers(count: int):
    unit = _ROWS / np.linalg.norm(_ROWS, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(7) for j in range(i + 1, 7)]
    positive = np.array([unit[i] @ unit[j] for i, j in pairs if _LABELS[i] == _LABELS[j]])
    negative = np.array([unit[i] @ unit[j] for i, j in pairs if _LABELS[i] != _LABELS[j]])
    nodes = np.linspace(-1.0, 1.0, count)

    @jax.jit
    def loss(rows):
        pairs = losses.batch_pair_similarities(rows, _LABELS)
        options = {} if count == 101 else {"nodes": jnp.asarray(nodes)}
        return losses.histogram_loss(pairs, **options), pairs

    value, found = loss(_ROWS)
    np.testing.assert_allclose(value, _paper_loss(positive, negative, nodes), rtol=1e-5)
    for (cosine, where), want in (
        ((found.positive, found.positive_where), positive),
        ((found.negative, found.negative_where), negative),
    ):
        np.testing.assert_allclose(np.sort(cosine[where]), np.sort(want), atol=1e-6)


def test_without_nodes_in_between_it_counts_wrong_pairs():
    """With similarities on the nodes themselves, the share of pairs in the wrong order or equal."""
    positive, negative = jnp.array([0.2, 0.4, 0.8]), jnp.array([0.4, -0.6])
    value = losses.histogram_loss(
        losses.PairSimilarities(positive, negative), nodes=jnp.linspace(-1.0, 1.0, 11)
    )
    np.testing.assert_allclose(value, 2 / 6, atol=1e-5)


def test_masked_similarities_have_no_part():
    values, where = jnp.array([0.9, -0.3, 0.1]), jnp.array([True, False, True])
    masked = losses.PairSimilarities(values, values[::-1], where, where[::-1])
    kept = losses.PairSimilarities(values[where], values[::-1][where[::-1]])
    found = jax.jit(lambda: [losses.histogram_loss(pairs) for pairs in (masked, kept)])()
    np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_nothing_to_compare_gives_zero(rows: int):
    """No row, one row, and one identity only: there is no positive, or no negative."""

    def loss(x):
        return losses.histogram_loss(losses.batch_pair_similarities(x, np.zeros(rows, int)))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(_ROWS[:rows], jnp.float32))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((rows, 5)))


def test_one_node_is_refused():
    pairs = losses.PairSimilarities(jnp.zeros(1), jnp.zeros(1))
    with pytest.raises(ValueError, match="nodes has 1 entries; give at least 2"):
        losses.histogram_loss(pairs, nodes=jnp.zeros(1))
