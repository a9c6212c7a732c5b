"""What does the training loop cost beside its compiled step, and how soon does a run go on?

    python -m benchmarks.training_loop loop --data=FACES
    python -m benchmarks.training_loop restart --data=FACES

`loop` runs steps of synthetic_pretrain (iresnet_tiny) in turns bare, on one batch that is there
already, and through the loop of `train.py`, which decodes, logs and shows; then it saves. Prints
the median of the paired ratios, and what a save costs a step, one in 100. `restart` starts
`train.py` in processes of its own: seconds until a run that goes on has done its first new step,
with and without compiled programs kept. FACES is where the faces are, or are rendered to.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("loop", "restart"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
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
    bare, looped, saves = [], [], []
    for _ in range(1 + options.rounds):
        bare.append(_bare(run))
        looped.append(_through_the_loop(run, folder))
        saves.append(_saving(run, folder / str(len(saves))))
    bare, looped, saves = bare[1:], looped[1:], saves[1:]  # the first has compiled
    ratio = statistics.median(b / a for a, b in zip(bare, looped, strict=True))
    step = statistics.median(bare) / options.steps
    held, whole = (statistics.median(times) for times in zip(*saves, strict=True))
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, batch {options.batch}")
    print(f"a step {step:.2f} s; through the loop {ratio:.3f} times as long")
    print(
        f"a save holds the loop {held:.2f} s and is done after {whole:.2f} s: of each of 100 steps "
        f"{held / (100 * step):.2%}, at most {whole / (100 * step):.2%}"
    )


def _bare(run: Run) -> float:
    state = run.new_state()
    batch = parallel.global_batch(run.mesh, run.batches()[0])
    jax.block_until_ready((state, batch))
    start = time.perf_counter()
    for _ in range(run.config.steps):
        # Donated buffers of a batch are none of the loop's business: it has a new one each step.
        state, metrics = run.train_step(state, jax.tree.map(jnp.copy, batch))
    jax.block_until_ready((state, metrics))
    return time.perf_counter() - start


class _NoCheckpoints:
    """In place of the run's: saving is timed by itself."""

    def steps(self) -> range:
        return range(sys.maxsize)


def _through_the_loop(run: Run, folder: epath.Path) -> float:
    state = jax.block_until_ready(run.new_state())
    writer = MetricWriter(folder, step=0, active=True)
    progress = Progress(step=0, steps=run.config.steps, active=True)
    with Preemption() as preemption:
        start = time.perf_counter()
        loop = _Loop(run, _NoCheckpoints(), writer, progress, preemption)
        jax.block_until_ready(loop.run(state))
        taken = time.perf_counter() - start
    writer.close()
    progress.close()
    return taken


def _saving(run: Run, folder: epath.Path) -> tuple[float, float]:
    """Seconds in which the loop waits, and until all is written."""
    state = jax.block_until_ready(run.new_state())
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
