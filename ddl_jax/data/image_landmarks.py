"""The five landmarks of every image of a data set, as an array."""

import numpy as np

from ddl_jax.data.landmarks import read_landmarks
from ddl_jax.data.source import RecordIndex


def image_landmarks(file: str, index: RecordIndex) -> np.ndarray:
    """Landmarks of every image -> `[n, 5, 2]`, NaN for an image without any.

    Of several faces the one with the longest way from its eyes to its mouth is taken, which turning
    a head does not shorten: a data set's image is of one person, others stand behind.

    Args:
      file: a file or folder that `read_landmarks` reads.
      index: whose paths it names.

    Raises:
      UserError: a file that cannot be read, or that names none of the images.
    """
    landmarks = read_landmarks(file)
    landmarks.check_paths(index.paths)
    found = np.full((len(index), 5, 2), np.nan)
    for row, path in enumerate(index.paths.tolist()):
        faces = landmarks.of(path)
        if len(faces):
            found[row] = faces[eyes_to_mouth(faces).argmax()]
    return found


def eyes_to_mouth(points: np.ndarray) -> np.ndarray:
    """Pixels from the middle of the eyes to that of the mouth, `[n, 5, 2]` -> `[n]`."""
    return np.linalg.norm(points[:, 3:].mean(axis=1) - points[:, :2].mean(axis=1), axis=1)
