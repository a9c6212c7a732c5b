"""From sets of similarities to the divergences of one of them, the teacher's, from the others."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_shapes
from ddl_jax.losses.distributions import (
    earth_mover_distance,
    kl_divergence,
    similarity_histogram,
)
from ddl_jax.losses.kl_bias import kl_bias
from ddl_jax.losses.log_distributions import log_space_kl_divergence, similarity_log_histogram
from ddl_jax.losses.masked import anything_counts

Divergence = Callable[[jax.Array, jax.Array], jax.Array]


class SimilaritySet(NamedTuple):
    """Similarities `[n]`, and bool `[n]` which of them count."""

    values: jax.Array
    where: jax.Array


class Comparison(NamedTuple):
    """How sets are compared; see `distribution_distillation_loss`."""

    nodes: jax.Array
    gamma: float = 50.0
    divergence: Divergence = kl_divergence
    log_space: bool = False
    correct_bias: bool = False
    stop_teacher_gradient: bool = False
    axis_name: str | None = None


def check_comparison(how: Comparison) -> None:
    """Says at trace time what only KL can do, and what is no divergence."""
    if not callable(how.divergence):
        raise ValueError(
            f"divergence is {how.divergence!r}; give the function, such as losses.js_divergence"
        )
    if (how.log_space or how.correct_bias) and how.divergence is not kl_divergence:
        name = getattr(how.divergence, "__name__", repr(how.divergence))
        raise ValueError(
            f"divergence is {name}; log_space and correct_bias take kl_divergence alone"
        )


def with_past(
    present: SimilaritySet, values: jax.Array, filled: jax.Array, axis_name: str | None
) -> SimilaritySet:
    """The set with the first `filled` of the remembered `[size]` similarities, as constants.

    Every device holds them all; only the first one counts them, so that they count once.

    >>> import jax.numpy as jnp
    >>> present = SimilaritySet(jnp.array([0.5]), jnp.array([True]))
    >>> with_past(present, jnp.array([0.25, 0.0]), jnp.array(1), None).where.tolist()
    [True, True, False]
    """
    counts = jnp.arange(values.size) < filled
    if axis_name is not None:
        counts &= jax.lax.axis_index(axis_name) == 0
    values = jax.lax.stop_gradient(values).astype(present.values.dtype)
    return SimilaritySet(
        jnp.concatenate([present.values, values]), jnp.concatenate([present.where, counts])
    )


def set_divergences(
    teacher: SimilaritySet, students: Sequence[SimilaritySet], how: Comparison
) -> tuple[jax.Array, jax.Array]:
    """Divergences `[K]` of the teacher from each student, and what was subtracted from them `[K]`.

    Both are 0 where nothing counts in one of the two sets.
    """
    if how.stop_teacher_gradient:
        teacher = teacher._replace(values=jax.lax.stop_gradient(teacher.values))
    make = similarity_log_histogram if how.log_space else similarity_histogram
    compare = log_space_kl_divergence if how.log_space else how.divergence
    if compare is earth_mover_distance:
        compare = functools.partial(earth_mover_distance, nodes=how.nodes)
    sets = [teacher, *students]
    p, *qs = (
        make(s.values, nodes=how.nodes, gamma=how.gamma, where=s.where, axis_name=how.axis_name)
        for s in sets
    )
    exist, *student_exist = (anything_counts(s.where, how.axis_name) for s in sets)
    biases = jnp.stack([_bias(teacher, s, how) for s in students])
    found = [compare(p, q) for q in qs]
    check_shapes(**{"the divergence": (found[0], "")})
    divergences = jnp.stack(found) - biases
    both = jnp.stack(student_exist) & exist
    return jnp.where(both, divergences, 0.0), jnp.where(both, biases, 0.0)


def _bias(teacher: SimilaritySet, student: SimilaritySet, how: Comparison) -> jax.Array:
    if not how.correct_bias:
        return jnp.zeros((), student.values.dtype)
    return kl_bias(
        teacher.values,
        student.values,
        nodes=how.nodes,
        gamma=how.gamma,
        teacher_where=teacher.where,
        student_where=student.where,
        axis_name=how.axis_name,
    )
