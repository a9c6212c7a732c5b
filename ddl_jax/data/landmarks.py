"""The landmarks of photos, by name, in the reading of their file that makes faces."""

import array
import hashlib
import math
import os
from collections.abc import Collection, Sequence

import numpy as np

from ddl_jax.data.alignment import misfit
from ddl_jax.data.landmark_files import landmark_rows
from ddl_jax.errors import UserError

# Five points as `[n, 5, 2]` for the n faces of a photo.
Faces = np.ndarray
_NO_FACE = np.zeros((0, 5, 2))

_SWAP = [1, 0, 2, 4, 3]  # left for right


class Landmarks:
    """The faces of photos by the photos' paths; picklable, also for millions.

    Attributes:
      file: that they come from.
      reading: how the numbers were taken, in words.
    """

    def __init__(self, file: str, paths: Sequence[str], points: np.ndarray, reading: str):
        """Takes a path and points `[5, 2]` for each face; a path that stands again has several."""
        self.file = file
        self._groups: dict[str, int] = {}
        group = [self._groups.setdefault(path, len(self._groups)) for path in paths]
        self._points = points[np.argsort(group, kind="stable")]
        self._ends = np.cumsum(np.bincount(group))
        self.reading = reading

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def paths(self) -> Collection[str]:
        """The photos that are named, as they are."""
        return self._groups.keys()

    def name_of(self, path: str) -> str | None:
        """By which of `paths` a photo is named, if by any.

        VGGFace2 names photos without a suffix, and so does a folder with a file a photo.
        """
        without = os.path.splitext(path)[0]
        return next((name for name in (path, without) if name in self._groups), None)

    def of(self, path: str) -> Faces:
        """The faces of a photo, `[n, 5, 2]`; none if the landmarks do not name it."""
        name = self.name_of(path)
        if name is None:
            return _NO_FACE
        group = self._groups[name]
        first = self._ends[group - 1] if group else 0
        return self._points[first : self._ends[group]]

    def check_paths(self, paths: np.ndarray) -> None:
        """Refuses landmarks of other photos than these.

        Raises:
          UserError: none of the paths is named.
        """
        if not any(len(self.of(path)) for path in paths.tolist()):
            raise UserError(
                f"--landmarks: {self.file} names none of the images; it has "
                f"{next(iter(self._groups))!r}, the data {str(paths[0])!r}"
            )

    def fingerprint(self) -> str:
        """A hash of every name and number."""
        names = "\n".join(self._groups).encode()
        return hashlib.sha256(names + self._ends.tobytes() + self._points.tobytes()).hexdigest()


def read_landmarks(path: str) -> Landmarks:
    """Reads a file of landmarks, or a folder with a file for each photo.

    Files are read by what they hold: lines `path x1 y1 ... x5 y5` separated by spaces, commas or
    tabs, also with a score behind, a box before, or all x before all y; CSV with names of columns;
    JSON. Several lines of a path are several faces. Numbers could be taken in several ways, of
    which only one makes faces: all of the file are read in the way that does.

    Args:
      path: of a .txt, .csv, .lst, .tsv or .json file, or of a folder of .txt and .json files.

    Raises:
      UserError: nothing there, a line that is not understood, or numbers that make no face.
    """
    names: list[str] = []
    numbers = array.array("d")  # a list of millions would be of ten objects each
    count = 0
    for name, row in landmark_rows(path):
        count = count or len(row)
        if len(row) != count:
            raise UserError(
                f"{path}: {len(row)} numbers for {name}, but {count} for {names[0]}; give every "
                "face as many"
            )
        if any(map(math.isinf, row)):  # a NaN says that there is no face
            raise UserError(f"{path}: {name} has an infinite number; correct or remove it")
        names.append(_plain(name))
        numbers.extend(row)
    if not names:
        raise UserError(f"{path} has no landmarks; write lines of path x1 y1 ... x5 y5")
    points, reading = _as_faces(np.array(numbers).reshape(-1, count), path)
    return Landmarks(path, names, points, reading)


def _as_faces(numbers: np.ndarray, path: str) -> tuple[Faces, str]:
    """Rows of numbers `[n, 10..15]` as `[n, 5, 2]` points, in the reading that makes faces."""
    count = numbers.shape[1]
    readings = {}
    for first in dict.fromkeys((0, count - 10)):
        ten = numbers[:, first : first + 10]
        orders = {"x1 y1 ... x5 y5": ten.reshape(-1, 5, 2)}
        orders["x1 ... x5 y1 ... y5"] = ten.reshape(-1, 2, 5).swapaxes(1, 2)
        place = "" if count == 10 else f", numbers {first + 1} to {first + 10} of {count}"
        for order, points in orders.items():
            readings[f"{order}{place}"] = points
    # As they stand, and with the person's own left and right taken for the image's.
    tried = {name: (_typical(p), _typical(p[:, _SWAP])) for name, p in readings.items()}
    reading = min(tried, key=lambda name: min(tried[name]))
    points, (found, swapped) = readings[reading], tried[reading]
    # A profile's eyes are too near to each other to tell left from right: not by a hair.
    if swapped < found - 0.3:
        reading, points, found = f"{reading}, left and right swapped", points[:, _SWAP], swapped
    if not found < 0.7:  # profiles reach 0.65, numbers at random are above
        raise UserError(
            f"{path}: the numbers make no faces, in whatever order; write the eye on the left of "
            "the image, the one on the right, the nose, the mouth's left and right corner, each x y"
        )
    return points, reading


def _typical(points: np.ndarray) -> float:
    """The median misfit of the rows in which there is anything."""
    values = misfit(points)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else 1.0


def _plain(path: str) -> str:
    path = path.strip().replace("\\", "/")
    return path[2:] if path.startswith("./") else path
