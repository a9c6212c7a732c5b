"""What is remembered of past batches: for batches too small for a histogram or hard negatives.

State in, state out: a queue is a pytree of arrays that a caller keeps, next to its parameters say.
Every device holds the whole of it. Nothing of a queue has a gradient.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import gather_rows
from ddl_jax.losses.checks import check_integers, check_shapes, check_type, check_whole
from ddl_jax.losses.cosine import unit_vectors
from ddl_jax.losses.masked import masks_of, which_count


class SimilarityQueue(NamedTuple):
    """Past similarities of one domain, the newest first.

    Attributes:
      positive: `[size]` cosines, of which the first `positive_filled` count.
      negative: `[size]` cosines, of which the first `negative_filled` count.
      positive_filled: scalar int32.
      negative_filled: scalar int32.
    """

    positive: jax.Array
    negative: jax.Array
    positive_filled: jax.Array
    negative_filled: jax.Array


class EmbeddingQueue(NamedTuple):
    """Past embeddings and their identities, the newest first.

    Attributes:
      embeddings: `[size, D]` unit vectors, of which the first `filled` count.
      labels: `[size]` int32 identities.
      filled: scalar int32.
    """

    embeddings: jax.Array
    labels: jax.Array
    filled: jax.Array


def empty_similarity_queue(size: int) -> SimilarityQueue:
    """A queue that remembers the last `size` positive and the last `size` negative similarities.

    Args:
      size: of each of the two sets, at least 1.

    Returns:
      A `SimilarityQueue` in which nothing counts.

    Raises:
      ValueError: size is no whole number from 1.

    Examples:
      >>> from ddl_jax import losses
      >>> losses.empty_similarity_queue(3).positive.tolist()
      [0.0, 0.0, 0.0]
    """
    check_whole("size", size, 1)
    none = jnp.zeros((), jnp.int32)
    return SimilarityQueue(jnp.zeros(size), jnp.zeros(size), none, none)


def push_pairs(
    queue: SimilarityQueue, domain: Any, *, axis_name: str | None = None
) -> SimilarityQueue:
    """The queue after a batch: its similarities that count enter, the oldest leave.

    Args:
      queue: what was remembered before.
      domain: `PairSimilarities` of the batch. Those that do not count do not enter. Of a batch that
        counts more than the queue holds, the first rows enter.
      axis_name: similarities are the device's own part; those of all devices enter, once each.

    Returns:
      The new `SimilarityQueue`, the same on every device.

    Raises:
      AssertionError: ranks or shapes do not fit, or a mask is not bool.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> batch = losses.PairSimilarities(jnp.array([0.5, 0.75]), jnp.array([0.25]))
      >>> queue = losses.push_pairs(losses.empty_similarity_queue(3), batch)
      >>> queue.positive.tolist(), int(queue.positive_filled), int(queue.negative_filled)
      ([0.5, 0.75, 0.0], 2, 1)
    """
    check_type("queue", queue, SimilarityQueue, ", of empty_similarity_queue")
    positive_where, negative_where = masks_of(domain)
    positive, positive_filled = _push(
        queue.positive, queue.positive_filled, domain.positive, positive_where, axis_name
    )
    negative, negative_filled = _push(
        queue.negative, queue.negative_filled, domain.negative, negative_where, axis_name
    )
    return SimilarityQueue(positive, negative, positive_filled, negative_filled)


def empty_embedding_queue(size: int, embedding_size: int) -> EmbeddingQueue:
    """A queue that remembers the last `size` embeddings, to mine negatives among.

    Args:
      size: number of embeddings, at least 1.
      embedding_size: D.

    Returns:
      An `EmbeddingQueue` in which nothing counts.

    Raises:
      ValueError: size is no whole number from 1.

    Examples:
      >>> from ddl_jax import losses
      >>> losses.empty_embedding_queue(3, 512).embeddings.shape
      (3, 512)
    """
    check_whole("size", size, 1)
    none = jnp.zeros((), jnp.int32)
    return EmbeddingQueue(jnp.zeros((size, embedding_size)), jnp.zeros(size, jnp.int32), none)


def push_embeddings(
    queue: EmbeddingQueue,
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> EmbeddingQueue:
    """The queue after a batch: its embeddings enter as unit vectors, the oldest leave.

    Push after mining: a row that is in the memory already is its own identity and no negative, but
    takes a place.

    Args:
      queue: what was remembered before.
      embeddings: `[b, D]`, not normalised.
      labels: `[b]` identities.
      where: `[b]` bool, which rows enter; None for all. If more do than the queue holds, the first.
      axis_name: rows are the device's own part; those of all devices enter, once each.

    Returns:
      The new `EmbeddingQueue`, the same on every device.

    Raises:
      AssertionError: ranks, shapes or types do not fit, or the queue's D is another.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> queue = losses.empty_embedding_queue(2, 2)
      >>> queue = losses.push_embeddings(queue, jnp.array([[0.0, 5.0]]), jnp.array([7]))
      >>> queue.embeddings.tolist(), queue.labels.tolist(), int(queue.filled)
      ([[0.0, 1.0], [0.0, 0.0]], [7, 0], 1)
    """
    check_type("queue", queue, EmbeddingQueue, ", of empty_embedding_queue")
    check_shapes(
        **{"queue.embeddings": (queue.embeddings, "size D")},
        embeddings=(embeddings, "b D"),
        labels=(labels, "b"),
    )
    check_integers(labels=labels)
    counts = which_count(labels, where)
    unit = unit_vectors(embeddings)
    vectors, filled = _push(queue.embeddings, queue.filled, unit, counts, axis_name)
    numbers, _ = _push(queue.labels, queue.filled, labels, counts, axis_name)
    return EmbeddingQueue(vectors, numbers, filled)


def _push(
    old: jax.Array,
    filled: jax.Array,
    new: jax.Array,
    counts: jax.Array,
    axis_name: str | None,
) -> tuple[jax.Array, jax.Array]:
    """Puts the rows of `new` that count before those of `old` that do, and cuts to old's size."""
    new = gather_rows(jax.lax.stop_gradient(new).astype(old.dtype), axis_name)
    counts = jnp.concatenate([gather_rows(counts, axis_name), jnp.arange(len(old)) < filled])
    place = jnp.cumsum(counts) - 1
    # A place beyond the end is dropped.
    place = jnp.where(counts, place, len(old))
    pushed = jnp.zeros_like(old).at[place].set(jnp.concatenate([new, old]), mode="drop")
    return pushed, jnp.minimum(jnp.sum(counts), len(old)).astype(filled.dtype)
