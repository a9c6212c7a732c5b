"""One look at every image of a source before anything is written: what is there, what is wrong."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from etils import epath
from tqdm import tqdm

from ddl_jax.data.decode import decode_image, is_turned
from ddl_jax.data.duplicates import picture_hash
from ddl_jax.data.face_detector import FaceDetector, choose_face
from ddl_jax.data.landmarks import Landmarks
from ddl_jax.data.source import Source
from ddl_jax.data.worker_pool import map_shared
from ddl_jax.errors import UserError
from ddl_jax.files import atomic_file

# What is known of an image. `faces` is how many were found, -1 where none were looked for;
# `landmarks` are those of the face that the photo is of, NaN without one.
FACTS = np.dtype(
    [
        ("readable", bool),
        ("height", np.int32),
        ("width", np.int32),
        ("turned", bool),  # upright, by its EXIF tag
        ("grey", bool),
        ("flat", bool),
        ("coarse", np.uint64),  # see `PictureHash`
        ("detail", np.uint64, 4),
        ("digest", np.uint64, 2),  # of the bytes
        ("faces", np.int32),
        ("landmarks", np.float64, (5, 2)),
    ]
)
_IMAGES_PER_TASK = 500  # what a kill can lose, for each process


class FaceFinder(Protocol):
    """Where the faces of a photo are known from; picklable. See `FromFile` and `FromDetector`."""

    def check_paths(self, paths: np.ndarray) -> None:
        """Refuses images of which it knows none, before any is looked at."""
        ...

    def faces(self, path: str, image: np.ndarray) -> np.ndarray:
        """The landmarks of the faces, `[n, 5, 2]`."""
        ...

    def fingerprint(self) -> str:
        """What tells this finder from another that finds other faces."""
        ...


class FromFile:
    """Faces that a landmarks file names."""

    def __init__(self, landmarks: Landmarks):
        self._landmarks = landmarks

    def check_paths(self, paths: np.ndarray) -> None:
        """See `FaceFinder`."""
        self._landmarks.check_paths(paths)

    def faces(self, path: str, image: np.ndarray) -> np.ndarray:
        """See `FaceFinder`."""
        del image
        return self._landmarks.of(path)

    def fingerprint(self) -> str:
        """See `FaceFinder`."""
        return self._landmarks.fingerprint()


class FromDetector:
    """Faces that a detector finds."""

    def __init__(self, detector: FaceDetector):
        self._detector = detector

    def check_paths(self, paths: np.ndarray) -> None:
        """See `FaceFinder`: whether there is a face is seen when it looks."""

    def faces(self, path: str, image: np.ndarray) -> np.ndarray:
        """See `FaceFinder`."""
        del path
        return self._detector.faces(image)

    def fingerprint(self) -> str:
        """See `FaceFinder`."""
        return self._detector.fingerprint()


def survey(
    source: Source, directory: epath.Path, *, finder: FaceFinder | None = None, workers: int = 1
) -> np.ndarray:
    """Looks at every image, in `workers` processes -> `[n]` of FACTS.

    Args:
      source: of the images.
      directory: keeps what is done, so that a survey that was stopped goes on; it is made for one
        source and one finder.
      finder: of faces; None looks for none.
      workers: number of processes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    facts, todo = np.zeros(len(source), FACTS), []
    for first in range(0, len(source), _IMAGES_PER_TASK):
        rows = range(first, min(first + _IMAGES_PER_TASK, len(source)))
        done = directory / f"{first:09d}.npy"
        if done.exists():
            with done.open("rb") as file:
                facts[rows.start : rows.stop] = np.load(file)
        else:
            todo.append(rows)
    with tqdm(total=len(facts), unit=" images", desc="looking", disable=None) as bar:
        bar.update(len(facts) - sum(map(len, todo)))
        for rows, found in map_shared(_look_at_rows, (source, finder), todo, workers):
            facts[rows.start : rows.stop] = found
            save(directory / f"{rows.start:09d}.npy", found)
            bar.update(len(rows))
    return facts


def save(path: epath.Path, array: np.ndarray) -> None:
    """Writes an array as .npy, whole or not at all."""
    with atomic_file(path) as file:
        np.save(file, array)


def _look_at_rows(
    shared: tuple[Source, FaceFinder | None], rows: Sequence[int]
) -> tuple[Sequence[int], np.ndarray]:
    source, finder = shared
    found = np.zeros(len(rows), FACTS)
    for place, number in enumerate(rows):
        record = source[number]
        found[place] = look_at(record["image"], record["path"], finder)
    return rows, found


def look_at(encoded: bytes, path: str, finder: FaceFinder | None = None) -> np.ndarray:
    """What is known of an image once it is decoded -> one of FACTS.

    Args:
      encoded: the image file's bytes.
      path: the name of the image.
      finder: of faces; None looks for none.
    """
    facts = np.zeros((), FACTS)
    facts["digest"] = np.frombuffer(hashlib.blake2b(encoded, digest_size=16).digest(), np.uint64)
    facts["faces"], facts["landmarks"] = -1, np.nan
    try:
        image = decode_image(encoded, path)
    except UserError:
        return facts
    facts["readable"] = True
    facts["turned"] = is_turned(encoded)
    facts["height"], facts["width"] = image.shape[:2]
    facts["grey"] = _is_grey(image)
    facts["coarse"], facts["detail"], facts["flat"] = picture_hash(image)
    if finder is not None:
        facts["faces"], facts["landmarks"] = face_of(image, path, finder)
    return facts


def face_of(image: np.ndarray, path: str, finder: FaceFinder) -> tuple[int, np.ndarray]:
    """How many faces a photo has, and the landmarks `[5, 2]` of the one that it is of; NaN if 0."""
    faces = finder.faces(path, image)
    faces = faces[np.isfinite(faces).all((1, 2)) & (np.ptp(faces, 1).sum(1) > 0)]
    if not len(faces):
        return 0, np.full((5, 2), np.nan)
    return len(faces), faces[choose_face(faces, image.shape[:2])]


def _is_grey(image: np.ndarray) -> bool:
    red, green, blue = cv2.split(image)
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))
