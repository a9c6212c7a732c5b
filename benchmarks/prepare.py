"""How fast `python -m ddl_jax.data prepare` is, beside reading and decoding the images alone.

python -m benchmarks.prepare [--images=20000] [--workers 1 2] [--side=112] [--landmarks]
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

from ddl_jax.data.alignment import template_points
from ddl_jax.data.synthetic_faces.render import render_identity

_FACES = 40  # rendered; every image is one of them, turned and shifted at random


def make_images(root: pathlib.Path, images: int, side: int) -> None:
    """Writes `root/faces/<identity>/<number>.jpg` and `root/points.txt`."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    faces = [render_identity(0, i, {"easy": 1}, 112)[0][2] for i in range(_FACES)]
    points = np.column_stack([template_points("arcface_112"), np.ones(5)])
    lines = []
    for number in range(images):
        turn = cv2.getRotationMatrix2D((56, 56), rng.uniform(-30, 30), side / 112)
        turn[:, 2] += (side - 112) / 2 + rng.uniform(-side / 20, side / 20, 2)
        photo = cv2.warpAffine(faces[number % _FACES], turn, (side, side))
        path = f"{number // 20:06d}/{number}.jpg"
        (root / "faces" / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "faces" / path), photo[..., ::-1])
        lines.append(" ".join([path, *map(str, np.round(points @ turn.T, 2).ravel())]))
    (root / "points.txt").write_text("\n".join(lines))


def seconds_to_decode(root: pathlib.Path) -> float:
    """Reading and decoding every image once, in seconds of a core."""
    start = time.process_time()
    for path in sorted((root / "faces").rglob("*.jpg")):
        cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--side", type=int, default=112, help="pixels of an image")
    parser.add_argument("--landmarks", action="store_true", help="align to 112x112")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        make_images(root, args.images, args.side)
        alone = seconds_to_decode(root)
        print(f"{args.images} images of {args.side} x {args.side}")
        print(f"decoded once: {alone:.1f} seconds of a core, {args.images / alone:.0f} images/s")
        for workers in args.workers:
            command = [sys.executable, "-m", "ddl_jax.data", "prepare", f"--path={root / 'faces'}"]
            command += [f"--out={root}", f"--name=with{workers}", f"--workers={workers}"]
            command += [f"--landmarks={root / 'points.txt'}"] if args.landmarks else []
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            spent = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{workers} processes: {args.images / spent:.0f} images/s; {cores:.0f} seconds of "
                f"a core, {cores / alone:.1f} times decoding alone; the largest process so far "
                f"has {after.ru_maxrss / 1024:.0f} MiB"
            )


if __name__ == "__main__":
    main()
