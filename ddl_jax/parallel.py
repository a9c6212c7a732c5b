"""Devices: the mesh, mapping the per-device step, the gradient rule, global arrays.

A training step is written once, for one device, with the axis `AXIS`. Here it is mapped over the
devices, by `jax.shard_map` or by `jax.pmap`; nothing of either's layout leaves this file. Rows of a
batch and class centres are split over the axis, everything else is the same on every device.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ddl_jax.errors import UserError

AXIS = "data"
Result = TypeVar("Result")


def make_mesh(devices: int = 0) -> Mesh:
    """A mesh of the first `devices` devices of all processes, or of all of them for 0."""
    available = jax.devices()
    if devices > len(available):
        raise UserError(f"config.devices is {devices} but this machine has {len(available)}")
    return mesh_of(available[: devices or len(available)])


def mesh_of(devices: Sequence[jax.Device]) -> Mesh:
    """The mesh of some devices, those of a process side by side and processes in their order.

    Process p holds the p-th part of the rows of a batch. `jax.make_mesh` would follow the wires of
    a TPU instead, and rows would change places without a word.
    """
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    # Not jax's default of explicit axes: Linen's Dropout does not run under those.
    return Mesh(np.array(ordered), (AXIS,), axis_types=(AxisType.Auto,))


def check_divides(mesh: Mesh, rows: int, classes: int) -> None:
    """Refuses what cannot be split evenly over the mesh."""
    if classes % mesh.size:
        raise UserError(
            f"{mesh.size} devices cannot share {classes} class rows evenly; "
            "set config.devices to a power of two"
        )
    if rows % mesh.size:
        raise UserError(
            f"config.batch_size is {rows}, which {mesh.size} devices cannot share evenly; "
            f"take a multiple of {mesh.size} or set config.devices"
        )


def is_sharded(path: tuple[Any, ...]) -> bool:
    """Whether the leaf at this path of a state is split over the devices: class centres are.

    The optimizer's momentum follows: its tree repeats the parameters' names.
    """
    return bool(path) and getattr(path[-1], "key", None) == "class_centers"


def shardings(mesh: Mesh, tree: Any) -> Any:
    """The `NamedSharding` of every leaf of a state."""
    split, whole = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())
    return jax.tree.map_with_path(lambda path, _: split if is_sharded(path) else whole, tree)


def abstract(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    """The shape, type and placement of an array, without the array."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def row_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: rows split over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def global_batch(mesh: Mesh, batch: Any) -> Any:
    """The global arrays of a batch of which every process holds its own contiguous rows."""
    sharding = row_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def wait_for_all(what: str) -> None:
    """Returns when every process has come here; `what` names the place in an error."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def first_alone(do: Callable[[], Result]) -> Result:
    """Does the same in every process, in process 0 before the others, who find what it has made."""
    if jax.process_index() == 0:
        result = do()
        wait_for_all("process 0")
        return result
    wait_for_all("process 0")
    return do()


def hosts() -> list[str]:
    """The names of the hosts of all processes, in their order."""
    name = np.zeros(64, np.uint8)
    encoded = socket.gethostname().encode()[: len(name)]
    name[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    names = multihost_utils.process_allgather(name).reshape(-1, len(name))
    return [bytes(row[row > 0]).decode(errors="replace") for row in np.asarray(names)]


def reduce_gradients(gradients: Any) -> Any:
    """The gradient of the global loss from the gradients taken inside the map.

    Inside the map every device returns the loss of the global batch, and the derivative taken there
    is that of the *sum* over the N devices. Hence the mean over the axis for a replicated leaf. A
    device holds all there is of a sharded leaf: it divides by N; without that, class centres would
    learn N times too fast.
    """
    count = jax.lax.axis_size(AXIS)

    def reduce(path: tuple[Any, ...], gradient: jax.Array) -> jax.Array:
        return gradient / count if is_sharded(path) else jax.lax.pmean(gradient, AXIS)

    return jax.tree.map_with_path(reduce, gradients)


def global_norm(tree: Any) -> jax.Array:
    """Euclidean norm of a whole reduced gradient or state, of which this device may hold a part."""

    def squares(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        own = jnp.sum(jnp.square(leaf))
        return jax.lax.psum(own, AXIS) if is_sharded(path) else own

    return jnp.sqrt(sum(jax.tree.leaves(jax.tree.map_with_path(squares, tree))))


def map_step(
    step: Callable[[Any, Any], tuple[Any, Any]], mesh: Mesh, state: Any, *, how: str
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Maps a per-device `step(state, batch) -> (state, metrics)` over the mesh and compiles it.

    Args:
      step: uses the axis `AXIS`; metrics are equal on every device.
      mesh: of `make_mesh`.
      state: the state, or its shapes: only its paths are looked at.
      how: "shard_map" or "pmap".

    Returns:
      A function of the global state, which is donated, and the global batch.
    """
    mapped = {"shard_map": _by_shard_map, "pmap": _by_pmap}[how](step, mesh, state)
    placed, whole = shardings(mesh, state), NamedSharding(mesh, PartitionSpec())
    return jax.jit(mapped, out_shardings=(placed, whole), donate_argnums=0)


def _by_shard_map(step: Callable, mesh: Mesh, state: Any) -> Callable:
    specs = jax.tree.map(lambda sharding: sharding.spec, shardings(mesh, state))
    return jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(specs, PartitionSpec(AXIS)),
        out_specs=(specs, PartitionSpec()),
        check_vma=False,  # replication is reduce_gradients' business, as it must be under pmap
    )


def _by_pmap(step: Callable, mesh: Mesh, state: Any) -> Callable:
    axes = jax.tree.map_with_path(lambda path, _: 0 if is_sharded(path) else None, state)
    devices = list(np.ravel(mesh.devices))
    pmapped = jax.pmap(
        step, axis_name=AXIS, in_axes=(axes, 0), out_axes=(axes, None), devices=devices
    )

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(mesh.size, x.shape[0] // mesh.size, *x.shape[1:])

    def mapped(state: Any, batch: Any) -> tuple[Any, Any]:
        # pmap wants a leading device axis on what is split; the rest of the program never sees it.
        state = jax.tree.map_with_path(lambda p, x: split(x) if is_sharded(p) else x, state)
        state, metrics = pmapped(state, jax.tree.map(split, batch))
        join = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
        state = jax.tree.map_with_path(lambda p, x: join(x) if is_sharded(p) else x, state)
        return state, metrics

    return mapped
