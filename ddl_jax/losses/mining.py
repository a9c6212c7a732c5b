"""Which rows of a batch are taken as negatives, and their similarities."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import gather_rows, own_numbers
from ddl_jax.losses.checks import (
    check_integers,
    check_option,
    check_shapes,
    check_type,
    check_whole,
)
from ddl_jax.losses.cosine import at_least_float32, unit_vectors
from ddl_jax.losses.queue import EmbeddingQueue

MININGS = ("paper", "tface", "top_k", "semi_hard", "random")
FALLBACKS = ("easiest", "hardest", "none")


def negative_similarities(
    embeddings: jax.Array,
    labels: jax.Array | None = None,
    *,
    mining: str = "paper",
    count: int = 1,
    positive: jax.Array | None = None,
    fallback: str = "easiest",
    key: jax.Array | None = None,
    memory: EmbeddingQueue | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    r"""Similarities of each row with the negatives that a rule picks for it.

    .. math:: s^-_{ik} = \cos(x_i, x_{j_k}), \qquad y_{j_k} \ne y_i

    The rule picks the rows; the gradient is that of the cosines of the picked pairs, O(b count D).
    Of equally similar rows the first one of the batch is taken (and gets the gradient alone).

    Args:
      embeddings: `[b, D]`, not normalised.
      labels: `[b]` identities; None says that all rows are of different identities.
      mining: the rule.
        "paper" takes the most similar row (DDL, Huang et al. 2020); "top_k" the `count` most
        similar ones.
        "tface" does what the authors' released code does: row i sees only the rows j > i of the
        global batch and the result is at least 0 (their triangle of zeros takes part in the
        maximum), so the last row is always 0.
        "semi_hard" takes the most similar rows among those less similar than the row's entry of
        `positive`; places that these do not fill are filled by `fallback`. There is no margin:
        FaceNet's semi-hard negatives (Schroff et al. 2015) must also lie within it of the positive
        pair, ours need not.
        "random" draws without replacement, each negative being equally likely.
      count: negatives of a row; 1 for "paper" and "tface".
      positive: `[b]` cosines that the rows' negatives stay below, for "semi_hard": in FaceNet's
        sense those of the rows' own positive pairs. They only choose and get no gradient. 2 or
        more makes every negative of the row semi-hard.
      fallback: what "semi_hard" takes of the negatives above the positive: "easiest" the least
        similar first (the nearest to being semi-hard), "hardest" the most similar first, "none"
        nothing.
      key: for "random", the same on all devices. The draw is that of the global batch: a row's
        negatives do not depend on the number of devices.
      memory: past embeddings among which negatives are looked for as well; they need `labels`.
      axis_name: rows are the device's own part of the batch; negatives come from all devices.

    Returns:
      `(similarities[b * count], where[b * count])`, row after row. where is False, and the
      similarity 0, where a row has no such negative (never so with "tface").

    Raises:
      ValueError: an option is unknown, or does not go with the others.
      AssertionError: ranks, shapes or types do not fit, or the memory's D is another.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
      >>> labels = jnp.array([0, 1, 0])
      >>> found, where = losses.negative_similarities(x, labels, mining="top_k", count=2)
      >>> found.tolist(), where.tolist()
      ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [True, False, True, True, True, False])
    """
    _check_arrays(embeddings, labels, positive, memory)
    own = unit_vectors(embeddings)
    candidates = gather_rows(own, axis_name)
    if memory is not None:
        past = jax.lax.stop_gradient(memory.embeddings).astype(own.dtype)
        candidates = jnp.concatenate([candidates, past])
    _check(mining, count, positive, fallback, key, memory, labels, len(candidates))
    numbers = own_numbers(len(own), axis_name)
    is_negative = _is_negative(labels, numbers, len(candidates), mining, memory, axis_name)
    # Similarities are the data here: the accelerator's rounding must not enter them.
    cosine = jax.lax.stop_gradient(
        jnp.matmul(own, candidates.T, precision=jax.lax.Precision.HIGHEST)
    )
    if mining == "random":
        score, allowed = _draws(key, numbers, cosine.shape[1]), is_negative
    elif mining == "semi_hard":
        score, allowed = _semi_hard(cosine, is_negative, positive, fallback)
    else:
        score, allowed = cosine, is_negative
    picked = _largest(jnp.where(allowed, score, -jnp.inf), count)
    found = jnp.sum(own[:, None] * jnp.take(candidates, picked, axis=0, mode="clip"), axis=-1)
    where = jnp.take_along_axis(allowed, picked, axis=1)
    found = jnp.where(where, found, 0.0).ravel()
    if mining == "tface":
        return jnp.where(found > 0, found, 0.0), jnp.ones(found.shape, bool)
    return found, where.ravel()


def _check_arrays(
    embeddings: jax.Array,
    labels: jax.Array | None,
    positive: jax.Array | None,
    memory: EmbeddingQueue | None,
) -> None:
    arrays = {"embeddings": (embeddings, "b D")}
    if labels is not None:
        arrays["labels"] = (labels, "b")
    if positive is not None:
        arrays["positive"] = (positive, "b")
    if memory is not None:
        check_type("memory", memory, EmbeddingQueue, ", of empty_embedding_queue")
        arrays["memory.embeddings"] = (memory.embeddings, "size D")
        arrays["memory.labels"] = (memory.labels, "size")
    check_shapes(**arrays)
    if labels is not None:
        check_integers(labels=labels)


def _check(mining, count, positive, fallback, key, memory, labels, candidates: int) -> None:
    check_option("mining", mining, MININGS)
    check_option("fallback", fallback, FALLBACKS)
    if mining in ("paper", "tface") and count != 1:
        raise ValueError(f"count is {count}; mining {mining!r} takes 1 (top_k takes more)")
    check_whole("count", count, 1, candidates, "the rows there are to pick")
    if mining == "random" and key is None:
        raise ValueError("key is None; mining 'random' draws with a key of jax.random")
    if mining == "semi_hard" and positive is None:
        raise ValueError("positive is None; mining 'semi_hard' compares with it")
    if memory is not None and mining == "tface":
        raise ValueError("memory is given; mining 'tface' looks at the batch alone")
    if memory is not None and labels is None:
        raise ValueError("labels is None; a memory holds rows of the same identities, so give them")


def _is_negative(
    labels: jax.Array | None,
    numbers: jax.Array,
    candidates: int,
    mining: str,
    memory: EmbeddingQueue | None,
    axis_name: str | None,
) -> jax.Array:
    """`[b, candidates]`: which rows of the global batch, then of the memory, are negatives."""
    columns = jnp.arange(candidates)[None, :]
    if mining == "tface":
        is_negative = columns > numbers[:, None]
    else:
        is_negative = columns != numbers[:, None]
    if labels is None:
        return is_negative
    everyone = gather_rows(labels, axis_name)
    if memory is not None:
        in_batch = columns < everyone.size
        is_negative &= in_batch | (columns - everyone.size < memory.filled)
        everyone = jnp.concatenate([everyone, memory.labels])
    return is_negative & (everyone[None, :] != labels[:, None])


def _draws(key: jax.Array, numbers: jax.Array, candidates: int) -> jax.Array:
    """`[b, candidates]` uniform numbers that depend on the key and the row's global number."""
    row = lambda n: jax.random.uniform(jax.random.fold_in(key, n), (candidates,), jnp.float32)  # noqa: E731
    return jax.vmap(row)(numbers)


def _semi_hard(
    cosine: jax.Array, is_negative: jax.Array, positive: jax.Array, fallback: str
) -> tuple[jax.Array, jax.Array]:
    """What to take first, and what may be taken at all."""
    below = cosine < at_least_float32(positive)[:, None]
    if fallback == "none":
        return cosine, is_negative & below
    # 4 below, so that every semi-hard one comes before every other.
    other = (cosine if fallback == "hardest" else -cosine) - 4.0
    return jnp.where(below, cosine, other), is_negative


def _largest(score: jax.Array, count: int) -> jax.Array:
    """`[b, count]` columns of the largest scores, the first of equal ones first."""
    if count > 1:
        return jax.lax.top_k(score, count)[1]
    # Two plain reductions, which XLA vectorises; its argmax and top_k are slower on CPUs.
    last = score.shape[1] - 1
    is_largest = score == jnp.max(score, axis=1, keepdims=True)
    columns = jnp.arange(score.shape[1])[None, :]
    return jnp.min(jnp.where(is_largest, columns, last), axis=1, keepdims=True)
