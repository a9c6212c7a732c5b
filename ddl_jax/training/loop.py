"""The one training loop: margin-only, DDL and comparison runs differ by config only."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from ddl_jax import parallel
from ddl_jax.config import Config
from ddl_jax.data.pipeline import Batch, batches
from ddl_jax.errors import Preempted, UserError
from ddl_jax.evaluation.evaluate import (
    evaluate,
    evaluation_directory,
    report,
    write_evaluation,
)
from ddl_jax.training.alerts import Alerts
from ddl_jax.training.checkpoint import Checkpoints, config_path
from ddl_jax.training.metrics import MetricWriter, Progress, Stopwatch, read_metrics
from ddl_jax.training.not_finite import report_not_finite
from ddl_jax.training.optimizer import make_schedule
from ddl_jax.training.preemption import Preemption
from ddl_jax.training.prepare import Run, prepare
from ddl_jax.training.start import describe, first_state, make_workdir, write_start
from ddl_jax.training.state import TrainState
from ddl_jax.training.trace import Trace
from ddl_jax.training.workdir_lock import only_run_of


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
        unless training itself went wrong (steps that are not finite, a full disk).
      Preempted: SIGTERM came; the state is saved.
    """
    workdir = epath.Path(workdir)
    with contextlib.ExitStack() as held:
        main = jax.process_index() == 0
        begun = config_path(workdir).exists()
        if main and begun:
            held.enter_context(only_run_of(workdir))
        run = prepare(config, workdir)
        make_workdir(workdir)
        if main and not begun:
            held.enter_context(only_run_of(workdir))
        pairs_file = write_start(run)
        preemption = held.enter_context(Preemption())
        checkpoints = held.enter_context(Checkpoints(workdir, config.checkpoint))
        state, origin = first_state(run, checkpoints)
        step = int(state.step)
        writer = held.enter_context(MetricWriter(workdir, step=step, active=main))
        progress = Progress(step=step, steps=config.steps, active=main)
        held.callback(progress.close)
        progress.say(describe(run, state, origin, pairs_file))
        return _Loop(run, checkpoints, writer, progress, preemption).run(state)


