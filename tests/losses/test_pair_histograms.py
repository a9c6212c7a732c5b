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


def test_uneven_nodes_and_values_beyond_them():
    """What lies between two nodes is shared as if linear; what lies beyond the ends is at them."""
    nodes = np.array([-0.5, -0.4, 0.1, 0.2, 0.7])
    values = _RNG.uniform(-1.0, 1.0, size=(2, 300))
    weights = np.array([np.interp(values, nodes, unit) for unit in np.eye(5)])
    positive, negative = weights.mean(axis=2).T
    pairs = losses.PairSimilarities(*jnp.asarray(values, jnp.float32))

    @jax.jit
    @jax.value_and_grad
    def loss(positive, nodes):
        return losses.histogram_loss(pairs._replace(positive=positive), nodes=nodes)

    value, gradient = loss(pairs.positive, nodes)
    np.testing.assert_allclose(value, negative @ np.cumsum(positive), rtol=1e-6)
    is_beyond = (values[0] < nodes[0]) | (values[0] > nodes[-1])
    assert not gradient[is_beyond].any() and (gradient[~is_beyond] != 0).all()


def test_many_similarities_keep_their_digits_in_little_memory():
    """Half a million a set: an array of all similarities and nodes would take 200 MiB."""
    values = _RNG.normal(0.0, 0.05, size=(2, 2**19)).astype(np.float32)
    cell = (values.astype(np.float64) + 1.0) / 0.02
    lower = np.floor(cell).astype(int)
    histograms = [
        (np.bincount(r, 1 - w, 101) + np.bincount(r + 1, w, 101)) / len(w)
        for r, w in zip(lower, cell - lower)
    ]
    loss = jax.value_and_grad(lambda *v: losses.histogram_loss(losses.PairSimilarities(*v)))
    compiled = jax.jit(loss).lower(*values).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * 2**20
    np.testing.assert_allclose(
        compiled(*values)[0], histograms[1] @ np.cumsum(histograms[0]), rtol=1e-6
    )


def test_masked_values_may_be_anything():
    values, where = jnp.array([0.9, jnp.nan, jnp.inf]), jnp.array([True, False, False])
    loss = lambda v: losses.histogram_loss(losses.PairSimilarities(v, jnp.array([0.4]), where))  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(values)
    assert value == 0.0 and np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([0.0], "nodes has 1 entries; give at least 2"),
        ([1.0, 0.0, -1.0], "nodes does not rise; give numbers from the lowest to the highest"),
        ([-1.0, 0.0, 0.0, 1.0], "nodes does not rise"),
    ],
)
def test_bad_nodes_are_named(nodes: list[float], message: str):
    pairs = losses.PairSimilarities(jnp.zeros(1), jnp.zeros(1))
    with pytest.raises(ValueError, match=message):
        losses.histogram_loss(pairs, nodes=jnp.array(nodes))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ((np.zeros((2, 2)), np.zeros(2)), r"positive has shape \(2, 2\); expected \[n\]"),
        ((np.zeros(2), np.zeros(2, int)), "negative is of type int.*; expected floating point"),
        (
            (np.zeros(2), np.zeros(3), None, np.ones(2, bool)),
            r"negative_where has shape \(2,\); expected \[n=3\]",
        ),
        (
            (np.zeros(2), np.zeros(3), np.ones(2)),
            "positive_where is of type float.*; expected bool",
        ),
    ],
)
def test_wrong_similarities_are_named(pairs, message: str):
    with pytest.raises(AssertionError, match=message):
        losses.histogram_loss(losses.PairSimilarities(*pairs))


def test_wrong_rows_are_named():
    with pytest.raises(AssertionError, match=r"labels has shape \(6,\); expected \[b=7\]"):
        losses.batch_pair_similarities(_ROWS, _LABELS[:6])
    with pytest.raises(AssertionError, match="labels is of type float.*; expected integers"):
        losses.batch_pair_similarities(_ROWS, _LABELS * 1.0)
    pairs = losses.batch_pair_similarities(_ROWS, _LABELS)
    with pytest.raises(AssertionError, match=r"nodes has shape \(2, 2\); expected \[R\]"):
        losses.histogram_loss(pairs, nodes=jnp.zeros((2, 2)))
