"""How long do the losses take, and how much memory?

    python -m benchmarks.losses ddl                         (needs PyTorch: pip install torch)
    python -m benchmarks.losses classes --classes=100000
    python -m benchmarks.losses memory --classes=1000000

`ddl`: the Distribution Distillation Loss, forward and backward, with one student, beside a
straightforward PyTorch implementation of the same formula, in turns, for several batch sizes; and
what a compiled call takes that only adds its input up and returns a gradient of ones.

`classes`: the margin softmax in chunks beside the dense form, forward and backward, in turns.

`memory`: what the compiler sets aside for either form besides arguments and gradients; compiles
only, so any number of classes can be asked for.
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.race import race
from ddl_jax import losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("ddl", "classes", "memory"))
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 256, 1024], help="ddl")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--size", type=int, default=512, help="of an embedding")
    parser.add_argument("--margin", default="arcface", choices=losses.MARGIN_NAMES)
    parser.add_argument("--precision", default=None, choices=("default", "high", "highest"))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {vars(options)}")
    {"ddl": _ddl, "classes": _classes, "memory": _memory}[options.what](options)


def _medians(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    return {name: statistics.median(spent) for name, spent in race(functions, rounds).items()}


def _ddl(options: argparse.Namespace) -> None:
    for batch in options.batches:
        faces = np.random.default_rng(0).normal(size=(2, 3, batch, options.size))
        faces = faces.astype(np.float32)
        faces[:, 2] += 2.0 * faces[:, 1]  # positive pairs
        ours, theirs = _jax_ddl(faces), _torch_ddl(faces)
        values = np.array([float(function()[0]) for function in (ours, theirs)])
        if abs(values[0] - values[1]) > 1e-3:
            raise AssertionError(f"the two implementations differ: {values}")
        least = functools.partial(jax.jit(jax.value_and_grad(jnp.sum)), jnp.asarray(faces))
        spent = _medians({"jax": ours, "torch": theirs, "least": least}, options.rounds)
        ratio = spent["torch"] / spent["jax"]
        print(
            f"b={batch}: jax {spent['jax']:.2f} ms, torch {spent['torch']:.2f}, {ratio:.1f} times; "
            f"the least call {spent['least']:.2f}"
        )


def _jax_ddl(faces: np.ndarray) -> Callable[[], Any]:
    @jax.jit
    @jax.value_and_grad
    def loss(faces):
        easy, hard = (losses.pair_similarities(*domain) for domain in faces)
        return losses.distribution_distillation_loss(easy, [hard])[0]

    return functools.partial(loss, jnp.asarray(faces))


def _torch_ddl(faces: np.ndarray) -> Callable[[], Any]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    leaf = torch.tensor(faces, device=device, requires_grad=True)
    nodes = torch.linspace(-1.0, 1.0, 101, device=device)

    def similarities(domain):
        single, first, second = torch.nn.functional.normalize(domain, dim=-1)
        positive = (first * second).sum(dim=-1)
        cosine = single @ single.T
        itself = torch.eye(len(single), dtype=torch.bool, device=device)
        cosine = cosine.masked_fill(itself, -2.0)
        return positive[positive > 0], cosine.max(dim=1).values

    def histogram(values):
        bumps = torch.exp(-50.0 * (values[:, None] - nodes) ** 2).sum(dim=0)
        return bumps / bumps.sum() + 1e-9

    def divergence(p, q):
        return (p * (p / q).log()).sum()

    def run():
        leaf.grad = None
        domains = [similarities(domain) for domain in leaf]
        positive, negative = ([histogram(d[i]) for d in domains] for i in range(2))
        order = sum(n.mean() - p.mean() for _, n in domains for p, _ in domains)
        loss = 0.1 * divergence(*positive) + 0.02 * divergence(*negative) + 0.5 * order
        loss.backward()
        return float(loss.detach()), leaf.grad

    return run


def _softmax(options: argparse.Namespace, class_chunk: int | None) -> Callable:
    """Compiled forward and backward of the mean loss: value, gradients of rows and centres."""

    def mean(rows, centers, labels):
        loss, _ = losses.margin_softmax_loss(
            rows,
            centers,
            labels,
            margin=options.margin,
            key=jax.random.key(0),
            class_chunk=class_chunk,
            precision=options.precision,
        )
        return jnp.mean(loss)

    rows, classes, size = options.rows, options.classes, options.size
    shapes = [((rows, size), jnp.float32), ((classes, size), jnp.float32), ((rows,), jnp.int32)]
    arrays = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    return jax.jit(jax.value_and_grad(mean, argnums=(0, 1))).lower(*arrays).compile()


def _classes(options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.normal(size=(options.rows, options.size)), jnp.float32)
    centers = jax.random.normal(jax.random.key(0), (options.classes, options.size))
    labels = jnp.asarray(rng.integers(0, options.classes, options.rows), jnp.int32)
    forms = {"dense": _softmax(options, None), "chunks": _softmax(options, options.chunk)}
    spent = _medians(
        {name: functools.partial(form, rows, centers, labels) for name, form in forms.items()},
        options.rounds,
    )
    products = 6 * options.rows * options.classes * options.size  # forward 2, backward 4
    for name, milliseconds in spent.items():
        print(f"{name}: {milliseconds:.1f} ms, {products / milliseconds / 1e9:.2f} TFLOP/s useful")
    print(f"chunks take {spent['chunks'] / spent['dense']:.2f} times as long")


def _memory(options: argparse.Namespace) -> None:
    gradients = 4 * options.size * (options.classes + options.rows)
    found = {}
    for name, chunk in (("dense", None), ("chunks", options.chunk)):
        sizes = _softmax(options, chunk).memory_analysis()
        # A gradient that is written in place is an output, one that is copied is temporary too.
        beyond = sizes.temp_size_in_bytes + sizes.output_size_in_bytes - gradients
        found[name] = beyond
        print(f"{name}: {beyond / 2**20:.1f} MiB besides arguments and gradients")
    print(f"chunks need {100 * found['chunks'] / found['dense']:.1f} % of it")


if __name__ == "__main__":
    main()
