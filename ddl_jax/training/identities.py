"""Whose faces a run was trained on, so that an evaluation can say whom the network knows."""

import os
from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
from etils import epath

from ddl_jax.config import Data, Synthetic
from ddl_jax.data.source import RecordIndex
from ddl_jax.files import is_remote, write_atomically
from ddl_jax.training.checkpoint import config_path, read_config


class Known(NamedTuple):
    """Identities by name. A name means the same person only within one `place`."""

    place: tuple[str, ...]
    names: frozenset[str]

    @classmethod
    def of(cls, data: Data, synthetic: Synthetic, index: RecordIndex) -> Self:
        """The identities of a data set."""
        return cls(_place(data, synthetic), frozenset(index.identities.tolist()))


def _place(data: Data, synthetic: Synthetic) -> tuple[str, ...]:
    if data.source == "synthetic_faces":
        return data.source, str(synthetic.seed)  # made of it, wherever the pictures are kept
    remote = is_remote(data.path)
    return data.source, data.path.rstrip("/") if remote else os.path.realpath(data.path)


def _path(workdir: epath.PathLike) -> epath.Path:
    return epath.Path(workdir) / "identities.txt"


def write(workdir: epath.PathLike, index: RecordIndex) -> None:
    """Writes the identities, one a line: line n is class n of the heads, counted from 0."""
    _, first = np.unique(index.labels, return_index=True)
    names = "".join(f"{name}\n" for name in index.identities[first])
    write_atomically(_path(workdir), names.encode())


def trained_on(workdir: epath.PathLike) -> list[Known]:
    """The identities of a run and of those that it started from, as far as they are still there."""
    found, seen = [], set()
    path = epath.Path(workdir) if workdir else None
    while path is not None and _path(path).exists() and config_path(path).exists():
        if path in seen:
            break
        seen.add(path)
        config = read_config(path)
        names = frozenset(_path(path).read_text().splitlines())
        if config.steps:  # else the weights were only taken over
            found.append(Known(_place(config.data, config.synthetic), names))
        path = epath.Path(config.init_from.path) if config.init_from.path else None
    return found


def seen(trained: Iterable[Known], evaluated: Known) -> int:
    """How many identities of an evaluation were trained on: its numbers flatter by as much."""
    known = (one.names for one in trained if one.place == evaluated.place)
    return len(frozenset().union(*known) & evaluated.names)


def warning(count: int) -> str:
    """What to tell of them."""
    return (
        f"ATTENTION: {count} identities of the evaluation are trained on, and flatter it; set "
        "config.data.identities and config.evaluation.data.identities apart"
    )
