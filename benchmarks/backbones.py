"""How fast do the backbones train and embed, beside PyTorch on the same device?

    python -m benchmarks.backbones train --networks iresnet50 iresnet100
    python -m benchmarks.backbones profile --networks iresnet50 --batches 512
    python -m benchmarks.backbones inference --networks iresnet18 mobilefacenet --batches 1 32
    python -m benchmarks.backbones start --networks iresnet18 --batches 16 --dtype float32

`train`: the whole training step (forward, ArcFace over 100,000 classes, backward, SGD), images/s,
the share of the matrix products' measured peak, memory; PyTorch with channels last, autocast and
torch.compile beside it. Each side is a process; they are timed in turns.

`profile`: where the time of our step goes on a GPU, by kernel.

`inference`: embeddings of a batch in float32, ours compiled, PyTorch eager, on the same cores.

`start`: seconds to compile a step without and with the persistent compilation cache, and from the
start of the process to the end of its first step.

The other side needs PyTorch (pip install torch), and is written for insightface's IResNets and, in
`inference`, mobilefacenet; without it ours stands alone.
"""

import argparse
import collections
import functools
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.race import race
from benchmarks.whole_step import JaxStep, Task

_HAS_TORCH = importlib.util.find_spec("torch") is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=tuple(_WHAT))
    parser.add_argument("--networks", nargs="+", default=["iresnet50"])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    _WHAT[options.what](options)


def _tasks(options: argparse.Namespace) -> list[Task]:
    return [
        Task(network, batch, options.classes, options.size, options.dtype)
        for network in options.networks
        for batch in options.batches
    ]


def _train(options: argparse.Namespace) -> None:
    workers = {name: _Worker(name) for name in (("jax", "torch") if _HAS_TORCH else ("jax",))}
    peak = workers["jax"].ask("peak", dtype=options.dtype)
    print(f"{peak['device']}, jax {jax.__version__}, {vars(options)}")
    print(f"peak: {peak['flops'] / 1e12:.0f} TFLOP/s, a product of square matrices", flush=True)
    for task in _tasks(options):
        for worker in workers.values():
            worker.tell("prepare", **vars(task))  # all compile at the same time
        about = {name: worker.answer() for name, worker in workers.items()}
        times: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(options.rounds):
            for name, worker in workers.items():
                if "error" not in about[name]:
                    times[name].append(worker.ask("time")["seconds"])
        for worker in workers.values():
            worker.ask("drop")
        _tell(task, about, times, peak["flops"])


def _tell(task: Task, about: dict, times: dict[str, list[float]], peak: float) -> None:
    name = f"{task.network}, batch {task.batch}"
    for side, facts in about.items():
        if "error" in facts:
            print(f"{name}, {side}: {facts['error']}", flush=True)
            continue
        spent = statistics.median(times[side])
        share = f", {100 * facts['flops'] / spent / peak:.1f} % of peak" if "flops" in facts else ""
        print(
            f"{name}, {side}: {task.batch / spent:.0f} images/s, {1000 * spent:.1f} ms{share}, "
            f"{facts['memory'] / 2**30:.1f} GiB, ready in {facts['ready_seconds']:.0f} s",
            flush=True,
        )
    if len(times) == 2 and all(times.values()):
        ratios = [theirs / ours for ours, theirs in zip(times["jax"], times["torch"], strict=True)]
        print(f"{name}: {statistics.median(ratios):.2f} times PyTorch's images/s", flush=True)


class _Worker:
    """A process that trains with one framework, and waits where it is not asked."""

    def __init__(self, framework: str):
        # Each side has its half of the device's memory, ours in one piece from the start: grown
        # region by region it had no hole for the 45 GiB of iresnet100's step at batch 1024.
        environment = os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.48"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.whole_step", framework],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def tell(self, what: str, **arguments: Any) -> None:
        print(json.dumps({"what": what} | arguments), file=self._process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self._process.args)} ended: {self._process.wait()}")
        return json.loads(line)

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        self.tell(what, **arguments)
        return self.answer()


