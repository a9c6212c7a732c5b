"""The programs as somebody would start them: each in a process of its own."""

import os
import subprocess
import sys

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
