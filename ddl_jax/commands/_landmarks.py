"""Which photo a name in a file of landmarks means, where a command is given photos of folders."""

import os
from collections.abc import Iterable
from typing import Any

from ddl_jax.errors import UserError


def names_of(landmarks: Any, images: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The path by which landmarks name each of a command's images, by the image's file.

    That is the file as the user wrote it, its path below the folder that was given, or else its
    last part, if no other image of the command and no other path of the landmarks ends so. A file
    that comes twice, in a folder and alone, may be named by either's path. Images that the
    landmarks do not name are left out.

    Args:
      landmarks: `data.landmarks.Landmarks`.
      images: file and path of all images of the command; a file may come again.

    Raises:
      UserError: a name that could be another photo's.
    """
    found: dict[str, str] = {}
    of_name: dict[str, str] = {}
    paths: dict[str, list[str]] = {}
    for file, path in images:
        paths.setdefault(file, [file]).append(path)
    last = _Ends(landmarks, paths)
    for file, of_file in paths.items():
        name = next(filter(None, map(landmarks.name_of, of_file)), None)
        if name is None:
            name = landmarks.name_of(os.path.basename(file))
            if name is None:
                continue
            last.check(file, name)
        if not _is_one(other := of_name.setdefault(name, file), file):
            raise _could_be(landmarks, name, other, file)
        found[file] = name
    return found | _of_links(found, paths.keys() - found)


def _of_links(found: dict[str, str], others: Iterable[str]) -> dict[str, str]:
    """The names of files that are, by another path, one of those that have a name."""
    others = sorted(others)
    if not others:
        return {}
    names = {os.path.realpath(file): name for file, name in found.items()}
    return {file: names[real] for file in others if (real := os.path.realpath(file)) in names}


class _Ends:
    """The last parts of all paths; made when first asked for, as few files need them."""

    def __init__(self, landmarks: Any, images: Iterable[str]):
        self._landmarks, self._images = landmarks, images
        self._named: dict[str, list[str]] | None = None
        self._given: dict[str, list[str]] = {}

    def check(self, file: str, name: str) -> None:
        """Refuses a name that is the image's by its last part, if another path ends so."""
        if self._named is None:
            self._named = _by_end(self._landmarks.paths)
            self._given = _by_end(self._images)
        end = os.path.basename(file)
        for other in (*self._named.get(end, ()), *self._named.get(os.path.splitext(end)[0], ())):
            if other != name:
                raise UserError(
                    f"--landmarks: {self._landmarks.file} has {name!r} and {other!r}, and {file} "
                    f"could be either; write {file!r} there"
                )
        for other in self._given[end]:
            if not _is_one(other, file):
                raise _could_be(self._landmarks, name, file, other)


def _by_end(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(os.path.basename(path), []).append(path)
    return found


def _is_one(first: str, second: str) -> bool:
    return first == second or os.path.realpath(first) == os.path.realpath(second)


def _could_be(landmarks: Any, name: str, first: str, second: str) -> UserError:
    return UserError(
        f"--landmarks: {name!r} of {landmarks.file} could be {first} and {second}; write these "
        "paths there"
    )
