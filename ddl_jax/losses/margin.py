"""What a margin softmax is made of: one type for every margin, and the logits it gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_floats, check_integers, check_shapes
from ddl_jax.losses.cosine import at_least_float32


class MarginInputs(NamedTuple):
    """What a margin may look at besides cosines.

    Attributes:
      norms: `[B]` lengths of the embeddings, or None where a caller has only cosines.
      state: the margin's running statistics, or None for a margin without any.
      key: a random key, or None for a margin without randomness.
    """

    norms: jax.Array | None = None
    state: Any = None
    key: jax.Array | None = None


def _no_regularizer(target_cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
    del inputs
    return jnp.zeros_like(target_cosine)


class Margin(NamedTuple):
    """A margin softmax, told by what happens to the target and to the other classes.

    Every function works row by row and element by element, so that one engine can run any margin
    over all classes at once, over a device's share of them, or over one chunk after the other.

    Attributes:
      target: `(target_cosine[B], inputs) -> [B]`, the target's cosine with its margin.
      negatives: `(cosine[B, c], target_cosine[B], inputs) -> [B, c]`, the cosines of any c of the
        other classes. `target_cosine` is a constant to its gradient. The column of the target may
        be among them; what comes out there is thrown away.
      scale: the factor from cosines to logits (the field's `s`).
      initial_state: the state before the first batch; None for a margin without any.
      update: `(target_cosine[B], inputs, where[B], axis_name) -> state`, the state after a batch,
        without gradient; `where` marks the rows that have a class. None keeps the state. The new
        state is what `target` and `negatives` of the same batch see.
      regularizer: `(target_cosine[B], inputs) -> [B]`, to be added to the loss by the caller, with
        a weight.
    """

    target: Callable[[jax.Array, MarginInputs], jax.Array]
    negatives: Callable[[jax.Array, jax.Array, MarginInputs], jax.Array] = (
        lambda cosine, target_cosine, inputs: cosine
    )
    scale: float = 64.0
    initial_state: Any = None
    update: Callable[[jax.Array, MarginInputs, jax.Array, str | None], Any] | None = None
    regularizer: Callable[[jax.Array, MarginInputs], jax.Array] = _no_regularizer


def updated_inputs(
    margin: Margin,
    target_cosine: jax.Array,
    inputs: MarginInputs,
    where: jax.Array,
    axis_name: str | None = None,
) -> MarginInputs:
    """The inputs with the state after this batch; the initial state where none was given."""
    state = margin.initial_state if inputs.state is None else inputs.state
    _check_state(state, margin.initial_state)
    dtype = target_cosine.dtype
    state = jax.tree.map(lambda x: jax.lax.stop_gradient(jnp.asarray(x, dtype)), state)
    inputs = inputs._replace(state=state)
    if margin.update is None:
        return inputs
    constants = jax.tree.map(jax.lax.stop_gradient, (target_cosine, inputs))
    return inputs._replace(state=margin.update(*constants, where, axis_name))


def _check_state(state: Any, wanted: Any) -> None:
    """Refuses the state of another margin."""
    shapes, expected = (
        [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (state, wanted)
    )
    if jax.tree.structure(state) != jax.tree.structure(wanted) or shapes != expected:
        told = "no state" if wanted is None else f"{type(wanted).__name__} of shapes {expected}"
        raise AssertionError(
            f"the margin's state is {type(state).__name__} of shapes {shapes}; expected {told}"
        )


def margin_logits(
    cosine: jax.Array,
    labels: jax.Array,
    margin: Margin,
    inputs: MarginInputs | None = None,
    *,
    axis_name: str | None = None,
) -> tuple[jax.Array, Any]:
    """Logits of any margin: what `arcface_logits` and the others are made of.

    Args:
      cosine: `[B, C]` cosines.
      labels: `[B]` integers in [0, C); a row with another label has no target, so all its logits
        are those of negatives.
      margin: the margin.
      inputs: what the margin looks at besides cosines.
      axis_name: rows are the device's own part; the state is that of the global batch.

    Returns:
      `(logits[B, C], state)`: the margin's new state, None for a margin without any.

    Raises:
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> halved = losses.Margin(lambda cosine, inputs: cosine / 2, scale=10.0)
      >>> logits, state = losses.margin_logits(jnp.array([[0.5, 0.5]]), jnp.array([1]), halved)
      >>> logits.tolist(), state
      ([[5.0, 2.5]], None)
    """
    check_shapes(cosine=(cosine, "B C"), labels=(labels, "B"))
    check_floats(cosine=cosine)
    check_integers(labels=labels)
    cosine, inputs = at_least_float32(cosine), inputs or MarginInputs()
    if inputs.norms is not None:
        check_shapes(labels=(labels, "B"), norms=(inputs.norms, "B"))
        inputs = inputs._replace(norms=at_least_float32(inputs.norms))
    is_target = labels[:, None] == jnp.arange(cosine.shape[1])[None, :]
    target_cosine = jnp.sum(jnp.where(is_target, cosine, 0.0), axis=1)
    inputs = updated_inputs(margin, target_cosine, inputs, jnp.any(is_target, axis=1), axis_name)
    target = margin.target(target_cosine, inputs)
    negatives = margin.negatives(cosine, jax.lax.stop_gradient(target_cosine), inputs)
    logits = margin.scale * jnp.where(is_target, target[:, None], negatives)
    return logits, inputs.state


def sine(cosine: jax.Array) -> jax.Array:
    """sin(theta) >= 0 from cos(theta): 0 with gradient 0 where rounding left |cosine| >= 1."""
    squared = (1.0 - cosine) * (1.0 + cosine)  # exact near +-1, where 1 - c * c cancels
    inside = squared > 0
    return jnp.where(inside, jnp.sqrt(jnp.where(inside, squared, 1.0)), 0.0)


def angle(cosine: jax.Array) -> jax.Array:
    """theta in radians. arccos has an infinite derivative at +-1 and none beyond; this has 0."""
    return jnp.arctan2(sine(cosine), cosine)


# What a margin on the angle may do where the moved angle exceeds pi; see `angular_target`.
BEYOND_PI = ("monotone", "easy", "none")


def angular_target(cosine: jax.Array, margin: jax.typing.ArrayLike, beyond_pi: str) -> jax.Array:
    """cos(theta + margin), and what a reference does where it would rise again.

    "monotone" goes on with `cos(theta) - m sin(m)` where theta + m exceeds pi, "easy" takes the
    margin only where theta is below pi / 2, "none" is the formula as it stands.
    """
    moved = cosine * jnp.cos(margin) - sine(cosine) * jnp.sin(margin)
    if beyond_pi == "monotone":
        return jnp.where(cosine > -jnp.cos(margin), moved, cosine - margin * jnp.sin(margin))
    if beyond_pi == "easy":
        return jnp.where(cosine > 0, moved, cosine)
    return moved
