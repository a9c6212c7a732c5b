"""Relations between rows that a common factor does not change, finite for every norm."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_max
from ddl_jax.losses.cosine import SMALLEST_NORM, at_least_float32


def without_scale(rows: jax.Array, axis_name: str | None) -> jax.Array:
    """Divides all rows by the largest entry of the global batch.

    For relations between rows that a common factor does not change: their gradient does not change
    either, and nothing overflows. The factor is a constant to the gradient.

    Args:
      rows: `[b, D]`.
      axis_name: rows are the device's own part of the batch.

    Returns:
      `[b, D]` in float32 or wider; zeros, with gradient zero, when no entry reaches 1e-12.

    Examples:
      >>> import jax.numpy as jnp
      >>> without_scale(jnp.array([[1e30, 0.0], [5e29, 0.0]]), None).tolist()
      [[1.0, 0.0], [0.5, 0.0]]
    """
    x = at_least_float32(rows)
    largest = axis_max(jax.lax.stop_gradient(jnp.max(jnp.abs(x))), axis_name)
    usable = largest >= SMALLEST_NORM
    return jnp.where(usable, x / jnp.where(usable, largest, 1.0), 0.0)
