"""Distillation of relations: how the rows of a batch lie to each other, not where they lie."""

import jax
import jax.numpy as jnp
import optax

from ddl_jax.losses.axis import axis_sum, gather_rows, is_other_row
from ddl_jax.losses.checks import check_floats, check_option
from ddl_jax.losses.cosine import at_least_float32, lengths, unit_vectors
from ddl_jax.losses.distances import without_scale
from ddl_jax.losses.masked import masked_mean

_REDUCTIONS = ("mean", "mean_of_all")


def relational_distance_loss(
    student: jax.Array,
    teacher: jax.Array,
    *,
    reduction: str = "mean",
    normalize: bool = False,
    stop_teacher_gradient: bool = True,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Relational knowledge distillation, distance-wise (RKD-D, Park et al., Sec. 3.2).

    .. math::
      \frac{1}{|X^2|} \sum_{i \ne j} l_\delta\!\left(
          \frac{\lVert t_i - t_j \rVert}{\mu_t}, \frac{\lVert s_i - s_j \rVert}{\mu_s} \right)

    with :math:`\mu` the mean distance of the batch's pairs, of teacher and student each, and
    :math:`l_\delta` the Huber loss with delta 1. A common factor of all rows changes nothing. The
    paper weighs this with 1 and `relational_angle_loss` with 2; collections of distillation losses
    take 25 and 50 for classification. Memory grows with `b B D`.

    Where the authors' code differs: it divides by all B^2 pairs, those of a row with itself
    included (`reduction="mean_of_all"`), and leaves pairs at distance 0 out of the mean distance.

    Args:
      student: `[b, D]`, or `[b, ...]` of features to be flattened.
      teacher: `[b, E]` of the same rows; the size may be another.
      reduction: "mean" over the pairs of different rows, or "mean_of_all", over all B^2.
      normalize: whether rows are scaled to length 1 first; in the paper an option.
      stop_teacher_gradient: whether the teacher is a constant.
      axis_name: rows are the device's own part of the batch; pairs come from all of it.

    Returns:
      A scalar; 0 for a batch of one row.

    Raises:
      ValueError: unknown reduction.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> teacher = jnp.array([[0.0], [1.0], [3.0]])
      >>> round(float(losses.relational_distance_loss(5.0 * teacher + 1.0, teacher)), 6)
      0.0

    References:
      Park et al., Relational Knowledge Distillation, CVPR 2019, https://arxiv.org/abs/1904.05068
    """
    check_option("reduction", reduction, _REDUCTIONS)
    student, teacher = _flat(student, teacher, stop_teacher_gradient)
    student = _relative_distances(student, normalize, axis_name)
    teacher = _relative_distances(teacher, normalize, axis_name)
    loss = optax.losses.huber_loss(student, teacher)
    return _mean_relation(loss, is_other_row(*student.shape, axis_name), reduction, axis_name)


def relational_angle_loss(
    student: jax.Array,
    teacher: jax.Array,
    *,
    reduction: str = "mean",
    normalize: bool = False,
    stop_teacher_gradient: bool = True,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Relational knowledge distillation, angle-wise (RKD-A, Park et al., Sec. 3.2).

    .. math::
      \frac{1}{|X^3|} \sum_{i \ne j \ne k \ne i} l_\delta(\cos \angle t_i t_j t_k,
          \cos \angle s_i s_j s_k), \qquad
      \cos \angle t_i t_j t_k =
          \left\langle \frac{t_i - t_j}{\lVert t_i - t_j \rVert},
                       \frac{t_k - t_j}{\lVert t_k - t_j \rVert} \right\rangle

    with :math:`l_\delta` the Huber loss with delta 1. Memory grows with `b B (B + D)`: a device
    holds the differences of its own rows from all, and their angles.

    Where the authors' code differs: it divides by all B^3 triples, those with equal members
    included, which add nothing (`reduction="mean_of_all"`).

    Args:
      student: `[b, D]`, or `[b, ...]` of features to be flattened.
      teacher: `[b, E]` of the same rows; the size may be another.
      reduction: "mean" over the triples of three different rows, or "mean_of_all", over all B^3.
      normalize: whether rows are scaled to length 1 first; in the paper an option.
      stop_teacher_gradient: whether the teacher is a constant.
      axis_name: rows are the device's own part of the batch; triples come from all of it.

    Returns:
      A scalar; 0 for a batch of fewer than three rows. Between equal rows there is no direction:
      their angles have cosine 0.

    Raises:
      ValueError: unknown reduction.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> corner = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
      >>> turned = corner @ jnp.array([[0.0, 3.0], [-3.0, 0.0]])
      >>> abs(float(losses.relational_angle_loss(turned, corner))) < 1e-9
      True

    References:
      Park et al., Relational Knowledge Distillation, CVPR 2019, https://arxiv.org/abs/1904.05068
    """
    check_option("reduction", reduction, _REDUCTIONS)
    student, teacher = _flat(student, teacher, stop_teacher_gradient)
    loss = optax.losses.huber_loss(
        _angle_cosines(student, normalize, axis_name), _angle_cosines(teacher, normalize, axis_name)
    )
    own, count, _ = loss.shape
    is_other = is_other_row(own, count, axis_name)
    is_triple = is_other[:, :, None] & is_other[:, None, :] & ~jnp.eye(count, dtype=bool)[None]
    return _mean_relation(loss, is_triple, reduction, axis_name)


def similarity_preserving_loss(
    student: jax.Array,
    teacher: jax.Array,
    *,
    normalize: bool = False,
    stop_teacher_gradient: bool = True,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Similarity-preserving knowledge distillation of one layer (SP, Tung and Mori).

    .. math::
      \frac{1}{B^2} \left\lVert \tilde G_T - \tilde G_S \right\rVert_F^2, \qquad
      \tilde G_{[i,:]} = G_{[i,:]} / \lVert G_{[i,:]} \rVert_2, \qquad G = Q Q^\top

    with the rows of Q the flattened features. Row i of G is how similar row i is to all others, and
    itself. The paper sums this over pairs of layers.

    Args:
      student: `[b, D]`, or `[b, ...]` of features to be flattened.
      teacher: `[b, E]` of the same rows; the size may be another.
      normalize: whether rows of Q are scaled to length 1 first, so that G holds cosines; the paper
        does not.
      stop_teacher_gradient: whether the teacher is a constant.
      axis_name: rows are the device's own part of the batch; similarities are to all of it.

    Returns:
      A scalar.

    Raises:
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> loss = losses.similarity_preserving_loss(2.0 * jnp.eye(2), jnp.ones((2, 3)))
      >>> round(float(loss), 4)
      0.2929

    References:
      Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019,
      https://arxiv.org/abs/1907.09682
    """
    student, teacher = _flat(student, teacher, stop_teacher_gradient)
    student = _unit_similarities(student, normalize, axis_name)
    teacher = _unit_similarities(teacher, normalize, axis_name)
    count = student.shape[1]
    return axis_sum(jnp.sum((student - teacher) ** 2), axis_name) / count**2


def _flat(
    student: jax.Array, teacher: jax.Array, stop_teacher_gradient: bool
) -> tuple[jax.Array, jax.Array]:
    """Rows `[b, D]` and `[b, E]` in float32 or wider."""
    _check_features(student, teacher)
    teacher = jax.lax.stop_gradient(teacher) if stop_teacher_gradient else teacher
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    return student.reshape(student.shape[0], -1), teacher.reshape(teacher.shape[0], -1)


def _check_features(student: jax.Array, teacher: jax.Array) -> None:
    of_student, of_teacher = jnp.shape(student), jnp.shape(teacher)
    if len(of_student) < 2:
        raise AssertionError(f"student has shape {of_student}; expected [b, ...]")
    if len(of_teacher) < 2 or of_teacher[0] != of_student[0]:
        raise AssertionError(f"teacher has shape {of_teacher}; expected [b={of_student[0]}, ...]")
    check_floats(student=student, teacher=teacher)


def _differences(rows: jax.Array, normalize: bool, axis_name: str | None) -> jax.Array:
    """All rows minus each own row, `[b, B, D]`, up to a common factor."""
    rows = unit_vectors(rows) if normalize else without_scale(rows, axis_name)
    return gather_rows(rows, axis_name)[None, :, :] - rows[:, None, :]


def _relative_distances(rows: jax.Array, normalize: bool, axis_name: str | None) -> jax.Array:
    """Distances `[b, B]` over their mean; 0 when all rows are equal."""
    distance = lengths(_differences(rows, normalize, axis_name))
    mean = masked_mean(distance, is_other_row(*distance.shape, axis_name), axis_name)
    return distance / jnp.where(mean > 0, mean, 1.0)


def _angle_cosines(rows: jax.Array, normalize: bool, axis_name: str | None) -> jax.Array:
    """Cosines `[b, B, B]` of the angles at each own row between every two rows."""
    directions = unit_vectors(_differences(rows, normalize, axis_name))
    return jnp.einsum("jid,jkd->jik", directions, directions, precision=jax.lax.Precision.HIGHEST)


def _unit_similarities(rows: jax.Array, normalize: bool, axis_name: str | None) -> jax.Array:
    """The own rows `[b, B]` of the matrix of similarities, each of length 1."""
    # The factor of the row itself goes away with the normalisation: unit vectors cannot overflow.
    own = unit_vectors(rows)
    everyone = gather_rows(own if normalize else without_scale(rows, axis_name), axis_name)
    return unit_vectors(jnp.matmul(own, everyone.T, precision=jax.lax.Precision.HIGHEST))


def _mean_relation(
    loss: jax.Array, where: jax.Array, reduction: str, axis_name: str | None
) -> jax.Array:
    if reduction == "mean":
        return masked_mean(loss, where, axis_name)
    return axis_sum(jnp.sum(loss, where=where), axis_name) / loss.shape[1] ** loss.ndim
