"""What the processes of a program know of each other: that all live, or which is gone, and why.

jax ends a program of which a process is lost by aborting the others, minutes later and with pages
of C++; until then they wait in a collective. Here each says every few seconds that it lives, by
the coordination service that `jax.distributed` has started in process 0, and who ends before its
time says so with the reason.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from ddl_jax.errors import Preempted, UserError
from ddl_jax.last_words import last_words, program

_ALIVE, _GONE = "ddl_jax/alive", "ddl_jax/gone"  # keys of the coordination service
_LISTENS = 1.0  # seconds of a call
_GRACE = 2.0  # seconds in which a process that hears of another's end may end by itself
# What a step says of its own process, and not of a collective.
_OWN = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
_ADVICE = "the same command in all processes goes on from the last checkpoint"


@contextlib.contextmanager
def watched(timeout: float) -> Iterator[None]:
    """Runs a program that ends with a line, and not in a collective, if another process is gone.

    A process that nobody has heard of for `timeout` seconds, or that has ended by an error, ends
    all others with status 1 and one line that names it and its host. Nothing is watched in a
    program of one process.

    Args:
      timeout: seconds.
    """
    from jax._src import distributed  # jax has no public name for the client; Orbax takes it too

    state = distributed.global_state
    if state.client is None or state.num_processes == 1:
        yield
        return
    told = (
        f"process {state.process_id} ended without a word: killed, or by jax because process 0 at "
        f"{state.coordinator_address} is gone; {_ADVICE}"
    )
    with last_words(told) as goodbye:
        watch = _Watch(state.client, state.process_id, state.num_processes, timeout, goodbye)
        with watch.reporting():
            yield


class _Watch:
    """Tells the others that this process lives, and ends it when one of them does not."""

    def __init__(
        self,
        client: Any,
        process: int,
        processes: int,
        timeout: float,
        goodbye: Callable[[], None],
    ):
        self._client, self._process, self._processes = client, process, processes
        self._goodbye = goodbye
        self._timeout, self._every = timeout, min(timeout / 10, 5.0)
        self._stopped = threading.Event()
        self._hosts: dict[int, str] = {}

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """While this process works. An error that ends it ends the others too."""
        threads = [threading.Thread(target=f, daemon=True) for f in (self._beat, self._listen)]
        for thread in threads:
            thread.start()
        try:
            yield
        except Preempted:
            raise  # all processes leave after the same step
        except jax.errors.JaxRuntimeError as error:
            words = str(error).strip().splitlines()[0][:300]
            if words.startswith(_OWN):
                self._leave(words, 1)
                raise
            # Some collectives fail where another process is gone, others wait for it.
            _say(f"a step failed ({words}); which process is gone shows in {self._timeout} s")
            time.sleep(self._timeout + 2 * self._every + 3 * _GRACE)  # to the end, if one is gone
            self._leave(words, 1)
            raise
        except BaseException as error:
            status = 2 if isinstance(error, UserError) else 1
            self._leave(str(error) or type(error).__name__, status)
            raise
        finally:
            self._stopped.set()
            # Python ends a thread that is in a call of the client's by aborting the program.
            for thread in threads:
                thread.join(timeout=3 * _LISTENS)

    def _leave(self, reason: str, status: int) -> None:
        """Tells the others that this process ends before its time."""
        self._tell(f"process {self._process} on {socket.gethostname()} has ended ({reason})")
        # jax waits minutes at the end of a program for processes that will not come. Before process
        # 0 ends, with which jax aborts this one.
        end = threading.Timer(1.5 * _GRACE, _end, (status,))
        end.daemon = True
        end.start()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # another was first
            self._client.key_value_set(_GONE, line)

    def _beat(self) -> None:
        heard = {number: ("", time.monotonic()) for number in range(self._processes)}
        beats = 0
        while not self._stopped.wait(self._every):
            beats += 1
            value = f"{beats} {socket.gethostname()}"
            try:
                key = f"{_ALIVE}/{self._process}"
                self._client.key_value_set(key, value, allow_overwrite=True)
                told = self._client.key_value_dir_get(_ALIVE)
            except jax.errors.JaxRuntimeError:
                continue  # a call that failed once, or process 0 is gone and jax aborts this one
            now = time.monotonic()
            for key, value in told:
                number = int(key.rpartition("/")[2])
                self._hosts[number] = value.partition(" ")[2]
                if value != heard[number][0]:
                    heard[number] = (value, now)
            for number, (_, when) in heard.items():
                if now - when > self._timeout:
                    self._tell(f"{self._name(number)} has not been heard of for {now - when:.0f} s")

    def _name(self, number: int) -> str:
        return f"process {number} on {self._hosts.get(number, 'an unknown host')}"

    def _listen(self) -> None:
        """Waits for the news that a process is gone."""
        while not self._stopped.is_set():
            try:
                line = self._client.blocking_key_value_get(_GONE, int(1000 * _LISTENS))
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    self._stopped.wait(self._every)  # as in _beat
                continue
            # The others hear it from process 0, and are aborted when it ends before them.
            if not self._stopped.wait(_GRACE if self._process else 2 * _GRACE):
                self._goodbye()
                _say(f"{line}; {_ADVICE}")
                _end(1)
            return


def _end(status: int) -> None:
    sys.stdout.flush()
    os._exit(status)


def _say(line: str) -> None:
    os.write(sys.stderr.fileno(), f"{program()}: {line}\n".encode())
