"""Slots of shared memory: batches come through them unchanged, in order, and leave nothing."""

import contextlib
import os
import pathlib
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from multiprocessing import shared_memory

import numpy as np
import pytest

from ddl_jax.data.shared_batches import SharedBatches
from ddl_jax.errors import UserError


class Counted:
    """Batches of odd sizes, each other than all others."""

    nbytes = 7 * 5 * 3 + 4 * 7

    def __len__(self) -> int:
        return 100

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        rng, rows = np.random.default_rng(step), 1 + step % 7
        return {
            "image": rng.integers(0, 256, (rows, 5, 3)).astype(np.uint8),
            "label": rng.integers(0, 1 << 30, rows).astype(np.int32),
        }


def _assert_batch(batch: dict[str, np.ndarray], step: int) -> None:
    expected = Counted()[step]
    assert batch.keys() == expected.keys()
    for name in batch:
        np.testing.assert_array_equal(batch[name], expected[name], strict=True)


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_out_as_they_were_made_however_often_a_slot_is_used(workers):
    with SharedBatches(Counted(), workers) as shared:
        worker = pickle.loads(pickle.dumps(shared))  # as it comes to another process
        assert len(worker) == 100
        tickets = [worker[step] for step in range(4 * workers)]
        kept = []
        for step in range(100):
            kept.append(shared.take(tickets[step]))
            if len(tickets) < 100:
                tickets.append(worker[len(tickets)])
        for step, batch in enumerate(kept):  # later ones have not been written over them
            _assert_batch(batch, step)


def test_a_full_slot_is_waited_for():
    with SharedBatches(Counted(), 1) as shared:
        tickets = [shared[step] for step in range(4)]
        waiting = threading.Thread(target=lambda: tickets.append(shared[4]))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        _assert_batch(shared.take(tickets[0]), 0)
        waiting.join(10)
        for step in range(1, 5):
            _assert_batch(shared.take(tickets[step]), step)


def test_a_worker_that_waits_is_let_go_at_the_end():
    with SharedBatches(Counted(), 1) as shared:
        for step in range(4):
            shared[step]
        waiting = threading.Thread(target=lambda: shared[4])
        waiting.start()
        shared.stop()
        waiting.join(10)
        assert not waiting.is_alive()


def test_a_batch_larger_than_was_said_does_not_go_over_the_next_one():
    class Larger(Counted):
        def __getitem__(self, step: int) -> dict[str, np.ndarray]:
            batch = Counted()[step]
            return batch | {"more": np.zeros(200, np.uint8)} if step == 4 else batch

    with SharedBatches(Larger(), 1) as shared:
        tickets = [shared[step] for step in range(4)]
        _assert_batch(shared.take(tickets[0]), 0)
        with pytest.raises(ValueError, match="step 4 takes .* bytes, more than the .* of a slot"):
            shared[4]
        for step in range(1, 4):
            _assert_batch(shared.take(tickets[step]), step)


def test_memory_is_given_back():
    with SharedBatches(Counted(), 2) as shared:
        name = shared._memory.name
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(name)


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="Linux keeps such memory there")
def test_memory_is_there_from_the_beginning():
    # Not only promised: others that look at what is free then see what is left.
    with SharedBatches(Counted(), 2) as shared:
        memory = shared._memory
        assert os.stat(f"/dev/shm/{memory.name}").st_blocks * 512 >= memory.size


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="Linux keeps such memory there")
def test_too_little_memory_is_told_before_a_worker_is_killed_for_it(monkeypatch):
    class Large(Counted):
        nbytes = shutil.disk_usage("/dev/shm").total // 8 + 1

    class Recorded(shared_memory.SharedMemory):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            names.append(self.name)

    names = []
    monkeypatch.setattr(shared_memory, "SharedMemory", Recorded)
    # What is free now may be taken by another process of this host at the same time.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1 << 60))
    with pytest.raises(UserError, match="need .* MiB of shared .* free; .*config.data.workers"):
        SharedBatches(Large(), 2)
    assert len(names) == 1 and not os.path.exists(f"/dev/shm/{names[0]}")


_PARENT = """
import multiprocessing, os, signal, threading, time
from ddl_jax.data.pipeline import batches
from tests.data.test_shared_batches import Counted

if __name__ == "__main__":
    made = batches(Counted(), step={step}, workers=2)
    {wait}
    print(open("/proc/self/maps").read(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
_AT_WORK = "next(made)"
_AT_START = """threading.Thread(target=next, args=(made,)).start()
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.01)"""


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("step", "wait"),
    [(0, _AT_WORK), pytest.param(99, _AT_START, id="one-worker-has-nothing-to-make")],
)
def test_workers_and_memory_go_when_their_parent_is_killed(step, wait, tmp_path):
    program, mark = tmp_path / "parent.py", f"MARK={tmp_path}"
    program.write_text(_PARENT.format(step=step, wait=wait))
    environment = dict(os.environ, MARK=str(tmp_path), PYTHONPATH=os.getcwd())
    done = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    memory = re.findall(r"/dev/shm/\S+", done.stdout)
    until = time.monotonic() + 60
    while (left := _processes_with(mark)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
    assert memory and not any(map(os.path.exists, memory))


def _processes_with(mark: str) -> list[str]:
    """Processes that have this in their environment."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark.encode() in pathlib.Path("/proc", process, "environ").read_bytes():
                found.append(process)
    return found
