"""A pool of worker processes for work on images, and how many there may be."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2


def available_cores() -> int:
    """How many cores this process may use."""
    # Not os.cpu_count(): a container or a job may have been given fewer.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(workers: int, shared: Any = None) -> concurrent.futures.ProcessPoolExecutor:
    """A pool in which OpenCV takes one thread a process.

    Args:
      workers: number of processes.
      shared: what `map_shared` hands to its function.
    """
    # Not by fork: JAX, which the caller may have started, has threads. And not by threads: the
    # many small array operations hold the interpreter's lock, and two gain nothing.
    return concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(shared,),
    )


def map_shared(
    function: Callable[[Any, Any], Any], shared: Any, tasks: Sequence[Any], workers: int
) -> Iterator[Any]:
    """`function(shared, task)` of every task, as they are done; `shared` travels once a process.

    With one worker, or one task, everything is done in this process, in order. After an exception,
    or the end of the caller's loop, no task goes on.
    """
    workers = min(workers, len(tasks))
    if workers < 2:
        for task in tasks:
            yield function(shared, task)
        return
    others = set(multiprocessing.active_children())
    pool = process_pool(workers, shared)
    try:
        futures = [pool.submit(_with_shared, function, task) for task in tasks]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except BaseException:
        # A task may take a minute, for which nobody who has pressed Ctrl-C should wait.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_shared: Any = None  # of a worker process


def _start(shared: Any) -> None:
    global _shared
    _shared = shared
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's matter, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next task for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _with_shared(function: Callable[[Any, Any], Any], task: Any) -> Any:
    return function(_shared, task)
