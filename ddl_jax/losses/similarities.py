"""Similarities of positive and negative pairs: what the distributions of DDL are made of."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import gather_rows, own_rows
from ddl_jax.losses.cosine import unit_vectors


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
    r"""Cosine of each pair, :math:`s^+_i = \cos(x_{i1}, x_{i2})` (DDL, Sec. 3.1).

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
    chex.assert_rank([first, second], 2)
    chex.assert_equal_shape([first, second])
    return jnp.sum(unit_vectors(first) * unit_vectors(second), axis=-1)


def hardest_negative_similarities(
    embeddings: jax.Array,
    labels: jax.Array | None = None,
    *,
    mining: str = "paper",
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    r"""The most similar other identity of each row (DDL, Sec. 3.1).

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
      is then 0. Equal maxima share the gradient.

    Raises:
      ValueError: unknown mining.
      AssertionError: ranks or shapes do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
      >>> similarities, where = losses.hardest_negative_similarities(x, jnp.array([0, 1, 0]))
      >>> similarities.tolist(), where.tolist()
      ([0.0, 0.0, 0.0], [True, True, True])
    """
    chex.assert_rank(embeddings, 2)
    if mining not in ("paper", "tface"):
        raise ValueError(f"mining is {mining!r}; choose one of paper, tface")
    everyone = unit_vectors(gather_rows(embeddings, axis_name))
    own = own_rows(everyone, axis_name)
    # Similarities are the data here: the accelerator's rounding must not enter them.
    cosine = jnp.matmul(own, everyone.T, precision=jax.lax.Precision.HIGHEST)
    numbers = jnp.arange(everyone.shape[0])
    own_numbers = own_rows(numbers, axis_name)
    if mining == "tface":
        is_negative = numbers[None, :] > own_numbers[:, None]
    else:
        is_negative = numbers[None, :] != own_numbers[:, None]
    if labels is not None:
        chex.assert_rank(labels, 1)
        chex.assert_type(labels, int)
        chex.assert_equal_shape_prefix([embeddings, labels], 1)
        is_negative &= gather_rows(labels, axis_name)[None, :] != labels[:, None]
    if mining == "tface":
        return jnp.max(jnp.where(is_negative, cosine, 0.0), axis=1), jnp.ones(own.shape[0], bool)
    exists = jnp.any(is_negative, axis=1)
    # Below every cosine, yet finite: the maximum over an empty row must not be -inf.
    hardest = jnp.max(jnp.where(is_negative, cosine, -2.0), axis=1)
    return jnp.where(exists, hardest, 0.0), exists


def pair_similarities(
    singles: jax.Array,
    first: jax.Array,
    second: jax.Array,
    labels: jax.Array | None = None,
    *,
    minimum_positive: float = 0.0,
    mining: str = "paper",
    axis_name: str | None = None,
) -> PairSimilarities:
    """Positive and hardest negative similarities of one domain, as the DDL paper makes them.

    Positive pairs with a cosine of at most `minimum_positive` are taken for label errors and do not
    count. Negatives are mined among the singles.

    Args:
      singles: `[b, D]` embeddings of different identities.
      first: `[b, D]` embeddings of the pairs' first images.
      second: `[b, D]` embeddings of the pairs' second images.
      labels: `[b]` identities of the singles; None says that all are different.
      minimum_positive: cosine at or below which a positive pair is dropped.
      mining: see `hardest_negative_similarities`.
      axis_name: rows are the device's own part of the batch.

    Returns:
      `PairSimilarities` of the own rows.

    Raises:
      AssertionError: ranks or shapes do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> losses.pair_similarities(jnp.eye(2), jnp.eye(2), -jnp.eye(2)).positive_where.tolist()
      [False, False]
    """
    positive = positive_similarities(first, second)
    negative, negative_where = hardest_negative_similarities(
        singles, labels, mining=mining, axis_name=axis_name
    )
    return PairSimilarities(positive, negative, positive > minimum_positive, negative_where)
