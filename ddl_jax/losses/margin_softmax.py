"""The margin softmax loss over dense or sharded class centres."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_max, axis_sum, gather_rows, own_rows
from ddl_jax.losses.cosine import at_least_float32, cosine_logits
from ddl_jax.losses.margins import Margin, MarginInputs, named_margin


@chex.dataclass(frozen=True)
class MarginSoftmaxAux:
    """What `margin_softmax_loss` knows besides the loss; rows are the caller's own rows.

    Attributes:
      has_class: `[B]` bool, whether the row's label is one of the classes (and not masked out).
      target_cosine: `[B]` cosine with the row's own class centre, before the margin; 0 without one.
      regularizer: `[B]` the margin's own regularizer, unweighted; 0 for margins that have none.
      state: the margin's new state; None for margins that have none.
    """

    has_class: jax.Array
    target_cosine: jax.Array
    regularizer: jax.Array
    state: Any


def margin_softmax_loss(
    embeddings: jax.Array,
    class_centers: jax.Array,
    labels: jax.Array,
    *,
    margin: str | Margin = "arcface",
    margin_state: Any = None,
    class_where: jax.Array | None = None,
    axis_name: str | None = None,
    precision: jax.lax.PrecisionLike = None,
) -> tuple[jax.Array, MarginSoftmaxAux]:
    r"""Cross-entropy of the softmax over margin logits, one value a row.

    .. math::
      \ell_i = -\log \frac{e^{s\,t(\cos\theta_{iy})}}
                         {e^{s\,t(\cos\theta_{iy})} + \sum_{j \ne y} e^{s\,n(\cos\theta_{ij})}}

    with t and n the margin's functions of the target and of the other classes.

    With `axis_name` the class centres are sharded: every device holds equal parts of the rows of
    `embeddings`, `labels` and `class_centers`. Embeddings are gathered, class centres never are;
    one maximum and two sums per row cross the devices.

    Args:
      embeddings: `[B, D]`, not normalised.
      class_centers: `[C, D]`, not normalised.
      labels: `[B]` integers: global class numbers, also when the centres are sharded.
      margin: a margin's name (with its default options) or a `Margin`.
      margin_state: state of a margin that keeps running statistics.
      class_where: `[C]` bool, False for rows of `class_centers` that are not classes (padding).
      axis_name: the mapped axis over which rows and class centres are split.
      precision: of the product of embeddings and class centres.

    Returns:
      `(loss[B], aux)`. A row whose label is outside [0, C), or masked out, has loss 0 and is False
      in `aux.has_class`.

    Raises:
      ValueError: unknown margin name.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> loss, aux = losses.margin_softmax_loss(
      ...     jnp.eye(2), jnp.eye(2), jnp.array([0, 5]), margin=losses.cosface_margin(scale=1.0))
      >>> [round(x, 4) for x in loss.tolist()], aux.has_class.tolist()
      ([0.4375, 0.0], [True, False])
    """
    chex.assert_rank([embeddings, class_centers, labels], [2, 2, 1])
    chex.assert_equal_shape_prefix([embeddings, labels], 1)
    chex.assert_type(labels, int)
    margin = named_margin(margin) if isinstance(margin, str) else margin

    rows, row_labels = gather_rows(embeddings, axis_name), gather_rows(labels, axis_name)
    cosine = cosine_logits(rows, class_centers, precision=precision)  # [B, C of this device]
    classes = _class_numbers(class_centers.shape[0], axis_name)
    is_class = jnp.ones_like(classes, bool) if class_where is None else class_where
    chex.assert_shape(is_class, classes.shape)
    is_target = (row_labels[:, None] == classes[None, :]) & is_class[None, :]
    has_class = axis_sum(jnp.sum(is_target, axis=1), axis_name) > 0
    target_cosine = axis_sum(jnp.sum(jnp.where(is_target, cosine, 0.0), axis=1), axis_name)

    inputs = MarginInputs(norms=_norms(rows), state=margin_state)
    target = margin.scale * margin.target(target_cosine, inputs)
    logits = margin.scale * margin.negatives(cosine, target_cosine, inputs)
    logits = jnp.where(is_target, target[:, None], logits)
    loss = _log_sum_exp(logits, is_class, axis_name) - target
    loss = jnp.where(has_class, loss, 0.0)

    own = lambda values: own_rows(values, axis_name)  # noqa: E731
    aux = MarginSoftmaxAux(
        has_class=own(has_class),
        target_cosine=own(target_cosine),
        regularizer=jnp.zeros_like(own(loss)),
        state=margin_state,
    )
    return own(loss), aux


def _class_numbers(count: int, axis_name: str | None) -> jax.Array:
    """Global numbers `[count]` of the classes whose centres this device holds."""
    first = 0 if axis_name is None else count * jax.lax.axis_index(axis_name)
    return first + jnp.arange(count)


def _norms(rows: jax.Array) -> jax.Array:
    """Lengths `[B]`, as a measurement: no margin of this library lets gradients through it."""
    rows = jax.lax.stop_gradient(at_least_float32(rows))
    return jnp.linalg.norm(rows, axis=-1)


def _log_sum_exp(logits: jax.Array, where: jax.Array, axis_name: str | None) -> jax.Array:
    """log sum exp `[B]` over the classes of all devices; 0 for a row without any class."""
    constant = jax.lax.stop_gradient(logits)
    largest = jnp.max(constant, axis=1, where=where[None, :], initial=-jnp.inf)
    largest = axis_max(largest, axis_name)
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    # Masked logits are replaced before exp: an overflow there would poison the gradient.
    shifted = jnp.where(where[None, :], logits - largest[:, None], 0.0)
    total = jnp.sum(jnp.exp(shifted), axis=1, where=where[None, :])
    total = axis_sum(total, axis_name)
    return jnp.log(jnp.where(total > 0, total, 1.0)) + largest
