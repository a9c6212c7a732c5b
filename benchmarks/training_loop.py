"""What does the training loop cost beside its compiled step, and how soon does a run go on?

    python -m benchmarks.training_loop loop --data=FACES
    python -m benchmarks.training_loop restart --data=FACES

`loop` runs synthetic_pretrain (iresnet_tiny) with a compiled program in place of its step that
waits one second and leaves the cores alone, as an accelerator does: bare, on one batch that is
there already, and through the loop of `train.py`, on that batch and with decoding. A step that
computes on these cores varies by more than the loop takes. Then it saves the real state. Prints
medians of the paired ratios, and what a save costs a step, one in 100.

`restart` starts `train.py` in processes of its own: seconds until a run that goes on has done its
first new step, with and without compiled programs kept.

FACES is where the faces are, or are rendered to.
"""

import argparse
import functools
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from etils import epath

from configs import synthetic_pretrain
from ddl_jax import parallel
from ddl_jax.training.checkpoint import Checkpoints
from ddl_jax.training.loop import _Loop
from ddl_jax.training.metrics import MetricWriter, Progress
from ddl_jax.training.preemption import Preemption
from ddl_jax.training.prepare import Run, prepare
from ddl_jax.training.state import TrainState


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("loop", "restart"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, default=384)
    parser.add_argument("--steps", type=int, default=8, help="of a turn")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"loop": _loop, "restart": _restart}[options.what](options, epath.Path(folder))


def _loop(options: argparse.Namespace, folder: epath.Path) -> None:
    config = synthetic_pretrain.get_config()
    config.data.path, config.batch_size, config.steps = options.data, options.batch, options.steps
    config.evaluation.every, config.log_every = -1, options.steps
    config.optimizer.drop_steps, config.optimizer.warmup_steps = (), 0
    run = prepare(config, folder)
    first = run.new_state()
    run.__dict__["train_step"] = _second_long(run, first)  # a cached property
    bare, looped, decoding, saves = [], [], [], []
    for _ in range(1 + options.rounds):
        state = [jax.block_until_ready(jax.tree.map(jnp.copy, first)) for _ in range(3)]
        bare.append(_bare(run, state[0]))
        looped.append(_through_the_loop(run, state[1], folder, decode=False))
        decoding.append(_through_the_loop(run, state[2], folder, decode=True))
        saves.append(_saving(run, first, folder / str(len(saves))))
    # The first round has compiled.
    for name, times in (("a batch that is there", looped), ("decoding", decoding)):
        ratios = [b / a for a, b in zip(bare[1:], times[1:], strict=True)]
        told = f"{statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})"
        print(f"through the loop, with {name}: {told} times the bare steps of 1 s")
    held, whole = (statistics.median(times) for times in zip(*saves[1:], strict=True))
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, batch {options.batch}")
    print(
        f"a save holds the loop {held:.2f} s and is done after {whole:.2f} s: of each of 100 steps "
        f"{held / 100:.2%}, at most {whole / 100:.2%}"
    )


def _second_long(run: Run, state: TrainState) -> Callable:
    """A compiled step that counts and waits; its state and metrics have the true one's shapes."""
    batch = parallel.global_batch(run.mesh, run.batches()[0])
    _, metrics = jax.eval_shape(run.train_step, state, batch)

    def wait(step):
        time.sleep(1)
        return step

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, batch):
        del batch
        count = jax.pure_callback(wait, state.step, state.step)
        zeros = jax.tree.map(
            lambda m: jnp.zeros(m.shape, m.dtype) + (0 * count).astype(m.dtype), metrics
        )
        return state.replace(step=count + 1), zeros

    return step


def _bare(run: Run, state: TrainState) -> float:
    batch = jax.block_until_ready(parallel.global_batch(run.mesh, run.batches()[0]))
    start = time.perf_counter()
    for _ in range(run.config.steps):
        state, metrics = run.train_step(state, batch)
    jax.block_until_ready((state, metrics))
    return time.perf_counter() - start


class _NoCheckpoints:
    """In place of the run's: saving is timed by itself."""

    def steps(self) -> range:
        return range(sys.maxsize)


def _through_the_loop(run: Run, state: TrainState, folder: epath.Path, *, decode: bool) -> float:
    batch = run.batches()[0]
    progress = Progress(step=0, steps=run.config.steps, active=True)
    with Preemption() as preemption, MetricWriter(folder, step=0, active=True) as writer:
        loop = _Loop(run, _NoCheckpoints(), writer, progress, preemption)
        if not decode:
            loop._batches = lambda: itertools.repeat(batch)
        start = time.perf_counter()
        jax.block_until_ready(loop.run(state))
        taken = time.perf_counter() - start
    progress.close()
    return taken


def _saving(run: Run, state: TrainState, folder: epath.Path) -> tuple[float, float]:
    """Seconds in which the loop waits, and until all is written."""
    checkpoints = Checkpoints(folder, run.config.checkpoint)
    start = time.perf_counter()
    checkpoints.save(state, run.meta)
    held = time.perf_counter() - start
    with checkpoints:
        pass  # waits for the writing
    return held, time.perf_counter() - start


def _restart(options: argparse.Namespace, folder: epath.Path) -> None:
    workdir = folder / "run"
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    _first_step(workdir, options, 2, kept)
    for steps, what, where in ((4, "kept", kept), (6, "not kept", _no_cache())):
        seconds = _first_step(workdir, options, steps, where)
        print(f"compiled programs {what}: first new step after {seconds:.1f} s", flush=True)


def _no_cache() -> dict[str, str]:
    return {"JAX_COMPILATION_CACHE_DIR": ""}


def _first_step(workdir, options, steps: int, environment: dict[str, str]) -> float:
    """Trains to `steps` -> seconds from the start of the process to its first step."""
    command = [sys.executable, "-u", "train.py", "--config=configs/synthetic_pretrain.py"]
    settings = {"data.path": options.data, "batch_size": options.batch, "steps": steps}
    settings |= {"log_every": 1, "evaluation.every": -1, "optimizer.warmup_steps": 0}
    settings |= {"optimizer.drop_steps": "(1000,)"}
    command += [f"--config.{key}={value}" for key, value in settings.items()]
    command.append(f"--workdir={workdir}")
    start, first = time.perf_counter(), 0.0
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("step ") and not first:
                first = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"train.py ended with status {process.returncode}")
    return first


if __name__ == "__main__":
    main()
