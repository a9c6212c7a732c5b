"""Means and sums over what counts, safe where nothing does."""

from typing import Any

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_sum
from ddl_jax.losses.checks import check_booleans, check_shapes


def which_count(values: jax.Array, where: jax.Array | None, name: str = "where") -> jax.Array:
    """Which of the values count: `where`, or all of them where it is None.

    Args:
      values: `[n]`.
      where: `[n]` bool, or None.
      name: of the argument that `where` is to the caller, for the message that refuses it.

    Returns:
      `[n]` bool.

    Raises:
      AssertionError: `where` is not bool, or not of the values' shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> which_count(jnp.array([1.0, 3.0]), None).tolist()
      [True, True]
    """
    counts = jnp.ones(values.shape, bool) if where is None else where
    check_shapes(values=(values, "n"), **{name: (counts, "n")})
    check_booleans(**{name: counts})
    return counts


def masks_of(pairs: Any) -> tuple[jax.Array, jax.Array]:
    """Which positive and which negative similarities of a `PairSimilarities` count, all where None.

    Raises:
      AssertionError: similarities are not of rank 1, or a mask is not bool or not of their shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> pairs = losses.PairSimilarities(jnp.array([0.5]), jnp.array([0.1, 0.2]))
      >>> [mask.tolist() for mask in masks_of(pairs)]
      [[True], [True, True]]
    """
    if not hasattr(pairs, "positive_where"):
        raise AssertionError(
            f"a domain is of type {type(pairs).__name__}; expected PairSimilarities, as "
            "pair_similarities makes them"
        )
    check_shapes(positive=(pairs.positive, "n"), negative=(pairs.negative, "m"))
    return (
        which_count(pairs.positive, pairs.positive_where, "positive_where"),
        which_count(pairs.negative, pairs.negative_where, "negative_where"),
    )


def anything_counts(where: jax.Array, axis_name: str | None) -> jax.Array:
    """Scalar bool: whether anything in the global batch counts.

    Examples:
      >>> import jax.numpy as jnp
      >>> bool(anything_counts(jnp.array([False, True]), None))
      True
    """
    return axis_sum(jnp.sum(where), axis_name) > 0


def masked_mean(values: jax.Array, where: jax.Array, axis_name: str | None) -> jax.Array:
    """The mean over the global batch of the values that count; 0 when none does.

    Args:
      values: any shape.
      where: bool of the same shape, which values count.
      axis_name: the mapped axis over which both are split.

    Returns:
      A scalar.

    Examples:
      >>> import jax.numpy as jnp
      >>> float(masked_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([True, True, False]), None))
      2.0
    """
    total = axis_sum(jnp.sum(values, where=where), axis_name)
    number = axis_sum(jnp.sum(where), axis_name)
    return total / jnp.maximum(number, 1)


def masked_log_sum_exp(values: jax.Array, where: jax.Array) -> jax.Array:
    """log sum exp along the last axis over what counts; 0, with gradient zero, when nothing does.

    Args:
      values: `[..., n]`, finite.
      where: bool of the same shape, which values count.

    Returns:
      `[...]`.

    Examples:
      >>> import jax.numpy as jnp
      >>> float(masked_log_sum_exp(jnp.array([2.0, 7.0]), jnp.array([True, False])))
      2.0
    """
    constant = jax.lax.stop_gradient(values)
    largest = jnp.max(constant, axis=-1, where=where, initial=-jnp.inf, keepdims=True)
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    # What does not count is replaced before exp: an overflow there would poison the gradient.
    shifted = jnp.where(where, values - largest, 0.0)
    total = jnp.sum(jnp.exp(shifted), axis=-1, where=where)
    return jnp.log(jnp.where(total > 0, total, 1.0)) + jnp.squeeze(largest, -1)
