"""How fast is a training step, and how much of it is the network alone?

    python -m benchmarks.train_step --network=iresnet50 --batch=128 --dtype=bfloat16

Prints images/s of the whole step (forward, sharded margin softmax, backward, SGD) on all devices,
and its time as a ratio to forward and backward of the backbone alone, measured in turns.
"""

import argparse
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.whole_step import JaxStep, Task, seconds
from ddl_jax import parallel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="iresnet_tiny")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    whole, backbone = _steps(options)
    times = {"whole": [], "backbone": []}
    for _ in range(options.rounds):  # in turns: a busy machine slows both alike
        times["whole"].append(seconds(whole, jax.block_until_ready, 5))
        times["backbone"].append(seconds(backbone, jax.block_until_ready, 5))
    step = statistics.median(times["whole"])
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    device = jax.devices()[0]
    print(f"{jax.device_count()} x {device.device_kind}, jax {jax.__version__}, {vars(options)}")
    print(f"{options.batch / step:.0f} images/s, {1000 * step:.1f} ms a step")
    print(f"{statistics.median(ratios):.3f} times the backbone's forward and backward")


def _steps(options: argparse.Namespace) -> tuple[Callable, Callable]:
    """Two functions without arguments that each run one step and return something to wait for."""
    task = Task(
        options.network,
        options.batch,
        options.classes,
        options.size,
        options.dtype,
        precision="highest",
    )
    whole = JaxStep(task)
    return whole, _backbone_only(whole.module, whole.card, whole.state, whole.mesh, whole.batch)


def _backbone_only(module, card, state, mesh, batch) -> Callable:
    variables = {"params": state.params["backbone"], "batch_stats": state.batch_stats}
    variables = jax.tree.map(jnp.copy, variables)  # the whole step donates its state

    def device_step(params, batch):
        def loss_of(params):
            images = card.normalise(batch["image"][:, 0])
            embeddings, _ = module.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(jnp.square(embeddings))

        gradients = parallel.reduce_gradients(jax.grad(loss_of)(params))
        return params, {"norm": parallel.global_norm(gradients)}

    # Donated and handed back unchanged: the map expects a state.
    holder = [variables["params"]]
    mapped = parallel.map_step(device_step, mesh, holder[0], how="shard_map")

    def run():
        holder[0], metrics = mapped(holder[0], batch)
        return metrics

    return run


if __name__ == "__main__":
    main()
