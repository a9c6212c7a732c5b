"""How many images a second does a CPU core bring from the disk into a batch?

    python -m benchmarks.data [--source=tfds] [--recipe=cctv]

Faces of synthetic_faces as JPEGs of 112x112, from a source to batches `[b, 1, 112, 112, 3]` uint8:
mirrored, and mirrored and degraded by a recipe. Prints

- what every stage takes of one core, in microseconds an image;
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
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from etils import epath

from ddl_jax.config import Data, Synthetic
from ddl_jax.data import tfds_source
from ddl_jax.data.augment import Augment
from ddl_jax.data.decode import decode_image, fit
from ddl_jax.data.degradations.recipe import Recipe, parse_recipe
from ddl_jax.data.open_source import open_source
from ddl_jax.data.pipeline import BatchRows, batches
from ddl_jax.data.sampling import ImageSampler
from ddl_jax.data.source import Source
from ddl_jax.data.synthetic_faces.render import render_identity

_SIZE = (112, 112)
_FOR_EVER = 10**6
_TARGETS = {"mirrored": 4000, "degraded": 2000}  # images a second and core
# How each source's files are made of a folder; the source is then opened by its name.
_WRITERS: dict[str, Callable[[Source, epath.Path], Any]] = {
    "image_folder": lambda folder, place: place / "folder",
    "tfds": lambda folder, place: tfds_source.pack(folder, str(place), "faces"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="tfds", choices=_WRITERS)
    parser.add_argument("--recipe", default="cctv")
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=40, help="of a timed part")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"OpenCV {cv2.__version__}, {vars(options)}")
    with tempfile.TemporaryDirectory() as place:
        source = _make_source(options.source, epath.Path(place), options.people)
        recipe = parse_recipe(options.recipe)
        _stages(source, recipe, options.rounds)
        _pipelines(source, recipe, options)


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


def _stages(source: Source, recipe: Recipe, rounds: int) -> None:
    """What a stage takes of this thread."""
    encoded = [record["image"] for record in source]
    images = [decode_image(one, "") for one in encoded]
    augments = {
        "mirror": Augment(),
        "mirror and degrade": Augment(shares=[(1.0, recipe)]),
    }
    sampler = ImageSampler(np.arange(len(source)), batch_size=128, seed=0)
    rows = BatchRows(source, sampler, size=_SIZE, augment=augments["mirror"], steps=_FOR_EVER)
    stages: dict[str, Callable[[int], Any]] = {
        "read": lambda i: source[i],
        "decode": lambda i: decode_image(encoded[i], ""),
        "fit (of this size already)": lambda i: fit(images[i], _SIZE),
        **{
            name: lambda i, augment=augment: augment([images[i]], ("easy",), 0, i)
            for name, augment in augments.items()
        },
        "a row: all of it but degrading": lambda i: rows[i],
    }
    times: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            start = time.thread_time()
            for i in range(len(source)):
                stage(i)
            times[name].append(1e6 * (time.thread_time() - start) / len(source))
    print(f"\n{len(source)} images of {np.mean(list(map(len, encoded))):.0f} bytes")
    print("| stage | us an image |\n|---|---:|")
    for name, spent in times.items():
        print(f"| {name} | {statistics.median(spent):.1f} |")


def _pipelines(source: Source, recipe: Recipe, options: argparse.Namespace) -> None:
    """Whole pipelines in turns."""
    runs = {}
    for workers in (0, options.workers):
        where = f"{workers} worker processes" if workers else "threads"
        for work, shares in (("mirrored", []), ("degraded", [(1.0, recipe)])):
            runs[work, where, "ours"] = _ours(source, Augment(shares=shares), workers, options)
            if importlib.util.find_spec("torch"):
                where_torch = where if workers else "this thread"
                runs[work, where_torch, "torch.utils.data"] = _torch(
                    source, recipe if shares else None, workers, options
                )
    if not importlib.util.find_spec("torch"):
        print("\ntorch is not installed (pip install torch): no comparison with torch.utils.data")
    spent: dict[Any, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            spent[name].append(_spent(run, options))
    print("\n| images | where | whose | images/s and core | aim | images/s by the clock |")
    print("|---|---|---|---:|---:|---:|")
    for (work, where, whose), times in spent.items():
        core, clock = (1 / statistics.median(column) for column in zip(*times))
        print(f"| {work} | {where} | {whose} | {core:.0f} | {_TARGETS[work]} | {clock:.0f} |")


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


def _ours(source: Source, augment: Augment, workers: int, options: argparse.Namespace):
    sampler = ImageSampler(np.arange(len(source)), batch_size=options.batch, seed=0)
    rows = BatchRows(source, sampler, size=_SIZE, augment=augment, steps=_FOR_EVER)
    return lambda: batches(rows, step=0, workers=workers)


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


def _torch(source: Source, recipe: Recipe | None, workers: int, options: argparse.Namespace):
    import torch
    from torch.utils.data import DataLoader, RandomSampler

    torch.set_num_threads(1)  # stacking images, more of them only get in each other's way
    faces = _Faces(source, recipe)
    sampler = RandomSampler(faces, replacement=True, num_samples=_FOR_EVER)
    context = {"multiprocessing_context": "spawn"} if workers else {}  # as ours

    def run() -> Iterator[Any]:
        loader = DataLoader(faces, options.batch, sampler=sampler, num_workers=workers, **context)
        yield from loader

    return run


if __name__ == "__main__":
    main()
