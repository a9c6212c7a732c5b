"""How many images a second does a CPU core bring from the disk into a batch?

    python -m benchmarks.data [--source=tfds|recordio|image_folder] [--recipe=cctv]

Faces of synthetic_faces as JPEGs of 112x112, from a source to batches `[b, 1, 112, 112, 3]` uint8:
mirrored; mirrored and degraded by one step; mirrored and degraded by a recipe of several. Prints

- what every stage takes of one core, in microseconds an image, and every step of the recipes;
- what a batch's copy out of a slot of shared memory takes, and the page faults of it;
- images a second and core of the whole pipeline, in threads and in worker processes, beside
  torch.utils.data on the same source with the same decoder and recipe, in turns. Seconds are those
  that the processors spent, in all processes (Linux tells), so that other work counts little;
- images a second by the clock.

The comparison needs PyTorch (pip install torch) and is left out, with a word, where it is absent.
"""

import argparse
import importlib.util
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from etils import epath

from ddl_jax.config import Data, Synthetic
from ddl_jax.data.augment import Augment
from ddl_jax.data.decode import decode_image, fit
from ddl_jax.data.degradations.recipe import Recipe, parse_recipe
from ddl_jax.data.open_source import open_source
from ddl_jax.data.pipeline import HostBatches, batches
from ddl_jax.data.prepare import prepare
from ddl_jax.data.sampling import ImageSampler
from ddl_jax.data.source import Source
from ddl_jax.data.synthetic_faces.render import render_identity
from ddl_jax.interop import write_recordio

_SIZE = (112, 112)
_FOR_EVER = 10**6
_MIRRORED = "mirrored"
_ONE = "resize:12..32"  # the usual degradation: to a small size and back
_OTHERS = (
    "blur:0.5..2",
    "motion:3..12",
    "jpeg:40..90",
    "noise:1..6",
    "dark:0.01..0.1",
    "bar:20..50",
    "mask:56..70",
    "glasses:12..18",
    "rotate:0..20",
    "crop:80..112",
)
_AIMS = {_MIRRORED: "4000", f"{_MIRRORED}, {_ONE}": "2000"}  # images a second and core
_BATCH = "a batch: all of these but degrading"
_THREADS, _WORKERS = "threads", "worker processes"
# How each source's files are made of a folder; the source is then opened by its name.
_WRITERS: dict[str, Callable[[Source, epath.Path], Any]] = {
    "image_folder": lambda folder, place: place / "folder",
    "tfds": lambda folder, place: prepare(folder, str(place), "faces"),
    "recordio": lambda folder, place: write_recordio(
        place / "records", ((record["label"], record["image"]) for record in folder), size=_SIZE
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="tfds", choices=_WRITERS)
    parser.add_argument("--recipe", default="cctv", help="of several steps")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=40, help="of a timed part")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"OpenCV {cv2.__version__}, {vars(options)}")
    with tempfile.TemporaryDirectory() as place:
        source = _make_source(options.source, epath.Path(place), options.people)
        stages = _copies(options) | _stages(source, options)
        _print(stages, _pipelines(source, options))


def _make_source(name: str, place: epath.Path, people: int) -> Source:
    for number in range(people):
        faces = render_identity(0, number, {"easy": 4}, _SIZE[0])
        (place / f"folder/{number}").mkdir(parents=True)
        for view, (_, _, image) in enumerate(faces):
            _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            (place / f"folder/{number}/{view}.jpg").write_bytes(encoded.tobytes())
    folder = open_source(Data("image_folder", str(place / "folder")), Synthetic())
    path = _WRITERS[name](folder, place)
    return open_source(Data(name, str(path)), Synthetic())


def _stages(source: Source, options: argparse.Namespace) -> dict[str, float]:
    """Microseconds an image that a stage takes of one thread."""
    encoded = [record["image"] for record in source]
    images = [decode_image(one, "") for one in encoded]
    mirror = Augment()

    def degrade(recipe: str) -> Callable[[int], Any]:
        change = Augment(flip=False, shares=[(1.0, parse_recipe(recipe))])
        return lambda i: change([images[i]], ("easy",), 0, i)

    stages: dict[str, Callable[[int], Any]] = {
        "read": lambda i: source[i],
        "decode": lambda i: decode_image(encoded[i], ""),
        "fit, of this size already": lambda i: fit(images[i], _SIZE),
        "mirror": lambda i: mirror([images[i]], ("easy",), 0, i),
    }
    stages |= {f"degrade by {one}": degrade(one) for one in (_ONE, *_OTHERS, options.recipe)}
    times: dict[str, list[float]] = {name: [] for name in [*stages, _BATCH]}
    whole = _batches(source, mirror, options.batch)
    for turn in range(options.rounds):
        for name, stage in stages.items():
            start = time.thread_time()
            for i in range(len(source)):
                stage(i)
            times[name].append((time.thread_time() - start) / len(source))
        start = time.thread_time()
        for step in range(4):
            whole[4 * turn + step]
        times[_BATCH].append((time.thread_time() - start) / (4 * options.batch))
    size = np.mean(list(map(len, encoded)))
    print(f"\n{len(source)} images of {size:.0f} bytes; read, decode, ... each on its own")
    return {name: 1e6 * statistics.median(spent) for name, spent in times.items()}


