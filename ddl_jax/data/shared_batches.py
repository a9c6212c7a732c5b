"""Memory in which batches come from worker processes, used again and again."""

import contextlib
import dataclasses
import errno
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator
from multiprocessing import shared_memory
from typing import Protocol

import numpy as np

from ddl_jax.errors import UserError

_SLOTS = 4  # of a worker: as many batches it can be ahead
_PAUSE = 0.002  # seconds between two looks at a slot that is not free yet
_FREE, _FULL = 0, 1
_ALIGNED = 64  # bytes
_FOLDER = "/dev/shm"  # where Linux keeps such memory

# A batch: image [b, m, H, W, 3] uint8 RGB and label [b, m] int32.
Batch = dict[str, np.ndarray]


class Batches(Protocol):
    """The batches of all steps; none takes more than `nbytes`."""

    nbytes: int

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> Batch: ...


@dataclasses.dataclass(frozen=True)
class Ticket:
    """What a worker hands over of a batch: the rest is in shared memory."""

    step: int
    arrays: dict[str, tuple[tuple[int, ...], str]]  # shape and type by name


class SharedBatches:
    """Batches that worker processes put into slots of shared memory, and this one takes from there.

    Grain takes new memory for every batch, and the kernel clears its pages one by one: 40 us an
    image of 112x112, a third of what it takes to make one. Slots are cleared once.

    A worker makes every so many steps, in their order; as there is a multiple of the workers of
    slots, each slot is of one worker alone, which waits until the batch before has been taken.
    """

    def __init__(self, whole: Batches, workers: int):
        """Takes the memory; leaving the `with` gives it back.

        Raises:
          UserError: there is not so much.
        """
        self._whole = whole
        self._count, self._start, self._size = _layout(whole, workers)
        self._memory = _take(self._start + self._count * self._size)

    def __len__(self) -> int:
        return len(self._whole)

    def __getitem__(self, step: int) -> Ticket:
        """In a worker: makes a batch and puts it into its slot.

        Raises:
          ValueError: it takes more than `nbytes` of the batches.
        """
        batch, flags = self._whole[step], self._memory.buf
        size = sum(_rounded_up(one.nbytes) for one in batch.values())
        if size > self._size:  # it would go over the next slot
            raise ValueError(
                f"the batch of step {step} takes {size} bytes, more than the {self._size} of a slot"
            )
        slot = step % self._count
        while flags[slot] == _FULL and not flags[self._count]:
            time.sleep(_PAUSE)
        ticket = Ticket(step, {name: (one.shape, one.dtype.str) for name, one in batch.items()})
        for name, place in self._places(ticket):
            place[...] = batch[name]
        flags[slot] = _FULL
        return ticket

    def take(self, ticket: Ticket) -> Batch:
        """In the process that wants it: the batch, and its slot is free."""
        batch = {name: place.copy() for name, place in self._places(ticket)}
        # A plain store: it must not be seen before the loads of the copy are done. x86 promises
        # that; ARM does not, and is taken to keep it over all that Python does in between (numpy
        # takes the lock of the interpreter again after a large copy). Locks of multiprocessing
        # would be sure, but can only be inherited, and grain pickles what workers get.
        self._memory.buf[ticket.step % self._count] = _FREE
        return batch

    def stop(self) -> None:
        """Lets workers go that wait for a slot."""
        self._memory.buf[self._count] = 1

    def __enter__(self) -> "SharedBatches":
        return self

    def __exit__(self, *error: object) -> None:
        self._memory.unlink()
        with contextlib.suppress(BufferError):  # of a batch whose taking was interrupted
            self._memory.close()

    def _places(self, ticket: Ticket) -> Iterator[tuple[str, np.ndarray]]:
        """The arrays of a batch in its slot. Not to be kept: memory in use cannot be closed."""
        place = self._start + ticket.step % self._count * self._size
        for name, (shape, kind) in ticket.arrays.items():
            array = np.ndarray(shape, kind, buffer=self._memory.buf, offset=place)
            place += _rounded_up(array.nbytes)
            yield name, array


def check_room(whole: Batches, workers: int) -> None:
    """Looks whether the batches of so many workers fit into what is free of shared memory now.

    Raises:
      UserError: they do not.
    """
    count, start, size = _layout(whole, workers)
    needed = start + count * size
    if workers and os.path.isdir(_FOLDER) and needed > shutil.disk_usage(_FOLDER).free:
        raise _too_little(needed)


def end_with_parent(worker: int, workers: int) -> None:
    """Ends this worker when its parent is killed; the last one's end gives the memory back.

    To be called when a worker starts: it may have no batch to make.
    """
    del worker, workers  # what grain tells of every worker
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def _layout(whole: Batches, workers: int) -> tuple[int, int, int]:
    """How many slots there are, the place of the first, and the size of each."""
    count = _SLOTS * workers
    # A byte for each slot tells whether it is full, and one more that nobody takes any more.
    return count, _rounded_up(count + 1), _rounded_up(whole.nbytes) + _ALIGNED


def _take(size: int) -> shared_memory.SharedMemory:
    memory = shared_memory.SharedMemory(create=True, size=size)
    try:
        _reserve(memory)
    except OSError as error:
        memory.close()
        memory.unlink()
        if error.errno != errno.ENOSPC:
            raise
        raise _too_little(size) from error
    return memory


def _too_little(needed: int) -> UserError:
    return UserError(
        f"batches from worker processes need {-(-needed >> 20)} MiB of shared memory, and "
        f"{_FOLDER} has {shutil.disk_usage(_FOLDER).free >> 20} free; give more "
        "(docker run --shm-size), take fewer config.data.workers, or none: 0 decodes in the "
        "training process"
    )


def _reserve(memory: shared_memory.SharedMemory) -> None:
    """Makes its pages: new memory is a promise, which several processes may have of the same pages.

    A worker would be killed (SIGBUS) when it writes what there is no room for.
    """
    if os.path.isdir(_FOLDER):
        with open(os.path.join(_FOLDER, memory.name), "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, memory.size)


def _rounded_up(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
