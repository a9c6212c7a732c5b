"""The programs as somebody would start them: each in a process of its own."""

import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def start_program(program, arguments, cache, **environment):
    """Starts `train.py` or another on CPU; what it prints and its errors come in one stream."""
    environment |= {
        "JAX_PLATFORMS": "cpu",
        # Programs that start again compile the same step: kept, they take a third of the time.
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, program, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def newest_checkpoint(workdir):
    """The step of the newest whole checkpoint; 0 where there is none."""
    folder = os.path.join(workdir, "checkpoints")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return max((int(name) for name in names if name.isdigit()), default=0)


def wait_for_a_checkpoint(workdir, started):
    """Until the run of these programs has one."""
    deadline = time.monotonic() + 300
    while newest_checkpoint(workdir) == 0:
        for process in started:
            assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
