"""Whole files or none: what a reader finds was written to its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import BinaryIO

from etils import epath

from ddl_jax.errors import UserError


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path is in a bucket (`gs://`)."""
    return "://" in os.fspath(path)


def absolute(path: epath.PathLike) -> epath.Path:
    """The path from the root; epath's own `resolve` puts this process's folder before `gs://`."""
    path = epath.Path(path)
    return path if is_remote(path) else path.resolve()


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
    if is_remote(path):  # an object is there as a whole or not at all
        epath.Path(path).write_bytes(content)
        return
    epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(content)


def check_local(path: epath.PathLike) -> None:
    """Refuses to pack a data set into a bucket: ArrayRecord's writer knows local disks only.

    Raises:
      UserError: `path` is in a bucket.
    """
    if is_remote(path):
        raise UserError(
            f"{os.fspath(path)}: a data set is packed on a local disk only; make it in a local "
            "folder and copy that (gcloud storage cp -r FOLDER gs://BUCKET/)"
        )


def check_target(path: epath.PathLike, *, flag: str = "", suffixes: Collection[str] = ()) -> None:
    """Refuses a path that a user gave where no file can be put, before the work for it is done.

    Args:
      path: of the file.
      flag: which gave it, "--out".
      suffixes: of which it must have one.

    Raises:
      UserError: another suffix, a directory, or in none.
    """
    path, told = epath.Path(path), _told(path, flag)
    if suffixes and path.suffix not in suffixes:
        raise UserError(f"{told} ends in none of {', '.join(suffixes)}; use one of them")
    if path.is_dir():
        raise UserError(f"{told} is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise UserError(f"{told}: no directory {os.fspath(path.parent)!r}; make it first")


def check_folder(path: epath.PathLike, *, flag: str = "") -> None:
    """Refuses a path that is no folder, nor can become one; arguments as of `check_target`."""
    path = epath.Path(path)
    there = next((place for place in (path, *path.parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        told = _told(path, flag)
        raise UserError(f"{told}: {os.fspath(there)!r} is a file; give a folder")


@contextlib.contextmanager
def written(path: epath.PathLike, *, flag: str = "") -> Iterator[epath.Path]:
    """As `replacing`, for a path that a user gave; arguments as of `check_target`.

    Raises:
      UserError: no file can be put there.
    """
    check_target(path, flag=flag)
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        told = f"{_told(path, flag)} cannot be written: {error.strerror or error}"
        raise UserError(told) from error


def _told(path: epath.PathLike, flag: str) -> str:
    return f"{flag}={os.fspath(path)}" if flag else os.fspath(path)