def _profile(options: argparse.Namespace) -> None:
    steps = 3
    for task in _tasks(options):
        step = JaxStep(task)
        jax.block_until_ready([step() for _ in range(steps)])
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                jax.block_until_ready([step() for _ in range(steps)])
            spent = _kernels(next(pathlib.Path(folder).rglob("*.xplane.pb")))
        total = sum(spent.values())
        print(f"{task.network}, batch {task.batch}: {total / steps / 1e6:.2f} ms of kernels a step")
        kinds: collections.Counter = collections.Counter()
        for name, nanoseconds in spent.items():
            kinds[_kind(name)] += nanoseconds
        for kind, nanoseconds in kinds.most_common():
            print(
                f"  {100 * nanoseconds / total:5.1f} %  {nanoseconds / steps / 1e6:7.2f} ms  {kind}"
            )
        for name, nanoseconds in spent.most_common(25):
            print(f"  {nanoseconds / steps / 1e6:8.3f} ms  {name[:100]}")


def _kernels(path: pathlib.Path) -> collections.Counter:
    """Nanoseconds by kernel on the accelerator's streams."""
    spent: collections.Counter = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        if plane.name.startswith("/device:"):
            for line in plane.lines:
                if line.name.startswith("Stream"):
                    for event in line.events:
                        spent[event.name] += event.duration_ns
    return spent


# Parts of cuDNN's, cuBLAS's and XLA's names for kernels; the first that fits counts.
_KINDS = {
    "convolutions, gradient of kernels": ("wgrad",),
    "convolutions, gradient of images": ("dgrad",),
    "convolutions, forward": ("fprop",),
    "matrix products": ("gemm", "nvjet"),
    "reductions": ("reduce",),
    "elementwise": ("fusion", "loop", "wrapped"),
}


def _kind(name: str) -> str:
    lower = name.lower()
    fitting = (kind for kind, parts in _KINDS.items() if any(part in lower for part in parts))
    return next(fitting, "others")


def _inference(options: argparse.Namespace) -> None:
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {vars(options)}")
    for network in options.networks:
        for batch in options.batches:
            images = np.random.default_rng(0).normal(size=(batch, options.size, options.size, 3))
            forms = _embedders(network, images.astype(np.float32))
            times = race(forms, options.rounds)
            spent = {name: statistics.median(times) for name, times in times.items()}
            line = ", ".join(f"{n} {1000 * batch / t:.1f} images/s" for n, t in spent.items())
            if "torch" in times:
                ratios = [b / a for a, b in zip(times["jax"], times["torch"], strict=True)]
                line += f": {statistics.median(ratios):.2f} times"
            print(f"{network}, batch {batch}: {line}", flush=True)


def _embedders(network: str, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Functions that embed the images, by framework, with the same weights."""
    from ddl_jax.interop import save_torch_backbone
    from ddl_jax.models import create_backbone

    module = create_backbone(network)
    variables = jax.jit(module.init)(jax.random.key(0), images[:1])
    embed = functools.partial(jax.jit(module.apply), variables, jnp.asarray(images))
    model = _torch_model(network, images.shape[1:3]) if _HAS_TORCH else None
    if model is None:
        return {"jax": embed}
    import torch

    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        save_torch_backbone(file.name, network, variables)
        model.load_state_dict(torch.load(file.name, weights_only=True))
    model.eval()
    batch = torch.tensor(images.transpose(0, 3, 1, 2))

    def embed_in_torch():
        with torch.no_grad():
            return model(batch).numpy()

    ours, theirs = np.asarray(embed()), embed_in_torch()
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    return {"jax": embed, "torch": embed_in_torch}


def _torch_model(network: str, size: tuple[int, int]) -> Any:
    """The network in PyTorch; None of one that is not written there for comparisons."""
    from benchmarks.torch_iresnet import DEPTHS, TorchIResNet
    from benchmarks.torch_mobilefacenet import TorchMobileFaceNet

    if network == "mobilefacenet":
        return TorchMobileFaceNet(input_size=size)
    return TorchIResNet(network, input_size=size) if network in DEPTHS else None


def _start(options: argparse.Namespace) -> None:
    for task in _tasks(options):
        with tempfile.TemporaryDirectory() as cache:
            for what in ("empty", "filled"):
                environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
                command = [sys.executable, "-m", "benchmarks.whole_step", "jax"]
                start = time.perf_counter()
                asked = json.dumps({"what": "prepare"} | vars(task))
                done = subprocess.run(
                    command, input=asked, env=environment, stdout=subprocess.PIPE, text=True
                )
                spent = time.perf_counter() - start
                compiled = json.loads(done.stdout)["compile_seconds"]
                print(
                    f"{task.network}, batch {task.batch}, {what} cache: compiled in "
                    f"{compiled:.1f} s, first step done after {spent:.1f} s",
                    flush=True,
                )


_WHAT = {"train": _train, "profile": _profile, "inference": _inference, "start": _start}

if __name__ == "__main__":
    main()
