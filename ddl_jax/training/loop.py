"""The one training loop: margin-only, DDL and comparison runs differ by config only."""

import math
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from ddl_jax import config as config_lib
from ddl_jax import parallel
from ddl_jax.config import Config
from ddl_jax.data import pairs as pairs_lib
from ddl_jax.data.pipeline import batches
from ddl_jax.data.tfds_source import DATA_CARD
from ddl_jax.errors import UserError
from ddl_jax.evaluation.evaluate import (
    evaluate,
    evaluation_directory,
    report,
    write_evaluation,
)
from ddl_jax.evaluation.files import write_atomically
from ddl_jax.training import identities, init_from
from ddl_jax.training.checkpoint import Checkpoints, config_path
from ddl_jax.training.metrics import MetricWriter, Progress, Stopwatch, read_metrics
from ddl_jax.training.optimizer import make_schedule
from ddl_jax.training.prepare import Run, pairs_directories, prepare
from ddl_jax.training.state import TrainState


def train_and_evaluate(config: Config, workdir: epath.PathLike) -> TrainState:
    """Trains from the work directory's newest checkpoint, from `init_from`, or from scratch.

    Called again with the same config after a stop, however hard, it goes on from the newest
    checkpoint and ends with the same parameters, bit for bit, on the same machine.

    Args:
      config: the experiment.
      workdir: where its files are kept.

    Returns:
      The state after `config.steps` updates.

    Raises:
      UserError: anything wrong in config, data or work directory. Nothing has been written then,
        unless training itself went wrong (a loss that is not finite).
    """
    run = prepare(config, workdir)
    pairs_file = _write_start(run)
    with Checkpoints(run.workdir, config.checkpoint.keep) as checkpoints:
        state, origin = _first_state(run, checkpoints)
        step = int(state.step)
        main = jax.process_index() == 0
        writer = MetricWriter(run.workdir, step=step, active=main)
        progress = Progress(step=step, steps=config.steps, active=main)
        progress.say(_describe(run, state, origin, pairs_file))
        try:
            return _loop(run, state, checkpoints, writer, progress)
        finally:
            writer.close()
            progress.close()


def _loop(
    run: Run, state: TrainState, checkpoints: Checkpoints, writer: MetricWriter, progress: Progress
) -> TrainState:
    """Evaluate, save, next batch, train, log: in this order. `step` counts finished updates."""
    config, first = run.config, int(state.step)
    schedule = make_schedule(config.optimizer)
    images = config.batch_size * run.images_of_a_row
    workers = config.data.workers
    data = batches(run.batches(), step=first, workers=workers) if config.steps else iter(())
    watch, start, metrics, logged = Stopwatch(), time.perf_counter(), {}, first
    try:
        for step in range(first, config.steps + 1):
            last = step == config.steps
            if _is_due(step, config.evaluation.every, last) and run.evaluation_data is not None:
                _evaluate(run, state, step, progress)
                watch.restart()
            if last or (step > 0 and step % config.checkpoint.every == 0):
                _check_finite(metrics, step, run.workdir)
                if step not in checkpoints.steps():
                    checkpoints.save(state, run.meta)
            if last:
                break
            batch = parallel.global_batch(run.mesh, watch.wait_for(data))
            state, metrics = run.train_step(state, batch)
            progress.advance()
            done = step + 1
            if done % config.log_every == 0 or done == config.steps:
                _check_finite(metrics, done, run.workdir)  # waits for the step to finish
                row = {name: float(value) for name, value in metrics.items()}
                row["learning_rate"] = float(schedule(step))
                row |= watch.lap(images * (done - logged))
                writer.write(done, row)
                spent = time.perf_counter() - start
                progress.log(done, row, spent / (done - first) * (config.steps - done))
                logged = done
    finally:
        if hasattr(data, "close"):
            data.close()
    return state


def _is_due(step: int, every: int, last: bool) -> bool:
    return last or (every > 0 and step > 0 and step % every == 0)


def _check_finite(metrics: Mapping[str, Any], step: int, workdir: epath.Path) -> None:
    """A run that has diverged must not bury its last good checkpoint."""
    for name in ("loss", "gradient_norm", "parameter_norm"):
        if name in metrics and not math.isfinite(value := float(metrics[name])):
            raise UserError(
                f"the {name} is {value} at step {step}; start in another --workdir with a lower "
                f"config.optimizer.learning_rate; the checkpoints in {workdir} are from before"
            )


