"""How fast is a training step, and how much of it is the network alone?

    python -m benchmarks.train_step --network=iresnet50 --batch=128 --dtype=bfloat16

Prints images/s of the whole step (forward, sharded margin softmax, backward, SGD) on all devices,
and its time as a ratio to forward and backward of the backbone alone, measured in turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ddl_jax import parallel
from ddl_jax.config import Config, Model
from ddl_jax.training.objective import make_objective
from ddl_jax.training.optimizer import make_optimizer
from ddl_jax.training.state import init_state, make_card, make_module
from ddl_jax.training.step import make_train_step


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
        times["whole"].append(_seconds(whole))
        times["backbone"].append(_seconds(backbone))
    step = statistics.median(times["whole"])
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    device = jax.devices()[0]
    print(f"{jax.device_count()} x {device.device_kind}, jax {jax.__version__}, {vars(options)}")
    print(f"{options.batch / step:.0f} images/s, {1000 * step:.1f} ms a step")
    print(f"{statistics.median(ratios):.3f} times the backbone's forward and backward")


def _steps(options: argparse.Namespace) -> tuple[Callable, Callable]:
    """Two functions without arguments that each run one step and return something to wait for."""
    config = Config(batch_size=options.batch)
    config.model = Model(
        name=options.network, dtype=options.dtype, input_size=(options.size, options.size)
    )
    mesh = parallel.make_mesh()
    module, card = make_module(config), make_card(config)
    optimizer = make_optimizer(config.optimizer)
    state = init_state(
        config,
        module,
        card,
        optimizer,
        classes=options.classes,
        mesh=mesh,
    )
    step = make_train_step(module, card, make_objective(config, options.classes), optimizer, seed=0)
    mapped = parallel.map_step(step, mesh, state, how="shard_map")
    rng = np.random.default_rng(0)
    shape = (options.batch, 1, *card.input_size, 3)
    batch = parallel.global_batch(
        mesh,
        {
            "image": rng.integers(0, 256, shape, dtype=np.uint8),
            "label": rng.integers(0, options.classes, shape[:2]).astype(np.int32),
        },
    )
    holder = [state]

    def whole():
        holder[0], metrics = mapped(holder[0], batch)
        return metrics

    return whole, _backbone_only(module, card, state, mesh, batch)


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


def _seconds(step: Callable, repeat: int = 5) -> float:
    """Seconds of one run, after one that does not count."""
    jax.block_until_ready(step())
    start = time.perf_counter()
    for _ in range(repeat):
        last = step()
    jax.block_until_ready(last)
    return (time.perf_counter() - start) / repeat


if __name__ == "__main__":
    main()
