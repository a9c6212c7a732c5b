"""Whole files or none: what a reader finds was written to its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from etils import epath


def write_atomically(path: epath.PathLike, content: bytes) -> None:
    """Writes `path` through a temporary file beside it; makes its folder; local or `gs://`."""
    epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def atomic_file(path: epath.PathLike) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end, if there is no error; local or `gs://`."""
    path = epath.Path(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