def _write_start(run: Run) -> epath.Path | None:
    """Writes the first files, as nothing is wrong any more -> where the pairs are kept, if any."""
    if jax.process_index() != 0:
        return run.pairs_file
    try:
        run.workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(config_path(run.workdir), config_lib.to_json(run.config).encode())
        identities.write(run.workdir, run.source.index)
        _keep_data_card(run)
        if run.start is not None and run.start.weights is not None:
            report = f"{run.start.weights.report()}\n".encode()
            write_atomically(run.workdir / "weights.txt", report)
    except OSError as error:
        raise UserError(
            f"--workdir={run.workdir} cannot be written: {error.strerror or error}; give another"
        ) from error
    if run.pairs is not None and run.pairs_file is None:
        index, seed = run.source.index, run.config.seed
        name = pairs_lib.pairs_name(index, run.config.batch, seed)
        directories = pairs_directories(run.config, run.workdir)
        return pairs_lib.keep_pairs(index, run.pairs, name, directories)
    return run.pairs_file


def _keep_data_card(run: Run) -> None:
    """What `python -m ddl_jax.data prepare` has written about the data, if it made them."""
    data = run.config.data
    card = epath.Path(data.path) / DATA_CARD
    if data.source == "tfds" and card.exists():
        write_atomically(run.workdir / DATA_CARD, card.read_bytes())


def _first_state(run: Run, checkpoints: Checkpoints) -> tuple[TrainState, str]:
    """Own checkpoint before init_from before scratch; and which it was."""
    steps = checkpoints.steps()
    if steps:
        state = checkpoints.restore(steps[-1], run.new_state(), run.mesh)
        return state, f"going on from step {steps[-1]} of {run.workdir}"
    if run.start is None:
        return run.first_state(), "starting from scratch"
    head = run.config.init_from.head
    return run.first_state(), f"starting from {run.start.path}, head: {head}"


def _describe(run: Run, state: TrainState, origin: str, pairs_file: epath.Path | None) -> str:
    index, mesh = run.source.index, run.mesh
    domains = run.config.batch.domains or tuple(np.unique(index.domains))
    images = ", ".join(f"{len(index.rows_of(domain))} {domain}" for domain in domains)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params["backbone"]))
    lines = [
        origin,
        f"{run.card.network}: {size:,} parameters; "
        f"{images} images of {run.classes} identities; "
        f"{run.config.batch_size} x {run.images_of_a_row} images a step on {mesh.size} "
        f"{mesh.devices.flat[0].platform} device(s)",
    ]
    if learning := run.fine_tuning.describe(state.params):
        lines.append(learning)
    for domain, recipe in run.augment.made.items():
        lines.append(f"made on the fly: {domain} of {domains[0]} by {recipe}")
    for share, recipe in run.augment.shares:
        lines.append(f"augmentation of {share:.0%} of the images: {recipe}")
    if run.pairs is not None:
        pairs = ", ".join(f"{len(rows)} {domain}" for domain, rows in run.pairs.items())
        lines.append(f"positive pairs: {pairs}; kept in {pairs_file}")
    if run.pairs is not None and not run.config.init_from.path:
        lines.append(
            "ATTENTION: no config.init_from.path; distillation is made for a recognizer that has "
            "learned already, one trained on easy faces"
        )
    if run.start is not None and (advice := init_from.advice(run.start, run.card)):
        lines.append(advice)
    if seen := run.seen:
        lines.append(identities.warning(seen))
    return "\n".join(lines)


def _evaluate(run: Run, state: TrainState, step: int, progress: Progress) -> None:
    directory = evaluation_directory(run.workdir, step)
    settings = run.config.evaluation
    variables = {"params": state.params["backbone"], "batch_stats": state.batch_stats}
    found = evaluate(run.module, variables, run.card, run.evaluation_data, settings, run.mesh)
    if jax.process_index() != 0:
        return
    card = run.protocol_card(step)
    write_evaluation(directory, found.results, card)
    rows = read_metrics(run.workdir, up_to=step)
    table = report(directory, {f"step {step}": directory}, metrics=rows)
    attention = "".join(f"{line}\n" for line in found.attention)
    progress.say(f"\n{attention}evaluation of step {step}: {directory / 'report.html'}\n{table}")
