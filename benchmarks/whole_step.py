"""The training step whose speed the benchmarks measure: ours, and the same in PyTorch.

    python -m benchmarks.whole_step jax|torch

answers the questions of `benchmarks.backbones`, a line of JSON each.
"""

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained: forward, ArcFace over all classes, backward, SGD with momentum.

    Attributes:
      network, dtype, precision: as `config.model.name`, `config.model.dtype`,
        `config.loss.precision`.
      batch: images a step.
      classes: class centres.
      size: of an image, height and width.
    """

    network: str
    batch: int
    classes: int = 100_000
    size: int = 112
    dtype: str = "bfloat16"
    precision: str = "default"

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Made images `[B,H,W,3]` uint8 and labels `[B]`."""
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (self.batch, self.size, self.size, 3), dtype=np.uint8)
        return images, rng.integers(0, self.classes, self.batch).astype(np.int32)


class JaxStep:
    """Our step on all devices, as `train.py` runs it."""

    def __init__(self, task: Task):
        from ddl_jax import parallel
        from ddl_jax.config import Config, Model
        from ddl_jax.training.objective import make_objective
        from ddl_jax.training.optimizer import make_optimizer
        from ddl_jax.training.state import init_state, make_card, make_module
        from ddl_jax.training.step import make_train_step

        config = Config(batch_size=task.batch)
        config.model = Model(name=task.network, dtype=task.dtype, input_size=(task.size, task.size))
        config.loss.precision = task.precision
        self.mesh = parallel.make_mesh()
        self.module, self.card = make_module(config), make_card(config)
        optimizer = make_optimizer(config)
        self.state = init_state(
            config, self.module, self.card, optimizer, classes=task.classes, mesh=self.mesh
        )
        objective = make_objective(config, task.classes)
        step = make_train_step(self.module, self.card, objective, optimizer, seed=0)
        mapped = parallel.map_step(step, self.mesh, self.state, how="shard_map")
        images, labels = task.arrays()
        self.batch = parallel.global_batch(
            self.mesh, {"image": images[:, None], "label": labels[:, None]}
        )
        start = time.perf_counter()
        self.compiled = mapped.lower(self.state, self.batch).compile()
        self.compile_seconds = time.perf_counter() - start
        self.task = task

    def __call__(self) -> Any:
        """Trains a step; returns something to wait for."""
        self.state, metrics = self.compiled(self.state, self.batch)
        return metrics

    @staticmethod
    def wait(result: Any) -> None:
        """Until a result is there."""
        import jax

        jax.block_until_ready(result)

    def facts(self) -> dict[str, float]:
        """Bytes on a device (state, and what the compiler sets aside), operations of the products.

        Backward takes twice the products of forward.
        """
        import jax
        import jax.numpy as jnp

        from benchmarks.products import operations

        sizes = self.compiled.memory_analysis()
        shape = (self.task.batch, self.task.size, self.task.size, 3)
        variables = {"params": self.state.params["backbone"], "batch_stats": self.state.batch_stats}
        images = jax.ShapeDtypeStruct(shape, jnp.float32)
        forward = operations(self.module.apply, variables, images)
        head = 2 * self.task.batch * self.task.classes * self.card.embedding_size
        return {
            "compile_seconds": self.compile_seconds,
            "memory": sizes.argument_size_in_bytes + sizes.temp_size_in_bytes,
            "flops": 3 * (forward + head),
        }


class TorchStep:
    """The same with PyTorch: channels last, autocast, torch.compile, fused SGD on a GPU."""

    def __init__(self, task: Task):
        import torch

        from benchmarks.torch_iresnet import TorchIResNet, arcface_loss

        self._torch = torch
        self._cuda = torch.cuda.is_available()
        device = "cuda" if self._cuda else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        torch.compiler.reset()  # every batch size is compiled for itself
        if self._cuda:
            torch.cuda.empty_cache()
            # cuDNN's trials take any workspace they get, and the other side needs its half.
            torch.cuda.set_per_process_memory_fraction(0.5)
            torch.cuda.reset_peak_memory_stats()
        model = TorchIResNet(task.network, input_size=(task.size, task.size)).to(device)
        model = model.to(memory_format=torch.channels_last)
        centers = torch.nn.Parameter(0.01 * torch.randn(task.classes, 512, device=device))
        parameters = [p for p in (*model.parameters(), centers) if p.requires_grad]
        self._optimizer = torch.optim.SGD(
            parameters, lr=0.1, momentum=0.9, weight_decay=5e-4, fused=self._cuda
        )
        images, labels = task.arrays()
        images = torch.tensor(images, device=device).permute(0, 3, 1, 2)  # channels last already
        self._batch = images, torch.tensor(labels, device=device).long()

        def loss_of(images, labels):
            with torch.autocast(device, torch.bfloat16, enabled=task.dtype == "bfloat16"):
                embeddings = model((images.float() - 127.5) / 127.5)
                return arcface_loss(embeddings, centers, labels)

        self._loss_of = torch.compile(loss_of)

    def __call__(self) -> Any:
        """Trains a step; returns the loss."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss_of(*self._batch)
        loss.backward()
        self._optimizer.step()
        return loss

    def wait(self, result: Any) -> None:
        """Until the device has done everything."""
        if self._cuda:
            self._torch.cuda.synchronize()

    def facts(self) -> dict[str, float]:
        """Bytes on the GPU at most, so far."""
        return {"memory": self._torch.cuda.max_memory_allocated() if self._cuda else 0}


def seconds(step: Callable, wait: Callable[[Any], None], repeat: int) -> float:
    """Seconds of a run, the mean of some after one that does not count."""
    wait(step())
    start = time.perf_counter()
    for _ in range(repeat):
        last = step()
    wait(last)
    return (time.perf_counter() - start) / repeat


def _peak(dtype: str) -> dict[str, Any]:
    """The rate of a large matrix product, operations a second."""
    import jax
    import jax.numpy as jnp

    device = jax.devices()[0]
    n = 1024 if device.platform == "cpu" else 8192
    x, y = jax.random.normal(jax.random.key(0), (2, n, n), jnp.dtype(dtype))
    product = jax.jit(jnp.matmul)
    spent = [seconds(lambda: product(x, y), jax.block_until_ready, 30) for _ in range(5)]
    return {"device": device.device_kind, "flops": 2 * n**3 / statistics.median(spent)}


def main() -> None:
    """Answers until the input ends; one step at a time is kept."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries talk too
    kind = {"jax": JaxStep, "torch": TorchStep}[sys.argv[1]]
    step, repeat = None, 0
    for line in sys.stdin:
        question = json.loads(line)
        what, answer = question.pop("what"), {}
        if what == "peak":
            answer = _peak(**question)
        elif what == "prepare":
            start = time.perf_counter()
            try:
                step = kind(Task(**question))
                repeat = max(3, round(1.0 / seconds(step, step.wait, 2)))
                answer = {"ready_seconds": time.perf_counter() - start} | step.facts()
            except Exception as error:  # out of memory, as a rule
                answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        elif what == "time":
            answer = {"seconds": seconds(step, step.wait, repeat)}
        elif what == "drop":
            step = None
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
