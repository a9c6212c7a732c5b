"""Reductions over a mapped axis that do nothing where there is none."""

import jax
import jax.numpy as jnp


def axis_sum(value: jax.Array, axis_name: str | None) -> jax.Array:
    """The sum over the devices of `axis_name`; the value itself when it is None."""
    return value if axis_name is None else jax.lax.psum(value, axis_name)


def axis_max(value: jax.Array, axis_name: str | None) -> jax.Array:
    """The maximum over the devices of `axis_name`; not differentiable."""
    return value if axis_name is None else jax.lax.pmax(value, axis_name)


def gather_rows(rows: jax.Array, axis_name: str | None) -> jax.Array:
    """All rows `[B, ...]` of the global batch, in order, from the device's own `[B/N, ...]`."""
    return rows if axis_name is None else jax.lax.all_gather(rows, axis_name, tiled=True)


def own_rows(rows: jax.Array, axis_name: str | None) -> jax.Array:
    """The device's own part of rows that every device holds: the inverse of `gather_rows`."""
    if axis_name is None:
        return rows
    size = rows.shape[0] // jax.lax.axis_size(axis_name)
    first = size * jax.lax.axis_index(axis_name)
    return jax.lax.dynamic_slice_in_dim(rows, first, size)


def own_numbers(count: int, axis_name: str | None) -> jax.Array:
    """Global numbers `[count]` of the rows, or classes, of which every device holds `count`."""
    first = 0 if axis_name is None else count * jax.lax.axis_index(axis_name)
    return first + jnp.arange(count)


def is_other_row(own: int, everyone: int, axis_name: str | None) -> jax.Array:
    """`[own, everyone]` bool, False where a row of the global batch is the own row itself."""
    return jnp.arange(everyone)[None, :] != own_numbers(own, axis_name)[:, None]


def varies_over(x: jax.Array) -> frozenset[str]:
    """The axes of a `jax.shard_map` with `check_vma=True` over which x differs; else none."""
    return frozenset(jax.typeof(x).mat.varying)
