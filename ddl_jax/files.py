"""Whole files or none: what a reader finds was written to its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from etils import epath

from ddl_jax.errors import UserError


@contextlib.contextmanager
def replacing(path: epath.PathLike) -> Iterator[epath.Path]:
    """Gives a path beside `path` to write to; what stands there takes its place at the end.

    Local or `gs://`. After an exception nothing has changed.
    """
    path = epath.Path(path)
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_file(path: epath.PathLike) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` at the end; see `replacing`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file


def write_atomically(path: epath.PathLike, content: bytes) -> None:
    """Writes `path` as a whole, and makes its folder; see `replacing`."""
    epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(content)


def check_local(path: epath.PathLike) -> None:
    """Refuses to pack a data set into a bucket: ArrayRecord's writer knows local disks only.

    Raises:
      UserError: `path` is in a bucket.
    """
    if "://" in os.fspath(path):
        raise UserError(
            f"{os.fspath(path)}: a data set is packed on a local disk only; make it in a local "
            "folder and copy that (gcloud storage cp -r FOLDER gs://BUCKET/)"
        )
