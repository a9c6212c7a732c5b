"""What a derivative of our own needs inside a `jax.shard_map` that follows what varies.

With jax's default of `check_vma=True` the gradient of an array must vary over the same devices as
the array: that of a parameter, which is the same everywhere, is the sum over the devices. jax adds
these sums where it differentiates itself, but cannot look into a `jax.custom_vjp`.
"""

import jax


def vary_together(*arrays: jax.Array | None) -> tuple[jax.Array | None, ...]:
    """The arrays, each marked as varying over all axes over which one of them varies.

    The derivative of the mark is the sum over the axes it adds, so that it belongs on what goes
    into a `jax.custom_vjp`. Outside a `shard_map`, or with `check_vma=False`, nothing varies and
    nothing is done: the sums are the caller's then.
    """
    axes = frozenset().union(*(_axes(x) for x in arrays if x is not None))

    def mark(x: jax.Array | None) -> jax.Array | None:
        missing = () if x is None else tuple(sorted(axes - _axes(x)))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return tuple(mark(x) for x in arrays)


def _axes(x: jax.Array) -> frozenset[str]:
    return frozenset(jax.typeof(x).mat.varying)
