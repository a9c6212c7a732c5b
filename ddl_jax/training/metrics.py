"""What a run reports while it trains: metrics.jsonl, TensorBoard, and a line for people."""

import concurrent.futures
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tensorboardX
import tqdm
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.files import is_remote, write_atomically

_SIMILARITY_BINS = np.linspace(-1.0, 1.0, 51)  # the same at every step, so that they compare


def read_metrics(workdir: epath.PathLike, up_to: int | None = None) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, up to a step. A line cut by a crash is passed over."""
    path = epath.Path(workdir) / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if up_to is None or row["step"] <= up_to:
            rows.append(row)
    return rows


class MetricWriter:
    """Writes one JSON object a log line; on process 0 only.

    A run that goes on from step n drops the rows after n: those steps will be done again. Use as a
    context: leaving it closes the files.
    """

    def __init__(self, workdir: epath.Path, *, step: int, active: bool):
        self._active, self._workdir = active, workdir
        if not active:
            return
        # A bucket takes a while, and its objects cannot grow: they are sent anew, beside training.
        self._sender = concurrent.futures.ThreadPoolExecutor(1) if is_remote(workdir) else None
        self._sent: list[concurrent.futures.Future[None]] = []
        self._path = workdir / "metrics.jsonl"
        rows = read_metrics(workdir, up_to=step)
        self._text = "".join(json.dumps(row) + "\n" for row in rows)  # a bucket's grows
        write_atomically(self._path, self._text.encode())
        # purge_step makes TensorBoard forget what is done again.
        self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(
        self, step: int, metrics: Mapping[str, float], arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Adds the metrics of one log line, and arrays as TensorBoard's histograms.

        Raises:
          UserError: they, or those of before in a bucket, cannot be written.
        """
        if not self._active:
            return
        with self._writing():
            if self._sender is None:
                self._write(step, metrics, arrays)
                return
            while self._sent and self._sent[0].done():
                self._sent.pop(0).result()
            self._sent.append(self._sender.submit(self._write, step, metrics, arrays))

    def _write(
        self, step: int, metrics: Mapping[str, float], arrays: Mapping[str, np.ndarray]
    ) -> None:
        line = json.dumps({"step": step, **metrics}) + "\n"
        if self._sender is not None:
            self._text += line
            write_atomically(self._path, self._text.encode())
        else:
            with self._path.open("a") as file:
                file.write(line)
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)
        for name, values in arrays.items():
            if len(values := values[np.isfinite(values)]):
                self._board.add_histogram(name, values, step, bins=_SIMILARITY_BINS)
        self._board.flush()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the log of {self._workdir} cannot be written: {error.strerror or error}; its "
                "checkpoints are whole: make room, or try again where it is on a network, by the "
                "same command"
            ) from error

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if not self._active:
            return
        try:
            with self._writing():
                if self._sender is not None:
                    self._sender.shutdown()
                for sent in self._sent:
                    sent.result()
                self._board.close()
        except UserError:
            if kind is None:  # an error on its way out tells more
                raise


class Stopwatch:
    """Time since the last log line, the part of it in which the devices waited for data, and what
    evaluations take.

    Devices work on while this process asks for the next batch: until they are done, waiting for it
    costs nothing.
    """

    def __init__(self):
        self._begun = self._start = time.perf_counter()
        self._waited = self._evaluated = self._evaluated_before = 0.0
        self._watcher = concurrent.futures.ThreadPoolExecutor(1)
        self._done: concurrent.futures.Future[float] | None = None

    def running(self, result: Any) -> None:
        """The devices have been given something to do, and are done when `result` is there."""
        self._done = self._watcher.submit(_time_of, result)

    def wait_for(self, iterator: Any) -> Any:
        """The iterator's next element; the time it takes without the devices counts as waiting."""
        start = time.perf_counter()
        element = next(iterator)
        end = time.perf_counter()
        if self._done is not None:
            start = max(start, self._done.result() if self._done.done() else end)
        self._waited += max(end - start, 0.0)
        return element

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """What is done inside is no training."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._evaluated += time.perf_counter() - start

    @property
    def evaluation_share(self) -> float:
        """Of all the time since it was made."""
        evaluated = self._evaluated_before + self._evaluated
        return evaluated / (time.perf_counter() - self._begun)

    def lap(self, images: int) -> dict[str, float]:
        """What is known since the last lap, and begins the next.

        images_per_second, and data_wait as a share of the time, are of training alone;
        evaluation_seconds are what evaluations took, evaluation_share of all laps together.
        """
        now = time.perf_counter()
        seconds = now - self._start - self._evaluated
        rates = {
            "images_per_second": images / seconds,
            "data_wait": self._waited / seconds,
            "evaluation_seconds": self._evaluated,
            "evaluation_share": self.evaluation_share,
        }
        self._evaluated_before += self._evaluated
        self._start, self._waited, self._evaluated = now, 0.0, 0.0
        return rates

    def close(self) -> None:
        """Ends its thread."""
        self._watcher.shutdown(wait=False, cancel_futures=True)


def _time_of(result: Any) -> float:
    jax.block_until_ready(result)
    return time.perf_counter()


class Progress:
    """A progress bar with speed and time left, and a line a log interval; on process 0 only."""

    def __init__(self, *, step: int, steps: int, active: bool):
        self._active, self._steps = active, steps
        # disable=None: a bar on a terminal only, never in a log file.
        self._bar = tqdm.tqdm(
            total=steps,
            initial=step,
            unit="step",
            disable=None if active else True,
            dynamic_ncols=True,
        )

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._active:
            tqdm.tqdm.write(text)

    def advance(self) -> None:
        """One step is done."""
        self._bar.update()

    def log(self, step: int, metrics: Mapping[str, float], seconds_left: float) -> None:
        """Prints the metrics that people watch."""
        share = metrics["evaluation_share"]
        self.say(
            f"step {step}/{self._steps}  loss {metrics['loss']:.4f}  "
            f"softmax {metrics['margin_softmax']:.4f}  "
            + (f"ddl {metrics['distillation']:.4f}  " if "distillation" in metrics else "")
            + f"lr {metrics['learning_rate']:.2g}  {metrics['images_per_second']:.0f} images/s  "
            f"waiting for data {metrics['data_wait']:.0%}  "
            + (f"evaluations {share:.1%} of the time  " if share else "")
            + f"remaining {tqdm.tqdm.format_interval(seconds_left)}"
        )

    def close(self) -> None:
        """Leaves the bar where it is."""
        self._bar.close()
