"""The images of a protocol: encoded bytes, or files below a folder, found by their names."""

from __future__ import annotations

import bisect
import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
from etils import epath

from ddl_jax.data.image_folder import find_images, read_file
from ddl_jax.errors import UserError
from ddl_jax.evaluation.images import EncodedImage, Images


class EncodedImages:
    """Images that are in memory, as a `.bin` file holds them."""

    def __init__(self, images: Sequence[bytes], name: str):
        self._images, self._name = images, name

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> EncodedImage:
        return EncodedImage(image=self._images[number], path=f"{self._name} image {number}")


class ImageFiles:
    """Files below a folder, by relative path; read when they are asked for."""

    def __init__(self, root: str, paths: Sequence[str], landmarks: np.ndarray | None = None):
        """`landmarks[n, 5, 2]` are those of images that are not aligned."""
        self._root, self.paths, self._landmarks = root, paths, landmarks

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> EncodedImage:
        path = self.paths[number]
        record = EncodedImage(image=read_file(self._root, path), path=path)
        if self._landmarks is not None:
            record["landmarks"] = self._landmarks[number]
        return record


class JoinedImages:
    """The images of several protocols, one after the other."""

    def __init__(self, parts: Sequence[Images]):
        self._parts = parts
        self.starts = np.cumsum([0, *map(len, parts)]).tolist()

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, number: int) -> EncodedImage:
        part = bisect.bisect_right(self.starts, number) - 1
        return self._parts[part][number - self.starts[part]]


class FolderIndex:
    """The images below a folder by the last part of their names, without suffix.

    Benchmarks name `Ann_0001.jpg`; aligned copies may be `Ann/Ann_0001.png`, or lie flat.
    """

    def __init__(self, root: str):
        if not epath.Path(root).is_dir():
            raise UserError(f"no folder {root!r}; give the folder of the images")
        self.root, self.paths = root, find_images(root)
        self._path_of: dict[str, str] = {}
        self._again: dict[str, str] = {}
        for path in self.paths:
            if self._path_of.setdefault(stem(path), path) != path:
                self._again[stem(path)] = path

    def find(self, name: str, where: str) -> str:
        """The path of the image whose name, whatever its suffix, is that of `name`.

        Raises:
          UserError: none, or more than one; `where` says who names it.
        """
        key = stem(name)
        if key not in self._path_of:
            raise UserError(f"{where}: there is no image {key!r} below {self.root}; add it")
        if key in self._again:
            raise UserError(
                f"{where}: {key!r} is there twice below {self.root}, {self._path_of[key]} and "
                f"{self._again[key]}; give the folder that holds it once, after an @"
            )
        return self._path_of[key]


def stem(path: str) -> str:
    """`a/b.c.jpg` -> `b.c`."""
    return path.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def people_by_name(
    paths: Sequence[str], first: np.ndarray, second: np.ndarray, same: np.ndarray
) -> np.ndarray | None:
    """Who is on each image `[n]`, 0..I-1, where names and pairs agree on that; else None.

    The images of a person share a folder at some depth, or a name before a number, as in
    `Ann_Lee_0001.jpg`; `same[N]` says whether images `first[N]` and `second[N]` are of one.
    """
    parts = [path.split("/")[:-1] for path in paths]
    ways = [["/".join(p[: depth + 1]) for p in parts] for depth in range(max(map(len, parts)))]
    ways.append([re.sub(r"_\d+$", "", stem(path)) for path in paths])
    for names in ways:
        _, people = np.unique(names, return_inverse=True)
        if np.array_equal(people[first] == people[second], same):
            return people
    return None


def fingerprint(root: str, paths: Iterable[str], *lists: bytes) -> str:
    """A hash of lists and of the names and sizes of images; contents would take another reading."""
    digest = hashlib.sha256()
    for content in lists:
        digest.update(hashlib.sha256(content).digest())
    folder = epath.Path(root)
    for path in paths:
        digest.update(f"{path} {(folder / path).stat().length}\n".encode())
    return digest.hexdigest()[:16]


def missing(names: Sequence[str], what: str, where: str) -> None:
    """Refuses data that lack some images, with the first of them and how many."""
    if names:
        more = f" ({len(names)} such)" if len(names) > 1 else ""
        raise UserError(f"{where}: {what} {names[0]} is missing{more}; add it")
