"""What becomes of a program of several processes when one of them is gone."""

import signal
import socket
import time

import pytest

from tests.programs import start_program

# Process 1 does what the test says, and process 0 works on, in a call of jax that never returns.
PROGRAM = """
import os, signal, sys, time
import jax
from ddl_jax import process_watch
from ddl_jax.errors import UserError

jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]), heartbeat_timeout_seconds=60)
with process_watch.watched(2):
    print("together", flush=True)
    if sys.argv[2] == sys.argv[3]:
        time.sleep(1)
        exec(sys.argv[4])
    time.sleep(60)
"""


@pytest.fixture
def start(tmp_path):
    """Starts two processes of a program of which one does something else."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    started = []

    def start(who: int, what: str):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        for number in (0, 1):
            arguments = [address, str(number), str(who), what]
            started.append(start_program(script, arguments, tmp_path, PYTHONPATH="."))
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end_of(process, seconds):
    """What it has printed, and its status; seconds are from when both were together."""
    assert process.stdout.readline() == "together\n"
    begun = time.monotonic()
    output = process.stdout.read()  # of the same buffer as the line before
    assert time.monotonic() - begun < seconds, output
    return output, process.wait()


def test_a_process_that_is_killed_is_named(start):
    first, second = start(1, "os.kill(os.getpid(), signal.SIGKILL)")
    output, status = end_of(first, 20)
    told = f"program.py: process 1 on {socket.gethostname()} has not been heard of for "
    assert output.startswith(told) and output.count("\n") == 1 and status == 1
    assert end_of(second, 20)[1] == -signal.SIGKILL


def test_a_process_that_ends_by_an_error_is_told_with_the_reason(start):
    first, second = start(1, "raise UserError('no images; mend it')")
    output, status = end_of(first, 20)
    told = f"process 1 on {socket.gethostname()} has ended (no images; mend it); the same command"
    assert output.startswith(f"program.py: {told}") and status == 1
    # It does not wait for those that have ended.
    assert "UserError: no images; mend it" in end_of(second, 20)[0]
    assert second.returncode == 2


def test_the_end_of_process_0_has_a_line_too(start):
    _, second = start(0, "os.kill(os.getpid(), signal.SIGKILL)")
    output, status = end_of(second, 20)
    assert "program.py: process 1 ended without a word: killed, or by jax because" in output
    assert status == -signal.SIGABRT
