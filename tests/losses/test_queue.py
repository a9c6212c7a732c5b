"""First in, first out; only what counts enters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses


def _batch(positive, negative=(), positive_where=None) -> losses.PairSimilarities:
    where = None if positive_where is None else jnp.array(positive_where)
    return losses.PairSimilarities(jnp.array(positive), jnp.array(negative), where)


def test_the_oldest_leave_first():
    queue = losses.empty_similarity_queue(5)
    for start in range(0, 9, 3):
        queue = losses.push_pairs(queue, _batch([start + 0.0, start + 1.0, start + 2.0]))
    np.testing.assert_array_equal(queue.positive, [6, 7, 8, 3, 4])
    assert queue.positive_filled == 5 and queue.negative_filled == 0


def test_what_does_not_count_does_not_enter():
    queue = losses.empty_similarity_queue(4)
    queue = losses.push_pairs(queue, _batch([1.0, 2.0, 3.0], [7.0], [True, False, True]))
    np.testing.assert_array_equal(queue.positive, [1, 3, 0, 0])
    assert (queue.positive_filled, queue.negative_filled) == (2, 1)
    same = losses.push_pairs(queue, _batch([9.0], [], [False]))
    jax.tree.map(np.testing.assert_array_equal, same, queue)


def test_a_batch_larger_than_the_queue_fills_it():
    queue = losses.push_pairs(losses.empty_similarity_queue(2), _batch([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(queue.positive, [1, 2])
    assert queue.positive_filled == 2


def test_embeddings_enter_as_unit_vectors_with_their_labels():
    queue = losses.empty_embedding_queue(3, 2)
    rows = jnp.array([[3.0, 4.0], [0.0, 1e15], [0.0, 0.0]])
    queue = losses.push_embeddings(queue, rows, jnp.array([5, 6, 7]), where=rows[:, 1] > 0)
    queue = losses.push_embeddings(queue, rows[:1], jnp.array([8]))
    np.testing.assert_allclose(queue.embeddings, [[0.6, 0.8], [0.6, 0.8], [0.0, 1.0]], rtol=1e-6)
    np.testing.assert_array_equal(queue.labels, [8, 5, 6])
    assert queue.filled == 3


def test_a_queue_keeps_its_dtypes_and_can_be_scanned():
    """As a train step carries it: one structure from first to last, compiled once."""

    def step(queue, values):
        return losses.push_pairs(queue, losses.PairSimilarities(values, values)), None

    start = losses.empty_similarity_queue(4)
    queue, _ = jax.jit(lambda v: jax.lax.scan(step, start, v))(jnp.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(queue.positive, [4, 5, 2, 3])
    half = losses.push_pairs(queue, _batch(jnp.zeros(2, jnp.bfloat16)))
    for a, b in zip(jax.tree.leaves(half), jax.tree.leaves(start), strict=True):
        assert a.dtype == b.dtype


def test_nothing_of_a_queue_has_a_gradient():
    def total(values, rows):
        queue = losses.push_pairs(losses.empty_similarity_queue(3), _batch(values))
        memory = losses.push_embeddings(losses.empty_embedding_queue(3, 2), rows, jnp.arange(2))
        return jnp.sum(queue.positive) + jnp.sum(memory.embeddings)

    for gradient in jax.grad(total, (0, 1))(jnp.ones(2), jnp.ones((2, 2))):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_the_other_kind_of_queue_is_told_in_one_line():
    with pytest.raises(AssertionError, match="^queue is of type EmbeddingQueue; expected Simil"):
        losses.push_pairs(losses.empty_embedding_queue(2, 2), _batch([1.0]))
    with pytest.raises(AssertionError, match="^queue is of type SimilarityQueue; expected Embed"):
        losses.push_embeddings(losses.empty_similarity_queue(2), jnp.ones((1, 2)), jnp.arange(1))
    with pytest.raises(AssertionError, match="^memories is one EmbeddingQueue; give a list"):
        losses.domain_pairs(jnp.ones((2, 9, 2)), memories=losses.empty_embedding_queue(2, 2))


@pytest.mark.parametrize(
    "make", [losses.empty_similarity_queue, lambda size: losses.empty_embedding_queue(size, 2)]
)
@pytest.mark.parametrize("size", [0, 2.5])
def test_a_size_below_1_is_told_in_one_line(make, size):
    with pytest.raises(ValueError, match=f"^size is {size}; expected a whole number from 1$"):
        make(size)


@pytest.mark.parametrize(
    ("embeddings", "labels", "where", "message"),
    [
        (jnp.ones((2, 3)), jnp.arange(2), None, "embeddings has shape (2, 3); expected [b, D=2]"),
        (jnp.ones((2, 2)), jnp.arange(3), None, "labels has shape (3,); expected [b=2]"),
        (jnp.ones((2, 2)), jnp.ones(2), None, "labels is of type float32; expected integers"),
        (
            jnp.ones((2, 2)),
            jnp.arange(2),
            jnp.ones(3, bool),
            "where has shape (3,); expected [n=2]",
        ),
        (
            jnp.ones((2, 2)),
            jnp.arange(2),
            jnp.ones(2),
            "where is of type float32; expected bool",
        ),
        (jnp.ones(2), jnp.arange(2), None, "embeddings has shape (2,); expected [b, D=2]"),
    ],
    ids=["size", "label count", "label type", "where", "where type", "rank"],
)
def test_what_does_not_fit_is_told_in_one_line(embeddings, labels, where, message: str):
    with pytest.raises(AssertionError) as error:
        losses.push_embeddings(losses.empty_embedding_queue(4, 2), embeddings, labels, where=where)
    assert str(error.value) == message


def test_pairs_that_do_not_fit_are_told_in_one_line():
    batch = losses.PairSimilarities(jnp.ones(3), jnp.ones(2), negative_where=jnp.ones(3, bool))
    with pytest.raises(AssertionError) as error:
        losses.push_pairs(losses.empty_similarity_queue(4), batch)
    assert str(error.value) == "negative_where has shape (3,); expected [n=2]"
