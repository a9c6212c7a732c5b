"""What does a training step send between devices, and does it compile for a TPU without one?

    python -m benchmarks.compiled_step --config=ms1mv3_iresnet50 --classes=93431
    python -m benchmarks.compiled_step --config=ms1mv3_iresnet50 --topology=v5e:4x4

Compiles the step of a config of `configs/` with as many rows a device whatever their number, for 1,
2, 4 and 8 forced CPU devices, or ahead of time for a TPU topology (which wants the package libtpu).
Nothing is run. Prints what every device gets from the compiled program's collectives in a step,
beside the gradients and the class centres, and the memory that the compiler plans.
"""

import argparse
import collections
import dataclasses
import importlib
import math
import re
import time

import jax
import numpy as np
from jax.sharding import Mesh

from ddl_jax import config as config_lib
from ddl_jax import parallel
from ddl_jax.training.fine_tuning import EVERYTHING
from ddl_jax.training.objective import make_objective
from ddl_jax.training.optimizer import make_optimizer
from ddl_jax.training.state import TrainState, init_state, make_card, make_module
from ddl_jax.training.step import make_train_step

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# `%name = SHAPE kind(` or, where it runs beside others, `kind-start(`.
_COLLECTIVE = re.compile(rf"= (\S.*?) ({'|'.join(_KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+)(\d+)[a-z0-9]*\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective of a compiled program: its kind, and the bytes it leaves on a device."""

    kind: str
    size: int


def collectives(program: str) -> list[Collective]:
    """The collectives of a compiled program's text; one inside a loop comes once."""
    found = []
    for shape, kind, begins in _COLLECTIVE.findall(program):
        sizes = [_bytes(*array) for array in _ARRAY.findall(shape)]
        if begins and kind != "all-reduce":  # operands stand beside the results
            sizes = sizes[len(sizes) // 2 :]
        found.append(Collective(kind, sum(sizes)))
    return found


def _bytes(kind: str, bits: str, shape: str) -> int:
    elements = math.prod(int(length) for length in shape.split(",") if length)
    return elements * max(int(bits) // 8, 1)


def lower_step(
    config: config_lib.Config, classes: int, mesh: Mesh
) -> tuple[jax.stages.Lowered, TrainState]:
    """The config's step for a mesh, of `config.batch_size` rows; and the state as shapes."""
    module, card, optimizer = make_module(config), make_card(config), make_optimizer(config)
    step = make_train_step(
        module,
        card,
        make_objective(config, classes),
        optimizer,
        seed=config.seed,
        fine_tuning=EVERYTHING,
        micro_batches=config.micro_batches,
        ema_decay=config.optimizer.ema_decay,
    )
    state = jax.eval_shape(
        lambda: init_state(config, module, card, optimizer, classes=classes, mesh=mesh)
    )
    placed = jax.tree.map(parallel.abstract, state, parallel.shardings(mesh, state))
    rows = config.batch_size, config_lib.images_of_a_row(config.batch)
    split = parallel.row_sharding(mesh)
    batch = {
        "image": jax.ShapeDtypeStruct((*rows, *card.input_size, 3), np.uint8, sharding=split),
        "label": jax.ShapeDtypeStruct(rows, np.int32, sharding=split),
    }
    return parallel.map_step(step, mesh, state, how="shard_map").lower(placed, batch), state


def size_of(tree) -> int:
    """Bytes of all arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="ms1mv3_iresnet50", help="a file of configs/")
    parser.add_argument("--classes", type=int, default=93_431, help="identities of the data")
    parser.add_argument("--rows", type=int, default=8, help="rows of a device")
    parser.add_argument("--topology", default="", help="of a TPU, e.g. v5e:4x4")
    options = parser.parse_args()
    config = importlib.import_module(f"configs.{options.config}").get_config()
    for mesh in _meshes(options.topology):
        config.batch_size = options.rows * mesh.size
        config_lib.validate(config)
        lowered, state = lower_step(config, options.classes, mesh)
        start = time.perf_counter()
        compiled = lowered.compile()
        _report(mesh, compiled, state, time.perf_counter() - start)


def _meshes(topology: str) -> list[Mesh]:
    if topology:
        from jax.experimental import topologies

        described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
        return [parallel.mesh_of(described.devices)]
    jax.config.update("jax_num_cpu_devices", 8)
    return [parallel.make_mesh(count) for count in (1, 2, 4, 8)]


def _report(mesh: Mesh, compiled: jax.stages.Compiled, state: TrainState, seconds: float) -> None:
    sizes = collections.Counter()
    found = collectives(compiled.as_text())
    for one in found:
        sizes[one.kind] += one.size
    kinds = ", ".join(f"{kind} {size / 2**20:.2f} MiB" for kind, size in sizes.items()) or "nothing"
    memory = compiled.memory_analysis()
    planned = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    largest = max((one.size for one in found), default=0)
    print(
        f"{mesh.size} x {mesh.devices.flat[0].device_kind}: compiled in {seconds:.0f} s, "
        f"{planned / 2**30:.2f} GiB a device; {len(found)} collectives: {kinds}; the largest "
        f"{largest / 2**20:.2f} MiB; the backbone's gradients "
        f"{size_of(state.params['backbone']) / 2**20:.2f} MiB, class centres "
        f"{size_of(state.params['heads']) / 2**20:.2f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