def _copies(options: argparse.Namespace) -> dict[str, float]:
    """Microseconds an image of a batch's copy into new memory, as the pipeline's, and into old."""
    slots = np.ones((4, options.batch, *_SIZE, 3), np.uint8)
    old, kept = np.ones_like(slots[0]), [None, None]  # as a loop has the next one with the last

    def anew(number: int) -> None:
        kept[number % 2] = slots[number % 4].copy()

    def again(number: int) -> None:
        old[...] = slots[number % 4]

    copies = {"a batch's copy into new memory": anew, "the same into old": again}
    times: dict[str, list[float]] = {name: [] for name in copies}
    for turn in range(options.rounds):
        for name, copy in copies.items():
            for number in range(8):
                copy(number)
            start, faults = time.thread_time(), _faults()
            for number in range(options.batches):
                copy(number)
            spent, faults = time.thread_time() - start, _faults() - faults
            times[name].append(spent / (options.batches * options.batch))
            if turn == 0:
                print(f"{name}: {faults / options.batches:.0f} page faults")
    return {name: 1e6 * statistics.median(spent) for name, spent in times.items()}


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _batches(source: Source, augment: Augment, batch: int) -> HostBatches:
    sampler = ImageSampler(np.arange(len(source)), batch_size=batch, seed=0)
    return HostBatches(source, sampler, size=_SIZE, augment=augment, steps=_FOR_EVER)


def _pipelines(
    source: Source, options: argparse.Namespace
) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Seconds an image of whole pipelines in turns, of the processors and by the clock."""
    torch = importlib.util.find_spec("torch") is not None
    if not torch:
        print("\ntorch is not installed (pip install torch): no comparison with torch.utils.data")
    recipes = (_ONE, options.recipe)
    works = {_MIRRORED: None} | {f"{_MIRRORED}, {one}": parse_recipe(one) for one in recipes}
    runs = {}
    for workers in (0, options.workers):
        for work, recipe in works.items():
            where, shares = _WORKERS if workers else _THREADS, [(1.0, recipe)] if recipe else []
            whole = _batches(source, Augment(shares=shares), options.batch)
            runs[work, where, "ours"] = lambda whole=whole, workers=workers: batches(
                whole, step=0, workers=workers
            )
            if torch:
                where = _WORKERS if workers else "its thread"
                loader = _torch(source, recipe, workers, options.batch)
                runs[work, where, "torch.utils.data"] = loader
    spent: dict[Any, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            spent[name].append(_spent(run, options))
    return {name: tuple(map(statistics.median, zip(*times))) for name, times in spent.items()}


def _spent(run: Callable[[], Iterator[Any]], options: argparse.Namespace) -> tuple[float, float]:
    """Seconds an image, of the processors and by the clock, after the first batches.

    The iterator goes on for ever: what workers have made in advance is as much before as after.
    """
    iterator = run()
    for _ in range(8):
        next(iterator)
    before, start = _processor(), time.perf_counter()
    for _ in range(options.batches):
        next(iterator)
    after, end = _processor(), time.perf_counter()
    iterator.close()
    images = options.batch * options.batches
    return (after - before) / images, (end - start) / images


def _processor() -> float:
    """Processor seconds of this process and those it has started, as Linux counts them."""
    ticks = 0
    for process in ("self", *(child.pid for child in multiprocessing.active_children())):
        fields = epath.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _print(
    stages: dict[str, float], pipelines: dict[tuple[str, str, str], tuple[float, float]]
) -> None:
    print("\n| stage | us an image |\n|---|---:|")
    for name, spent in stages.items():
        print(f"| {name} | {spent:.1f} |")
    for where, name in ((_THREADS, "from threads"), (_WORKERS, "from worker processes")):
        more = 1e6 * pipelines[_MIRRORED, where, "ours"][0] - stages[_BATCH]
        print(f"| on top of that, {name} | {more:.1f} |")
    print("\n| images | where | whose | images/s and core | aim | images/s by the clock |")
    print("|---|---|---|---:|---:|---:|")
    for (work, where, whose), (core, clock) in pipelines.items():
        aim = _AIMS.get(work, "")
        print(f"| {work} | {where} | {whose} | {1 / core:.0f} | {aim} | {1 / clock:.0f} |")


class _Faces:
    """What torch.utils.data takes: the usual data set, written with the same parts."""

    def __init__(self, source: Source, recipe: Recipe | None):
        self._source, self._recipe = source, recipe

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int):
        import torch

        record = self._source[number]
        image = decode_image(record["image"], record["path"], _SIZE)
        if torch.rand(()) < 0.5:
            image = cv2.flip(image, 1)
        if self._recipe is not None:
            seed = int(torch.randint(2**31, ()))
            image = self._recipe(image, np.random.default_rng(seed))
        return torch.from_numpy(image), record["label"]


def _torch(source: Source, recipe: Recipe | None, workers: int, batch: int):
    import torch
    from torch.utils.data import DataLoader, RandomSampler

    torch.set_num_threads(1)  # stacking images, more of them only get in each other's way
    faces = _Faces(source, recipe)
    sampler = RandomSampler(faces, replacement=True, num_samples=_FOR_EVER)
    context = {"multiprocessing_context": "spawn"} if workers else {}  # as ours

    def run() -> Iterator[Any]:
        loader = DataLoader(faces, batch, sampler=sampler, num_workers=workers, **context)
        yield from loader

    return run


if __name__ == "__main__":
    main()