class _Loop:
    """The steps of a run, and what is done between them."""

    def __init__(
        self,
        run: Run,
        checkpoints: Checkpoints,
        writer: MetricWriter,
        progress: Progress,
        preemption: Preemption,
    ):
        self._run, self._config = run, run.config
        self._checkpoints, self._preemption = checkpoints, preemption
        self._writer, self._progress = writer, progress
        self._schedule = make_schedule(run.config)
        self._watch, self._saved = Stopwatch(), time.monotonic()
        self._alerts = Alerts(run.config.batch)

    def run(self, state: TrainState) -> TrainState:
        """Save, evaluate, next batch, train, log: in this order. `step` counts finished updates."""
        run, config = self._run, self._config
        self._first = self._logged = int(state.step)
        self._start, self._skipped = time.perf_counter(), int(state.skipped["total"])
        data = self._batches() if config.steps else ()
        trace = Trace(run.workdir, config.profile if jax.process_index() == 0 else 0)
        try:
            for step in range(self._first, config.steps + 1):
                last = step == config.steps
                evaluates = run.evaluation_data is not None
                evaluates = evaluates and _is_due(step, config.evaluation.every, last)
                leaving = self._preemption.reached(step)
                # First: an evaluation that fails or is cut short costs no step.
                if leaving or self._save_is_due(step, last):
                    self._save(state, step)
                if evaluates and not leaving:
                    leaving = not self._evaluate(state, step)
                    if leaving:
                        self._save(state, step)
                # Nothing is left to come back for after the last step, but its evaluation.
                if leaving and (evaluates or not last):
                    raise Preempted(
                        f"told to leave (SIGTERM); step {step} is saved in {run.workdir}, the same "
                        "command goes on from there"
                    )
                if last:
                    return state
                batch = parallel.global_batch(run.mesh, self._watch.wait_for(data))
                trace.before_step(step - self._first, state)
                state, metrics = run.train_step(state, batch)
                self._watch.running(metrics)
                self._progress.advance()
                if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
                    self._log(state, metrics, step + 1)
        finally:
            self._watch.close()
            trace.close()
            if hasattr(data, "close"):
                data.close()

    def _batches(self) -> Iterator[Batch]:
        workers, tell = self._config.data.workers, self._progress.say
        return batches(self._run.batches(), step=self._first, workers=workers, tell=tell)

    def _evaluate(self, state: TrainState, step: int) -> bool:
        """Whether it was made: SIGTERM drops an evaluation."""
        jax.block_until_ready(state)  # the step before is training
        with self._watch.evaluating():
            done = self._preemption.at_once(lambda: self._make_evaluation(state, step))
        self._progress.say(f"evaluations: {self._watch.evaluation_share:.1%} of the time so far")
        return done

    def _make_evaluation(self, state: TrainState, step: int) -> None:
        run = self._run
        found = evaluate(
            run.module,
            state.variables,
            run.card,
            run.evaluation_data,
            run.config.evaluation,
            run.mesh,
        )
        if jax.process_index() == 0:
            directory = evaluation_directory(run.workdir, step)
            write_evaluation(directory, found.results, run.protocol_card(step))
            rows = read_metrics(run.workdir, up_to=step)
            table = report(directory, {f"step {step}": directory}, metrics=rows)
            attention = "".join(f"{line}\n" for line in found.attention)
            where = directory / "report.html"
            self._progress.say(f"\n{attention}evaluation of step {step}: {where}\n{table}")

    def _save_is_due(self, step: int, last: bool) -> bool:
        settings = self._config.checkpoint
        if _is_due(step, settings.every, last):
            return True
        if not settings.minutes or step == self._first or step % self._config.log_every:
            return False
        late = time.monotonic() - self._saved > 60 * settings.minutes
        # Clocks differ: all processes save or none.
        return bool(multihost_utils.broadcast_one_to_all(np.asarray(late)))

    def _save(self, state: TrainState, step: int) -> None:
        self._saved = time.monotonic()
        if step not in self._checkpoints.steps():
            self._checkpoints.save(state, self._run.meta)

    def _log(self, state: TrainState, metrics: dict[str, Any], step: int) -> None:
        metrics = jax.device_get(metrics)  # waits for the step
        row = {name: float(value) for name, value in metrics.items() if np.ndim(value) == 0}
        arrays = {name: value for name, value in metrics.items() if np.ndim(value)}
        skipped = int(row["skipped"])
        # The schedule counts updates.
        row["learning_rate"] = float(self._schedule(max(step - 1 - skipped, 0)))
        images = self._config.batch_size * self._run.images_of_a_row
        row |= self._watch.lap(images * (step - self._logged))
        self._writer.write(step, row, arrays)
        spent = time.perf_counter() - self._start
        left = spent / (step - self._first) * (self._config.steps - step)
        self._progress.log(step, row, left)
        self._logged = step
        if skipped > self._skipped:
            self._progress.say(
                f"ATTENTION: {skipped - self._skipped} steps up to step {step} were not finite, "
                f"and changed nothing; {skipped} so far"
            )
            self._skipped = skipped
        for line in self._alerts.lines(row):
            self._progress.say(f"ATTENTION: {line}")
        self._check_finite(state, row, step)

    def _check_finite(self, state: TrainState, metrics: dict[str, float], step: int) -> None:
        """Ends a run that no longer learns; what it learnt before is kept."""
        in_a_row = int(state.skipped["in_a_row"])
        if in_a_row < self._config.max_skipped:
            return
        self._save(state, step)
        told = report_not_finite(self._run, state, metrics)
        raise UserError(
            f"{in_a_row} steps in a row up to step {step} were not finite and changed nothing: "
            f"{told}; start in another --workdir with a lower config.optimizer.learning_rate; the "
            f"checkpoints in {self._run.workdir} are from before"
        )


def _is_due(step: int, every: int, last: bool) -> bool:
    return last or (every > 0 and step > 0 and step % every == 0)
