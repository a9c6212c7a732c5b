"""The margin softmax loss: any margin, over class centres held whole, sharded or in chunks."""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import gather_rows, own_rows, varies_over
from ddl_jax.losses.checks import (
    check_booleans,
    check_floats,
    check_integers,
    check_shapes,
    check_whole,
)
from ddl_jax.losses.class_softmax import ClassCenters, chunked_softmax, dense_softmax
from ddl_jax.losses.cosine import at_least_float32, lengths, unit_vectors
from ddl_jax.losses.margin import Margin, MarginInputs
from ddl_jax.losses.named_margin import margin_of


@chex.dataclass(frozen=True)
class MarginSoftmaxAux:
    """What `margin_softmax_loss` knows besides the loss; rows are the caller's own rows.

    Attributes:
      has_class: `[B]` bool, whether the row's label is one of the classes (and not masked out).
      target_cosine: `[B]` cosine with the row's own class centre, before the margin; 0 without one.
      regularizer: `[B]` the margin's own regularizer, unweighted; 0 for margins that have none and
        for rows without a class.
      state: the margin's new state, the same on every device; None for margins that have none.
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
    key: jax.Array | None = None,
    class_chunk: int | None = None,
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
    besides the rows only numbers of one a row cross the devices. `jax.shard_map` needs
    `check_vma=False`; see the package's docstring on gradients.

    With `class_chunk` no array of [B, C] exists, forward or backward: logits are made chunk
    by chunk, and again for the gradient, a third more arithmetic. The gradient of the centres is
    written in place. That form has a derivative of its own, in reverse mode and of first order,
    with respect to embeddings and class centres: to learn a margin's hyper-parameter, such as the
    scale of NormFace, take the dense form. Centres that plain jit splits over devices by their
    sharding are gathered by it; `axis_name` keeps them where they are.

    Args:
      embeddings: `[B, D]`, not normalised.
      class_centers: `[C, D]`, not normalised. Or `[C, M, D]` with M sub-centres a class, whose
        largest cosine is that of the class: sub-centre ArcFace (Deng et al. 2020), or any margin.
      labels: `[B]` integers: global class numbers, also when the centres are sharded.
      margin: a margin's name (with its default options) or a `Margin`.
      margin_state: state of a margin that keeps running statistics; None before the first batch.
      key: for a margin that draws at random; the same on every device.
      class_chunk: how many classes are looked at at a time, any number; None for all.
      class_where: `[C]` bool, False for rows of `class_centers` that are not classes (padding).
      axis_name: the mapped axis over which rows and class centres are split.
      precision: of the product of embeddings and class centres.

    Returns:
      `(loss[B], aux)`. A row whose label is outside [0, C), or masked out, has loss 0 and is False
      in `aux.has_class`; it does not enter the margin's statistics.

    Raises:
      ValueError: unknown margin name, a chunk below 1, or a margin misses its key; or chunks in a
        `jax.shard_map` without `check_vma=False`.
      AssertionError: ranks, shapes or types do not fit, or the state is another margin's.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> loss, aux = losses.margin_softmax_loss(
      ...     jnp.eye(2), jnp.eye(2), jnp.array([0, 5]), margin=losses.cosface_margin(scale=1.0))
      >>> [round(x, 4) for x in loss.tolist()], aux.has_class.tolist()
      ([0.4375, 0.0], [True, False])

    References:
      Deng et al., Sub-center ArcFace, ECCV 2020.
    """
    embeddings, class_centers, labels = map(jnp.asarray, (embeddings, class_centers, labels))
    where = jnp.ones(class_centers.shape[:1], bool) if class_where is None else class_where
    _check_arrays(embeddings, class_centers, labels, where)
    margin = margin_of(margin)
    if axis_name in varies_over(embeddings) - varies_over(class_centers):
        raise ValueError(
            f"class_centers is the same on every device of {axis_name!r}, whose copies would count "
            "as other classes; give every device its own part of them"
        )
    if class_chunk is not None:
        _check_chunk(class_chunk, embeddings)

    rows, row_labels = gather_rows(embeddings, axis_name), gather_rows(labels, axis_name)
    # Widened once, here: directions and lengths both send gradients back, to be added in float32.
    rows = at_least_float32(rows)
    classes = ClassCenters(class_centers, where, axis_name, precision)
    inputs = MarginInputs(norms=lengths(rows), state=margin_state, key=key)
    if class_chunk is None:
        found = dense_softmax(unit_vectors(rows), row_labels, classes, margin, inputs)
    else:
        found = chunked_softmax(
            unit_vectors(rows), row_labels, classes, margin, inputs, chunk=class_chunk
        )
    inputs = inputs._replace(state=found.state)
    target = margin.scale * margin.target(found.target_cosine, inputs)
    # log(e^target + e^others) - target, exact also where the target has all the probability.
    loss = jnp.where(found.has_class, jax.nn.softplus(found.log_sum_others - target), 0.0)
    regularizer = margin.regularizer(found.target_cosine, inputs)
    own = lambda values: own_rows(values, axis_name)  # noqa: E731
    aux = MarginSoftmaxAux(
        has_class=own(found.has_class),
        target_cosine=own(found.target_cosine),
        regularizer=own(jnp.where(found.has_class, regularizer, 0.0)),
        state=found.state,
    )
    return own(loss), aux


def _check_arrays(
    embeddings: jax.Array, class_centers: jax.Array, labels: jax.Array, where: jax.Array
) -> None:
    of_classes = "C M D" if class_centers.ndim == 3 else "C D"
    check_shapes(
        embeddings=(embeddings, "B D"),
        labels=(labels, "B"),
        class_centers=(class_centers, of_classes),
        class_where=(where, "C"),
    )
    check_floats(embeddings=embeddings, class_centers=class_centers)
    check_integers(labels=labels)
    check_booleans(class_where=where)
    if len(class_centers) == 0:
        raise AssertionError(f"class_centers has shape {class_centers.shape}; expected a class")


def _check_chunk(class_chunk: int, rows: jax.Array) -> None:
    check_whole("class_chunk", class_chunk, 1, why="or None for all")
    # Under this check jax adds up cotangents by itself, which a derivative of one's own must know.
    if varies_over(rows):
        raise ValueError("class_chunk in jax.shard_map needs check_vma=False there")
