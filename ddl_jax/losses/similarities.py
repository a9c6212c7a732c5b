"""Similarities of positive and negative pairs: what the distributions of DDL are made of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_option, check_shapes
from ddl_jax.losses.cosine import unit_vectors
from ddl_jax.losses.mining import negative_similarities
from ddl_jax.losses.queue import EmbeddingQueue


class PairSimilarities(NamedTuple):
    """Cosine similarities of one domain.

    Attributes:
      positive: `[n]` of pairs of the same identity.
      negative: `[m]` of pairs of different identities.
      positive_where: `[n]` bool, which of `positive` count; None for all.
      negative_where: `[m]` bool, which of `negative` count; None for all.
    """

    positive: jax.Array
    negative: jax.Array
    positive_where: jax.Array | None = None
    negative_where: jax.Array | None = None


def positive_similarities(first: jax.Array, second: jax.Array) -> jax.Array:
    r"""Cosine of each pair, :math:`s^+_i = \cos(x_{i1}, x_{i2})` (DDL, Huang et al. 2020).

    Args:
      first: `[b, D]` embeddings, not normalised.
      second: `[b, D]` embeddings of the same identities, row by row.

    Returns:
      `[b]` cosines.

    Raises:
      AssertionError: the shapes differ or are not of rank 2.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> losses.positive_similarities(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 2.0]])).tolist()
      [0.0]
    """
    check_shapes(first=(first, "b D"), second=(second, "b D"))
    return jnp.sum(unit_vectors(first) * unit_vectors(second), axis=-1)


def hardest_negative_similarities(
    embeddings: jax.Array,
    labels: jax.Array | None = None,
    *,
    mining: str = "paper",
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    r"""The most similar other identity of each row (DDL, Huang et al. 2020).

    .. math:: s^-_i = \max_{j : y_j \ne y_i} \cos(x_i, x_j)

    Args:
      embeddings: `[b, D]`, not normalised.
      labels: `[b]` identities; None says that all rows are of different identities.
      mining: "paper" looks at every other row. "tface" does what the authors' released code does:
        row i sees only the rows j > i of the global batch and the result is at least 0 (their
        triangle of zeros takes part in the maximum), so the last row is always 0.
      axis_name: rows are the device's own part of the batch; negatives come from all devices.

    Returns:
      `(similarities[b], where[b])`: where is False for a row without any negative, whose similarity
      is then 0. Of equal maxima the first one has the whole gradient: the backward pass moves two
      rows a similarity, O(b D), as PyTorch's maximum does, where sharing would multiply a `[b, B]`
      by a `[B, D]` matrix.

    Raises:
      ValueError: unknown mining; `negative_similarities` knows more rules.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
      >>> similarities, where = losses.hardest_negative_similarities(x, jnp.array([0, 1, 0]))
      >>> similarities.tolist(), where.tolist()
      ([0.0, 0.0, 0.0], [True, True, True])
    """
    check_option("mining", mining, ("paper", "tface"))
    return negative_similarities(embeddings, labels, mining=mining, axis_name=axis_name)


def pair_similarities(
    singles: jax.Array,
    first: jax.Array,
    second: jax.Array,
    labels: jax.Array | None = None,
    *,
    minimum_positive: float = 0.0,
    mining: str = "paper",
    count: int = 1,
    fallback: str = "easiest",
    key: jax.Array | None = None,
    memory: EmbeddingQueue | None = None,
    axis_name: str | None = None,
) -> PairSimilarities:
    """Positive and mined negative similarities of one domain, by default as the DDL paper has them.

    Positive pairs with a cosine of at most `minimum_positive` are taken for label errors and do not
    count. Negatives are mined among the singles.

    Args:
      singles: `[b, D]` embeddings of different identities.
      first: `[b, D]` embeddings of the pairs' first images.
      second: `[b, D]` embeddings of the pairs' second images.
      labels: `[b]` identities of the singles; None says that all are different.
      minimum_positive: cosine at or below which a positive pair is dropped.
      mining: see `negative_similarities`. "semi_hard" compares the negatives of single i with pair
        i, whoever it is of: only if that is the identity of single i are they semi-hard in
        FaceNet's sense. Where pair i is dropped, the hardest negatives are taken.
      count: negatives of a row.
      fallback: see `negative_similarities`.
      key: for mining "random", the same on all devices.
      memory: past singles, among which negatives are looked for as well.
      axis_name: rows are the device's own part of the batch.

    Returns:
      `PairSimilarities` of the own rows: `b` positive and `b * count` negative ones.

    Raises:
      ValueError: see `negative_similarities`.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> losses.pair_similarities(jnp.eye(2), jnp.eye(2), -jnp.eye(2)).positive_where.tolist()
      [False, False]
    """
    check_shapes(singles=(singles, "b D"), first=(first, "b D"), second=(second, "b D"))
    positive = positive_similarities(first, second)
    counts = positive > minimum_positive
    negative, negative_where = negative_similarities(
        singles,
        labels,
        mining=mining,
        count=count,
        positive=jnp.where(counts, positive, jnp.inf),
        fallback=fallback,
        key=key,
        memory=memory,
        axis_name=axis_name,
    )
    return PairSimilarities(positive, negative, counts, negative_where)
