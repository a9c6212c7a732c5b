"""How long does a run look at its data before it begins, the first time and the next?

    python -m benchmarks.first_start [--images=200000]

Makes a `train.rec` of smooth random 112x112 JPEGs in a temporary folder and opens it in two new
processes, one after the other. Prints seconds, the peak memory of the opening process, and the
ratio of the first start's processor time to the limit: OpenCV decoding the same images.
"""

import resource
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np
from absl import app, flags

from ddl_jax.data.worker_pool import available_cores
from ddl_jax.interop import RecordIOSource, write_recordio

_IMAGES = flags.DEFINE_integer("images", 200_000, "Images of the set, 60 a person.")
_OPEN = flags.DEFINE_string("open", "", "Opens this set and prints what it took.")
_DIFFERENT = 500


def main(_) -> None:
    if _OPEN.value:
        start = time.perf_counter()
        images = len(RecordIOSource(_OPEN.value).index)
        print(f"{images} images in {time.perf_counter() - start:.1f} s, ", end="")
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")
        return
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (_DIFFERENT, 112, 112, 3), np.uint8)
    jpegs = [cv2.imencode(".jpg", cv2.GaussianBlur(n, (0, 0), 1.5))[1].tobytes() for n in noise]
    start = time.process_time()
    for jpeg in jpegs:
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    decoding = (time.process_time() - start) / len(jpegs)
    with tempfile.TemporaryDirectory() as folder:
        write_recordio(folder, ((n // 60, jpegs[n % _DIFFERENT]) for n in range(_IMAGES.value)))
        command = [sys.executable, "-m", "benchmarks.first_start", f"--open={folder}"]
        first = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used = resource.getrusage(resource.RUSAGE_CHILDREN)  # its own and its processes'
        again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    taken, limit = used.ru_utime + used.ru_stime, decoding * _IMAGES.value
    print(f"first start: {first}next start: {again}", end="")
    print(f"processor time {taken:.0f} s, {taken / limit:.2f} times decoding alone; ", end="")
    print(f"{available_cores()} cores")


if __name__ == "__main__":
    app.run(main)
