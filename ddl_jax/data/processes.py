"""Worker processes for work on images."""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import cv2


def available_cores() -> int:
    """How many cores this process may use."""
    # Not os.cpu_count(): a container or a job may have been given fewer.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(
    workers: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> concurrent.futures.ProcessPoolExecutor:
    """A pool in which OpenCV takes one thread a process.

    Args:
      workers: number of processes.
      initializer: called with `arguments` in each of them when it starts.
    """
    # Not by fork: JAX, which the caller may have started, has threads. And not by threads: the
    # many small array operations hold the interpreter's lock, and two gain nothing.
    return concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(initializer, *arguments),
    )


def _start(initializer: Callable[..., None] | None, *arguments: Any) -> None:
    cv2.setNumThreads(1)
    if initializer:
        initializer(*arguments)
