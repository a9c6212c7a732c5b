"""`data_wait`: the share of the time in which the devices waited for data, and nothing else."""

import time

import pytest

from ddl_jax.training.metrics import Progress, Stopwatch


class Work:
    """What a step returns before the devices are done with it."""

    def __init__(self, seconds: float):
        self._end = time.perf_counter() + seconds

    def block_until_ready(self) -> None:
        time.sleep(max(self._end - time.perf_counter(), 0))


def _slow(seconds: float):
    while True:
        time.sleep(seconds)
        yield None


@pytest.fixture
def watch():
    watch = Stopwatch()
    yield watch
    watch.close()


# Seconds of a step on the devices and of making a batch, and the share that only the latter takes.
@pytest.mark.parametrize(
    "step, batch, share", [(0.0, 0.1, 1.0), (0.1, 0.2, 0.5), (0.2, 0.1, 0.0), (0.1, 0.0, 0.0)]
)
def test_only_waiting_without_work_counts(watch, step, batch, share):
    data = _slow(batch)
    watch.wait_for(data)
    watch.lap(0)
    for _ in range(3):
        work = Work(step)
        watch.running(work)
        watch.wait_for(data)
        work.block_until_ready()
    rates = watch.lap(30)
    assert abs(rates["data_wait"] - share) < 0.2  # of a machine that may be busy
    assert rates["images_per_second"] <= 30 / (3 * max(step, batch))
    assert watch.lap(1)["data_wait"] == 0.0


def test_the_first_batch_is_waited_for_with_nothing_to_do(watch):
    watch.wait_for(_slow(0.1))
    assert watch.lap(1)["data_wait"] > 0.8


def test_a_step_that_fails_is_not_passed_over(watch):
    class Broken:
        def block_until_ready(self) -> None:
            raise RuntimeError("no memory")

    watch.running(Broken())
    with pytest.raises(RuntimeError, match="no memory"):
        watch.wait_for(_slow(0.2))


def test_the_log_line_tells_the_share(capsys):
    names = ("loss", "margin_softmax", "learning_rate", "images_per_second")
    progress = Progress(step=0, steps=9, active=True)
    row = dict.fromkeys(names, 1.0) | {"data_wait": 0.374, "evaluation_share": 0.0}
    progress.log(3, row, 60.0)
    progress.log(4, row | {"evaluation_share": 0.0123}, 60.0)
    progress.close()
    without, told = capsys.readouterr().out.splitlines()
    assert "waiting for data 37%" in told and "evaluations 1.2% of the time" in told
    assert "evaluation" not in without


def test_evaluations_are_timed_apart_and_are_no_training(watch, monkeypatch):
    now = [10.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    watch.__init__()

    def passes(seconds: float) -> None:
        now[0] += seconds

    passes(4)
    with watch.evaluating():
        passes(1)
    passes(5)
    row = watch.lap(90)
    assert row == {
        "images_per_second": 10.0,
        "data_wait": 0.0,
        "evaluation_seconds": 1.0,
        "evaluation_share": 0.1,
    }
    passes(10)
    row = watch.lap(90)  # without an evaluation: of the time since the start
    assert (row["images_per_second"], row["evaluation_seconds"]) == (9.0, 0.0)
    assert row["evaluation_share"] == 0.05
    with pytest.raises(OSError), watch.evaluating():
        passes(5)
        raise OSError
    assert watch.evaluation_share == 0.24
