"""Slots of shared memory: batches come through them unchanged, in order, and leave nothing."""

import pickle
import shutil
import threading
import types
from multiprocessing import shared_memory

import numpy as np
import pytest

from ddl_jax.data.shared_batches import SharedBatches
from ddl_jax.errors import UserError


class _Counted:
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
    expected = _Counted()[step]
    assert batch.keys() == expected.keys()
    for name in batch:
        np.testing.assert_array_equal(batch[name], expected[name], strict=True)


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_out_as_they_were_made_however_often_a_slot_is_used(workers):
    with SharedBatches(_Counted(), workers) as shared:
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
    with SharedBatches(_Counted(), 1) as shared:
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
    with SharedBatches(_Counted(), 1) as shared:
        for step in range(4):
            shared[step]
        waiting = threading.Thread(target=lambda: shared[4])
        waiting.start()
        shared.stop()
        waiting.join(10)
        assert not waiting.is_alive()


def test_memory_is_given_back():
    with SharedBatches(_Counted(), 2) as shared:
        name = shared._memory.name
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(name)


def test_too_little_memory_is_told_before_a_worker_is_killed_for_it(monkeypatch):
    class Large(_Counted):
        nbytes = 1 << 30

    usage = types.SimpleNamespace(free=64 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="need 8192 MiB .* has 64 free; .*config.data.workers"):
        SharedBatches(Large(), 2)
