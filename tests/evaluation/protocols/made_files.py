"""Small benchmarks in the layouts of the real ones."""

import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from ddl_jax.evaluation.protocols import Protocol


def write_names(root: pathlib.Path, names: Iterable[str]) -> None:
    """Files that hold their own names: enough for all but embedding them."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def write_lfw(root: pathlib.Path, *, folds: int = 10, each: int = 2) -> str:
    """LFW's layout: `pairs.txt` and `lfw/NAME/NAME_0001.jpg` -> the list's path.

    Fold f has the genuine pairs `Ann_f_k 1 2` and the impostor pairs `Ann_f_k 1 Ann_f_(k-1) 2`.
    """
    lines, names = [f"{folds}\t{each}"], []
    for fold in range(folds):
        people = [f"Ann_{fold}_{k}" for k in range(each)]
        lines += [f"{person}\t1\t2" for person in people]
        lines += [f"{person}\t1\t{people[k - 1]}\t2" for k, person in enumerate(people)]
        names += [f"lfw/{person}/{person}_000{n}.jpg" for person in people for n in (1, 2)]
    write_names(root, names)
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    return str(root / "pairs.txt")


def rows_of(protocol: Protocol, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The embeddings of a protocol's images by the last part of their paths."""
    paths = [protocol.images[number]["path"] for number in range(len(protocol.images))]
    return np.stack([values[path.rsplit("/", 1)[-1]] for path in paths])


def directions(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)
