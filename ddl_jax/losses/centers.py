"""The center loss and the update of its centres, which are state and not parameters."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_sum, gather_rows
from ddl_jax.losses.checks import (
    check_floats,
    check_integers,
    check_option,
    check_range,
    check_shapes,
)
from ddl_jax.losses.cosine import at_least_float32, unit_vectors
from ddl_jax.losses.masked import masked_mean


def center_loss(
    embeddings: jax.Array,
    centers: jax.Array,
    labels: jax.Array,
    *,
    reduction: str = "mean",
    normalize: bool = False,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Half the squared distance of every embedding from the centre of its class.

    .. math:: \frac{1}{2} \sum_i \lVert x_i - c_{y_i} \rVert_2^2

    (Wen et al., eq. 2.) It is added to a softmax loss, with a weight of 0.003 in the paper.

    Args:
      embeddings: `[b, D]`.
      centers: `[C, D]`, the running centres of all classes; every device holds all of them. They
        are moved by `updated_centers`, not by the gradient, so differentiate with respect to the
        embeddings only.
      labels: `[b]` classes. A row whose label is outside [0, C) does not count.
      reduction: "mean" over the rows that count, as in the authors' Caffe code, or "sum", as in the
        paper's equation.
      normalize: whether embeddings are scaled to length 1 first; the paper does not. The centres
        are taken as they are: give the same to `updated_centers`.
      axis_name: embeddings and labels are the device's own part of the batch.

    Returns:
      A scalar; 0, with gradient zero, when no row counts.

    Raises:
      ValueError: unknown reduction.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x, centers = jnp.array([[3.0, 0.0], [9.0, 9.0]]), jnp.array([[1.0, 0.0]])
      >>> float(losses.center_loss(x, centers, jnp.array([0, -1])))
      2.0

    References:
      Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016,
      https://ydwen.github.io/papers/WenECCV16.pdf
    """
    check_option("reduction", reduction, ("mean", "sum"))
    rows, centers, labels = _checked(embeddings, centers, labels, normalize)
    has_class = _has_class(labels, centers)
    difference = rows - centers[jnp.where(has_class, labels, 0)]
    loss = 0.5 * jnp.sum(difference * difference, axis=1)
    if reduction == "sum":
        return axis_sum(jnp.sum(loss, where=has_class), axis_name)
    return masked_mean(loss, has_class, axis_name)


def updated_centers(
    centers: jax.Array,
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    update_rate: float = 0.5,
    normalize: bool = False,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Moves the centres of the classes in the global batch towards their embeddings.

    .. math::
      c_j \leftarrow c_j - \alpha \frac{\sum_i [y_i = j] (c_j - x_i)}{1 + \sum_i [y_i = j]}

    (Wen et al., eq. 4, and their Caffe code.) With `axis_name` the rows of all devices are gathered
    and every device computes the same centres: the whole of the state stays replicated. The 1 in
    the divisor makes a class with one row move by half of alpha. facenet's TensorFlow code moves by
    :math:`1 - \alpha` a row instead, without the divisor; that is not offered.

    Args:
      centers: `[C, D]`, the centres before the batch.
      embeddings: `[b, D]`.
      labels: `[b]` classes. A row whose label is outside [0, C) moves nothing.
      update_rate: alpha, which weighs the new, from 0 to 1.
      normalize: whether embeddings are scaled to length 1 first, as in `center_loss`.
      axis_name: embeddings and labels are the device's own part of the batch.

    Returns:
      `[C, D]` centres in float32 or wider, without any gradient.

    Raises:
      ValueError: update_rate is out of range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x, labels = jnp.array([[4.0, 0.0]]), jnp.array([1])
      >>> losses.updated_centers(jnp.zeros((2, 2)), x, labels, update_rate=0.5).tolist()
      [[0.0, 0.0], [1.0, 0.0]]

    References:
      Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016,
      https://ydwen.github.io/papers/WenECCV16.pdf
    """
    check_range("update_rate", update_rate, 0.0, 1.0)
    rows, centers, labels = _checked(embeddings, centers, labels, normalize)
    rows, labels = gather_rows(rows, axis_name), gather_rows(labels, axis_name)
    rows, centers = jax.lax.stop_gradient((rows, centers))
    count = centers.shape[0]
    has_class = _has_class(labels, centers)
    # A number past the end is dropped by the scatter; a negative one would count from the end.
    row_class = jnp.where(has_class, labels, count)
    numbers = jnp.zeros(count, rows.dtype).at[row_class].add(1.0, mode="drop")
    own_class = jnp.where(has_class, labels, 0)
    moves = (centers[own_class] - rows) / (1.0 + numbers[own_class])[:, None]
    return centers.at[row_class].add(-update_rate * moves, mode="drop")


def _checked(
    embeddings: jax.Array, centers: jax.Array, labels: jax.Array, normalize: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rows and centres in one wide dtype, and the labels, as arrays of jax."""
    check_shapes(embeddings=(embeddings, "b D"), labels=(labels, "b"), centers=(centers, "C D"))
    check_floats(embeddings=embeddings, centers=centers)
    check_integers(labels=labels)
    rows = unit_vectors(embeddings) if normalize else at_least_float32(jnp.asarray(embeddings))
    centers = at_least_float32(jnp.asarray(centers))
    dtype = jnp.promote_types(rows.dtype, centers.dtype)
    return rows.astype(dtype), centers.astype(dtype), jnp.asarray(labels)


def _has_class(labels: jax.Array, centers: jax.Array) -> jax.Array:
    return (labels >= 0) & (labels < centers.shape[0])
