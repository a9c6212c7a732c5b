"""Whether the machine is wanted back: SIGTERM, as clouds and job schedulers say it."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import multihost_utils


class _AtOnce(BaseException):  # not an Exception: what is dropped must not catch it
    """SIGTERM came where nothing would be lost by leaving."""


class Preemption:
    """Hears SIGTERM while it is open, in place of dying of it.

    With several processes one that hears it is enough: jax's coordination service tells the others,
    and all of them leave after the same step.
    """

    def __init__(self) -> None:
        self._heard = self._at_once = False
        # jax has a handler of its own where processes are coordinated; only a program's main thread
        # may have any.
        self._alone = jax.process_count() == 1
        self._listens = self._alone and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "Preemption":
        if self._listens:
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._before)

    def _hear(self, *_: Any) -> None:
        self._heard = True
        if self._at_once:
            self._at_once = False  # not again, in whatever cleans up
            raise _AtOnce

    def reached(self, step: int) -> bool:
        """Whether to leave after this step: the same answer in every process."""
        if self._alone:
            return self._heard
        return multihost_utils.reached_preemption_sync_point(step)

    def at_once(self, work: Callable[[], None]) -> bool:
        """Does work that is dropped, without an error, when SIGTERM comes: an evaluation.

        Returns:
          Whether it was done.
        """
        try:
            self._at_once = True
            if self._heard:
                return False
            work()
            self._at_once = False
            return True
        except _AtOnce:
            return False
        finally:
            self._at_once = False
