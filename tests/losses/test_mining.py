"""Which negatives each rule picks, in the batch and in the memory of past embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_X = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
_IDENTITIES = np.array([0, 1, 0, 2, 1, 3, 4])
_KEY = jax.random.key(3)
_find = losses.negative_similarities


def _circle(*degrees: float) -> jax.Array:
    angles = jnp.radians(jnp.array(degrees))
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)


def _cos(*degrees: float) -> np.ndarray:
    return np.cos(np.radians(degrees))


def _cosines() -> np.ndarray:
    unit = _X.astype(np.float64) / np.linalg.norm(_X, axis=1, keepdims=True)
    return unit @ unit.T


def _negatives() -> list[np.ndarray]:
    """The cosines of each row with its negatives, the largest first."""
    different = _IDENTITIES[:, None] != _IDENTITIES
    return [-np.sort(-row[is_negative]) for row, is_negative in zip(_cosines(), different)]


def test_top_k_is_the_k_largest_in_falling_order():
    found, where = _find(_X, _IDENTITIES, mining="top_k", count=3)
    expected = np.concatenate([row[:3] for row in _negatives()])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert where.all()


def test_top_1_is_the_hardest():
    hardest = losses.hardest_negative_similarities(_X, _IDENTITIES)
    for mining in ("top_k", "paper"):
        found = _find(_X, _IDENTITIES, mining=mining)
        jax.tree.map(np.testing.assert_array_equal, found, hardest)


def test_where_there_are_fewer_negatives_than_places():
    found, where = _find(_X, _IDENTITIES, mining="top_k", count=7)
    numbers = [len(row) for row in _negatives()]
    np.testing.assert_array_equal(where.reshape(7, 7).sum(axis=1), numbers)
    np.testing.assert_array_equal(found[~where], 0.0)
    for row, expected in zip(found.reshape(7, 7), _negatives()):
        np.testing.assert_allclose(row[: len(expected)], expected, atol=1e-6)


def test_semi_hard_is_the_largest_below_the_positive():
    rows = _circle(0.0, 20.0, 60.0, 100.0)
    found, where = _find(rows, mining="semi_hard", positive=jnp.full(4, 0.7))
    # Row 0 passes over 20 degrees, rows 1 and 2 over those at 20 and 40.
    np.testing.assert_allclose(found, _cos(60, 80, 60, 80), atol=1e-6)
    assert where.all()
    found, _ = _find(rows, mining="semi_hard", positive=jnp.full(4, 2.0))
    np.testing.assert_allclose(found, _cos(20, 20, 40, 40), atol=1e-6)


@pytest.mark.parametrize(
    ("fallback", "expected", "exists"),
    [
        ("easiest", _cos(60, 40), [True, True]),
        ("hardest", _cos(20, 20), [True, True]),
        ("none", [0.0, 0.0], [False, False]),
    ],
)
def test_fallbacks_of_semi_hard(fallback: str, expected, exists):
    found, where = _find(
        _circle(0.0, 20.0, 60.0),
        mining="semi_hard",
        positive=jnp.array([-1.0, -1.0, 2.0]),
        fallback=fallback,
    )
    np.testing.assert_allclose(found[:2], expected, atol=1e-6)
    np.testing.assert_array_equal(where, [*exists, True])
    np.testing.assert_allclose(found[2], *_cos(40), atol=1e-6)


@pytest.mark.parametrize("fallback", ["easiest", "hardest", "none"])
def test_a_semi_hard_negative_comes_before_any_other_however_far(fallback: str):
    found, _ = _find(
        _circle(0.0, 170.0, 95.0), mining="semi_hard", positive=jnp.full(3, -0.5), fallback=fallback
    )
    np.testing.assert_allclose(found[0], *_cos(170), atol=1e-6)


def test_semi_hard_places_left_over_are_filled_by_the_fallback():
    rows, positive = _circle(0.0, 20.0, 40.0, 70.0), jnp.full(4, 0.5)
    options = dict(mining="semi_hard", positive=positive, count=3)
    found, _ = _find(rows, fallback="easiest", **options)
    np.testing.assert_allclose(found[:3], _cos(70, 40, 20), atol=1e-6)
    found, _ = _find(rows, fallback="hardest", **options)
    np.testing.assert_allclose(found[:3], _cos(70, 20, 40), atol=1e-6)
    found, where = _find(rows, fallback="none", **options)
    np.testing.assert_allclose(found[:3], [*_cos(70), 0.0, 0.0], atol=1e-6)
    np.testing.assert_array_equal(where[:3], [True, False, False])


def test_random_negatives_are_distinct_and_uniform():
    rows = _circle(0.0, 10.0, 30.0, 60.0, 100.0)
    labels = jnp.array([0, 1, 2, 0, 3])
    draw = jax.jit(lambda key: _find(rows, labels, mining="random", count=2, key=key))
    found, where = jax.vmap(draw)(jax.random.split(_KEY, 1500))
    assert where.all()
    first, second = np.asarray(found)[:, :2].T
    assert (np.abs(first - second) > 0.01).all()
    for draws in (first, second):
        shares = [np.mean(np.abs(draws - c) < 1e-4) for c in _cos(10, 30, 100)]
        np.testing.assert_allclose(shares, np.full(3, 1 / 3), atol=0.05)


def test_rows_draw_independently():
    rows = _circle(0.0, 7.0, 40.0, 90.0, 170.0)
    draw = jax.jit(lambda key: _find(rows, mining="random", key=key)[0][:2])
    first, second = np.asarray(jax.vmap(draw)(jax.random.split(_KEY, 1500))).T
    same = [
        (np.abs(first - np.cos(np.radians(a))) < 1e-3)
        & (np.abs(second - np.cos(np.radians(a - 7))) < 1e-3)
        for a in (40, 90, 170)
    ]
    np.testing.assert_allclose(np.sum(same) / 1500, 3 / 16, atol=0.04)


def test_random_negatives_depend_on_the_key_and_on_nothing_else():
    options = dict(mining="random", count=3)
    found, _ = _find(_X, key=_KEY, **options)
    again, _ = _find(_X, key=_KEY, **options)
    other, _ = _find(_X, key=jax.random.key(4), **options)
    np.testing.assert_array_equal(found, again)
    assert np.abs(found - other).max() > 0.1
    with jax.enable_x64(True):
        wider, _ = _find(jnp.asarray(_X, jnp.float64), key=_KEY, **options)
        np.testing.assert_allclose(wider, found, atol=1e-6)


def _memory(rows: jax.Array, labels: list[int], size: int = 5) -> losses.EmbeddingQueue:
    queue = losses.empty_embedding_queue(size, rows.shape[1])
    return losses.push_embeddings(queue, rows, jnp.array(labels))


def test_negatives_are_found_in_the_memory_too():
    rows, labels = _circle(0.0, 90.0), jnp.array([0, 1])
    memory = _memory(3.0 * _circle(30.0, 85.0, 5.0), [2, 1, 0])
    found, where = _find(rows, labels, mining="top_k", count=3, memory=memory)
    # Those at 85 and 5 degrees are of the rows' own identities for one row each.
    np.testing.assert_allclose(found, _cos(30, 85, 90, 60, 85, 90), atol=1e-6)
    assert where.all()


@pytest.mark.parametrize("mining", ["paper", "top_k", "semi_hard", "random"])
def test_an_empty_memory_adds_nothing(mining: str):
    labels = jnp.array([1, 1])
    options = dict(mining=mining, key=_KEY, positive=jnp.zeros(2))
    memory = losses.empty_embedding_queue(4, 2)
    found, where = _find(_circle(0.0, 50.0), labels, memory=memory, **options)
    np.testing.assert_array_equal(found, [0.0, 0.0])
    assert not where.any()


def test_the_memory_has_no_gradient_and_gives_one():
    labels = jnp.array([0, 0])

    def total(rows, vectors):
        memory = losses.EmbeddingQueue(vectors, jnp.array([5]), jnp.array(1))
        return jnp.sum(_find(rows, labels, memory=memory)[0])

    gradient = jax.grad(total, (0, 1))(_circle(0.0, 20.0), _circle(60.0))
    np.testing.assert_array_equal(gradient[1], [[0.0, 0.0]])
    lengths = jnp.linalg.norm(gradient[0], axis=1)
    np.testing.assert_allclose(lengths, np.sin(np.radians([60, 40])), atol=1e-6)


def test_pair_similarities_pass_the_rule_on():
    singles, pairs = _circle(0.0, 20.0, 60.0), _circle(0.0, 10.0, 200.0)
    second = _circle(50.0, 60.0, 0.0)
    found = losses.pair_similarities(singles, pairs, second, mining="semi_hard")
    # Row 0 has a positive of cos 50, row 1 too (and so the fallback); that of row 2 is dropped.
    np.testing.assert_allclose(found.negative, _cos(60, 40, 40), atol=1e-6)
    np.testing.assert_array_equal(found.positive_where, [True, True, False])
    found = losses.pair_similarities(singles, pairs, second, mining="random", count=2, key=_KEY)
    assert found.negative.shape == found.negative_where.shape == (6,)
    memory = _memory(_circle(5.0), [9])
    labels = jnp.arange(3)
    found = losses.pair_similarities(singles, pairs, second, labels, memory=memory)
    np.testing.assert_allclose(found.negative, _cos(5, 15, 40), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(mining="easy"),
            "mining is 'easy'; choose one of paper, tface, top_k, semi_hard, random",
        ),
        (
            dict(mining="semi_hard", fallback="easy", positive=_X[:, 0]),
            "fallback is 'easy'; choose one of easiest, hardest, none",
        ),
        (dict(count=2), "count is 2; mining 'paper' takes 1 (top_k takes more)"),
        (
            dict(mining="top_k", count=8),
            "count is 8; expected a whole number from 1 to 7, the rows there are to pick",
        ),
        (
            dict(mining="top_k", count=0),
            "count is 0; expected a whole number from 1 to 7, the rows there are to pick",
        ),
        (
            dict(mining="top_k", count=2.0),
            "count is 2.0; expected a whole number from 1 to 7, the rows there are to pick",
        ),
        (dict(mining="random"), "key is None; mining 'random' draws with a key of jax.random"),
        (dict(mining="semi_hard"), "positive is None; mining 'semi_hard' compares with it"),
        (
            dict(memory=losses.empty_embedding_queue(2, 5)),
            "labels is None; a memory holds rows of the same identities, so give them",
        ),
        (
            dict(memory=losses.empty_embedding_queue(2, 5), mining="tface"),
            "memory is given; mining 'tface' looks at the batch alone",
        ),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(options, message: str):
    with pytest.raises(ValueError) as error:
        _find(_X, **options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(mining="semi_hard", positive=jnp.zeros(3)),
            "positive has shape (3,); expected [b=7]",
        ),
        (
            dict(labels=_IDENTITIES.astype(np.float32)),
            "labels is of type float32; expected integers",
        ),
        (dict(labels=_IDENTITIES[:3]), "labels has shape (3,); expected [b=7]"),
        (
            dict(labels=_IDENTITIES, memory=losses.empty_embedding_queue(2, 4)),
            "memory.embeddings has shape (2, 4); expected [size, D=5]",
        ),
        (
            dict(memory=losses.empty_similarity_queue(2), labels=np.arange(7)),
            "memory is of type SimilarityQueue; expected EmbeddingQueue, of empty_embedding_queue",
        ),
        (dict(labels=[0] * 7), "labels is of type list; expected an array"),
    ],
    ids=["positive", "label type", "label count", "memory size", "memory type", "list"],
)
def test_what_does_not_fit_is_told_in_one_line(options, message: str):
    with pytest.raises(AssertionError) as error:
        _find(_X, **options)
    assert str(error.value) == message
