"""Cross-resolution distillation: the student sees the low resolution, the teacher the high one."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_floats, check_range, check_shapes
from ddl_jax.losses.cosine import at_least_float32, unit_vectors
from ddl_jax.losses.masked import masked_mean, which_count


def feature_regression_loss(
    student: jax.Array,
    teacher: jax.Array,
    *,
    normalize: bool = True,
    stop_teacher_gradient: bool = True,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""The student regresses the teacher's features: the mean of squared distances.

    .. math:: \frac{1}{B} \sum_i \lVert s_i - t_i \rVert_2^2

    Args:
      student: `[b, D]` features of the low-resolution images.
      teacher: `[b, D]` features of the same images in high resolution.
      normalize: whether features are scaled to length 1 first: the distance is then `2 - 2 cos`.
        False regresses lengths too, as bridge distillation does.
      stop_teacher_gradient: whether the teacher is a constant.
      where: `[b]` bool, which rows count; None for all.
      axis_name: rows are the device's own part of the batch.

    Returns:
      A scalar; 0, with gradient zero, when no row counts.

    Raises:
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> student, teacher = jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 1.0]])
      >>> float(losses.feature_regression_loss(student, teacher))
      2.0
      >>> float(losses.feature_regression_loss(student, teacher, normalize=False))
      10.0

    References:
      See `cross_resolution_loss`.
    """
    check_shapes(student=(student, "b D"), teacher=(teacher, "b D"))
    check_floats(student=student, teacher=teacher)
    teacher = jax.lax.stop_gradient(teacher) if stop_teacher_gradient else teacher
    prepared = unit_vectors if normalize else at_least_float32
    squares = jnp.sum((prepared(student) - prepared(teacher)) ** 2, axis=1)
    return masked_mean(squares, which_count(squares, where), axis_name)


def soft_target_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    *,
    temperature: float = 1.0,
    stop_teacher_gradient: bool = True,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""The student's class probabilities follow the teacher's (Hinton et al., Sec. 2).

    .. math::
      \frac{T^2}{B} \sum_i \mathrm{KL}\left(
          \operatorname{softmax}(z^t_i / T) \,\|\, \operatorname{softmax}(z^s_i / T) \right)

    The cross-entropy of the paper less the teacher's entropy, so that equal logits give 0; the
    student's gradient is the same. :math:`T^2` keeps it of one size for all temperatures.

    Args:
      student_logits: `[b, C]`, of all classes: sharded class centres are not supported here.
      teacher_logits: `[b, C]`, without any margin: the teacher's opinion, not its training loss.
      temperature: T, above 0; note that face logits carry a scale of 64 already.
      stop_teacher_gradient: whether the teacher is a constant.
      where: `[b]` bool, which rows count; None for all.
      axis_name: rows are the device's own part of the batch.

    Returns:
      A scalar, nats; 0, with gradient zero, when no row counts.

    Raises:
      ValueError: the temperature is below 1e-9.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]]))
      >>> round(float(losses.soft_target_loss(logits[:1], logits[1:])), 4)
      0.3681

    References:
      Hinton et al., Distilling the Knowledge in a Neural Network, 2015,
      https://arxiv.org/abs/1503.02531
    """
    check_range("temperature", temperature, 1e-9)
    check_shapes(student_logits=(student_logits, "b C"), teacher_logits=(teacher_logits, "b C"))
    check_floats(student_logits=student_logits, teacher_logits=teacher_logits)
    teacher_logits = (
        jax.lax.stop_gradient(teacher_logits) if stop_teacher_gradient else teacher_logits
    )
    student = jax.nn.log_softmax(at_least_float32(student_logits) / temperature)
    teacher = jax.nn.log_softmax(at_least_float32(teacher_logits) / temperature)
    divergence = temperature**2 * jnp.sum(jnp.exp(teacher) * (teacher - student), axis=1)
    return masked_mean(divergence, which_count(divergence, where), axis_name)


def cross_resolution_loss(
    student: jax.Array,
    teacher: jax.Array,
    student_logits: jax.Array | None = None,
    teacher_logits: jax.Array | None = None,
    *,
    regression_weight: float = 1.0,
    soft_target_weight: float = 1.0,
    temperature: float = 1.0,
    normalize: bool = True,
    stop_teacher_gradient: bool = True,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    r"""What the low-resolution student learns from its teacher, as in bridge distillation.

    .. math:: \lambda_r L_{regression} + \lambda_s L_{soft}

    Ge et al. train the low-resolution student on two tasks at once: regression of the teacher's
    features (here L_regression) and classification of the identities. The second is the loss on
    labels, such as `margin_softmax_loss`, which is to be added to this one; the part of it that can
    be distilled, the teacher's class probabilities, is L_soft, and is there when logits are given.
    The paper's equations were not at hand: a third party's code of its resolution-adapted step has
    the plain sum of squares (`normalize=False`, times the number of rows) plus cross-entropy.

    Args:
      student: `[b, D]` features of the low-resolution images.
      teacher: `[b, D]` features of the same images in high resolution.
      student_logits: `[b, C]`, or None for regression only.
      teacher_logits: `[b, C]`, or None for regression only.
      regression_weight: lambda_r, at least 0.
      soft_target_weight: lambda_s, at least 0.
      temperature: see `soft_target_loss`.
      normalize: see `feature_regression_loss`.
      stop_teacher_gradient: whether the teacher is a constant.
      where: `[b]` bool, which rows count; None for all.
      axis_name: rows are the device's own part of the batch.

    Returns:
      `(loss, terms)`, terms unweighted: `regression` and, with logits, `soft_target`.

    Raises:
      ValueError: only one of the logits is given, a weight is negative, or the temperature is below
        1e-9.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> loss, terms = losses.cross_resolution_loss(jnp.array([[3.0, 0.0]]), jnp.array([[0.0, 1]]))
      >>> float(loss), sorted(terms)
      (2.0, ['regression'])

    References:
      Ge et al., Efficient Low-Resolution Face Recognition via Bridge Distillation, IEEE TIP 2020,
      https://arxiv.org/abs/2409.11786
    """
    if (student_logits is None) != (teacher_logits is None):
        missing = "student_logits" if student_logits is None else "teacher_logits"
        raise ValueError(f"{missing} is None; give the logits of both, or of neither")
    check_range("regression_weight", regression_weight, 0.0)
    check_range("soft_target_weight", soft_target_weight, 0.0)
    options = dict(stop_teacher_gradient=stop_teacher_gradient, where=where, axis_name=axis_name)
    regression = feature_regression_loss(student, teacher, normalize=normalize, **options)
    if student_logits is None:
        return regression_weight * regression, {"regression": regression}
    check_shapes(student=(student, "b D"), student_logits=(student_logits, "b C"))
    soft = soft_target_loss(student_logits, teacher_logits, temperature=temperature, **options)
    loss = regression_weight * regression + soft_target_weight * soft
    return loss, {"regression": regression, "soft_target": soft}
