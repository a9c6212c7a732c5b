"""The sum over all other classes in a margin softmax, whole or chunk by chunk, on any devices.

Everything of `margin_softmax_loss` that has the size of the classes is here. Rows are those of the
global batch, classes those of this device; what comes out is of the global batch and all classes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_max, axis_sum, own_numbers
from ddl_jax.losses.cosine import cosine_of_unit_rows, unit_vectors
from ddl_jax.losses.margin import Margin, MarginInputs, updated_inputs

# Below every logit, yet finite: the log of an empty sum must not be -inf.
_LOWEST = -1e30


class ClassCenters(NamedTuple):
    """The classes of this device.

    Attributes:
      centers: `[C, D]` or, with sub-centres, `[C, M, D]`, not normalised.
      where: `[C]` bool, which of them are classes.
      axis_name: the mapped axis over which the classes are split; None when all are here.
      precision: of the product with the rows.
    """

    centers: jax.Array
    where: jax.Array
    axis_name: str | None
    precision: jax.lax.PrecisionLike

    @property
    def numbers(self) -> jax.Array:
        """Global numbers `[C]` of the classes."""
        return own_numbers(self.centers.shape[0], self.axis_name)


class ClassSoftmax(NamedTuple):
    """What the loss of a row is made of.

    Attributes:
      has_class: `[B]` bool, whether the label is one of the classes.
      target_cosine: `[B]`, 0 for a row without class.
      log_sum_others: `[B]`, log of the sum of e^logit over the other classes.
      state: the margin's new state.
    """

    has_class: jax.Array
    target_cosine: jax.Array
    log_sum_others: jax.Array
    state: Any


def dense_softmax(
    unit_rows: jax.Array,
    labels: jax.Array,
    classes: ClassCenters,
    margin: Margin,
    inputs: MarginInputs,
) -> ClassSoftmax:
    """All logits `[B, C]` at once; the definition that the chunked form is tested against."""
    cosine = cosine_of_unit_rows(unit_rows, classes.centers, precision=classes.precision)
    is_target = _is_target(labels, classes.numbers, classes.where)
    has_class = axis_sum(jnp.sum(is_target, axis=1), classes.axis_name) > 0
    target_cosine = jnp.sum(jnp.where(is_target, cosine, 0.0), axis=1)
    target_cosine = axis_sum(target_cosine, classes.axis_name)
    inputs = updated_inputs(margin, target_cosine, inputs, has_class)
    constant = jax.lax.stop_gradient(target_cosine)
    logits = margin.scale * margin.negatives(cosine, constant, inputs)
    others = classes.where[None, :] & ~is_target
    # The shift cancels, so it is a constant; masked logits are replaced before exp, for an overflow
    # there would poison the gradient.
    largest = jnp.max(jax.lax.stop_gradient(logits), axis=1, where=others, initial=_LOWEST)
    largest = axis_max(largest, classes.axis_name)
    shifted = jnp.where(others, logits - largest[:, None], 0.0)
    total = axis_sum(jnp.sum(jnp.exp(shifted), axis=1, where=others), classes.axis_name)
    return ClassSoftmax(has_class, target_cosine, _log(total, largest), inputs.state)


def chunked_softmax(
    unit_rows: jax.Array,
    labels: jax.Array,
    classes: ClassCenters,
    margin: Margin,
    inputs: MarginInputs,
    *,
    chunk: int,
) -> ClassSoftmax:
    """The same with at most `chunk` columns of logits at a time, forward and backward."""
    chunk = min(chunk, classes.centers.shape[0])

    # Differentiated: rows, centres and lengths. What else is an array comes along as a constant.
    @jax.custom_vjp
    def softmax(unit_rows, centers, norms, constants):
        return _forward(unit_rows, *_unpacked(centers, norms, constants))

    def forward(unit_rows, centers, norms, constants):
        found = softmax(unit_rows, centers, norms, constants)
        return found, (unit_rows, centers, norms, constants, found)

    def backward(residuals, gradients):
        unit_rows, centers, norms, constants, found = residuals
        unpacked = _unpacked(centers, norms, constants)
        return (*_backward(unit_rows, found, gradients, *unpacked), None)

    def _unpacked(centers, norms, constants):
        labels, where, others = constants
        held = classes._replace(centers=centers, where=where)
        return labels, held, margin, others._replace(norms=norms), chunk

    softmax.defvjp(forward, backward)
    constants = (labels, classes.where, inputs._replace(norms=None))
    return softmax(unit_rows, classes.centers, inputs.norms, constants)


class _Chunk(NamedTuple):
    """Consecutive classes: the first, which of them are new, and masks `[B, c]`."""

    first: jax.Array
    is_new: jax.Array
    centers: jax.Array
    is_target: jax.Array
    others: jax.Array


def _chunk_at(number: jax.Array, labels: jax.Array, classes: ClassCenters, size: int) -> _Chunk:
    """The last chunk goes back where it would run over the end, and masks what it repeats."""
    wanted = number * size
    first = jnp.minimum(wanted, classes.centers.shape[0] - size)
    cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size)
    is_new = first + jnp.arange(size) >= wanted
    where = cut(classes.where) & is_new
    is_target = _is_target(labels, cut(classes.numbers), where)
    return _Chunk(first, is_new, cut(classes.centers), is_target, where[None, :] & ~is_target)


def _chunk_numbers(classes: ClassCenters, size: int) -> jax.Array:
    return jnp.arange(-(-classes.centers.shape[0] // size))


def _forward(
    unit_rows: jax.Array,
    labels: jax.Array,
    classes: ClassCenters,
    margin: Margin,
    inputs: MarginInputs,
    chunk: int,
) -> ClassSoftmax:
    has_class, target_cosine = _targets(unit_rows, labels, classes)
    inputs = updated_inputs(margin, target_cosine, inputs, has_class)

    def add(sums, number):
        largest, total = sums
        part = _chunk_at(number, labels, classes, chunk)
        cosine = cosine_of_unit_rows(unit_rows, part.centers, precision=classes.precision)
        logits = margin.scale * margin.negatives(cosine, target_cosine, inputs)
        now = jnp.maximum(largest, jnp.max(logits, axis=1, where=part.others, initial=_LOWEST))
        added = jnp.sum(jnp.exp(logits - now[:, None]), axis=1, where=part.others)
        return (now, total * jnp.exp(largest - now) + added), None

    start = jnp.full_like(target_cosine, _LOWEST), jnp.zeros_like(target_cosine)
    (own_largest, total), _ = jax.lax.scan(add, start, _chunk_numbers(classes, chunk))
    largest = axis_max(own_largest, classes.axis_name)
    total = axis_sum(total * jnp.exp(own_largest - largest), classes.axis_name)
    return ClassSoftmax(has_class, target_cosine, _log(total, largest), inputs.state)


def _backward(
    unit_rows: jax.Array,
    found: ClassSoftmax,
    gradients: ClassSoftmax,
    labels: jax.Array,
    classes: ClassCenters,
    margin: Margin,
    inputs: MarginInputs,
    chunk: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of rows, centres and lengths: the softmax is made again, chunk by chunk."""
    # Every device holds these results, so every device's gradient of them counts: a sum's gradient.
    of_target = axis_sum(gradients.target_cosine, classes.axis_name)
    of_sum = axis_sum(gradients.log_sum_others, classes.axis_name)
    inputs = inputs._replace(state=found.state)

    def logits_of(cosine, norms):
        of_row = inputs._replace(norms=norms)
        return margin.scale * margin.negatives(cosine, found.target_cosine, of_row)

    def add(sums, number):
        rows, centers, norms = sums
        part = _chunk_at(number, labels, classes, chunk)
        cosine_of = functools.partial(cosine_of_unit_rows, precision=classes.precision)
        cosine, cosine_vjp = jax.vjp(cosine_of, unit_rows, part.centers)
        logits, logits_vjp = jax.vjp(logits_of, cosine, inputs.norms)
        share = jnp.exp(logits - found.log_sum_others[:, None])
        of_cosine, of_norms = logits_vjp(jnp.where(part.others, share * of_sum[:, None], 0.0))
        of_cosine = jnp.where(part.is_target, of_target[:, None], of_cosine)
        of_rows, of_centers = cosine_vjp(of_cosine)
        old = jax.lax.dynamic_slice_in_dim(centers, part.first, chunk)
        is_new = part.is_new.reshape(-1, *[1] * (old.ndim - 1))
        of_centers = jnp.where(is_new, of_centers, old)
        centers = jax.lax.dynamic_update_slice_in_dim(centers, of_centers, part.first, 0)
        return (rows + of_rows, centers, norms + of_norms), None

    start = jax.tree.map(jnp.zeros_like, (unit_rows, classes.centers, inputs.norms))
    sums, _ = jax.lax.scan(add, start, _chunk_numbers(classes, chunk))
    return sums


def _targets(
    unit_rows: jax.Array, labels: jax.Array, classes: ClassCenters
) -> tuple[jax.Array, jax.Array]:
    """Whether each row has a class on any device, and the cosine with it."""
    count = classes.centers.shape[0]
    own = labels - classes.numbers[0]
    safe = jnp.clip(own, 0, count - 1)
    is_own = (own >= 0) & (own < count) & classes.where[safe]
    product = jnp.einsum(
        "bd,b...d->b...",
        unit_rows,
        unit_vectors(classes.centers[safe]),
        precision=classes.precision,
    )
    cosine = product if product.ndim == 1 else jnp.max(product, axis=1)
    cosine = axis_sum(jnp.where(is_own, cosine, 0.0), classes.axis_name)
    return axis_sum(is_own.astype(jnp.int32), classes.axis_name) > 0, cosine


def _is_target(labels: jax.Array, numbers: jax.Array, where: jax.Array) -> jax.Array:
    return (labels[:, None] == numbers[None, :]) & where[None, :]


def _log(total: jax.Array, largest: jax.Array) -> jax.Array:
    """log of `total * e^largest`; of an empty sum, with gradient 0, what stands for its largest."""
    return jnp.log(jnp.where(total > 0, total, 1.0)) + largest
