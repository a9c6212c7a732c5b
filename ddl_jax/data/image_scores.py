"""What the pixels of an image tell about how hard it is."""

from collections.abc import Sequence

import cv2
import numpy as np
from tqdm import tqdm

from ddl_jax.data.decode import decode_image, fit
from ddl_jax.data.source import Source
from ddl_jax.data.worker_pool import available_cores, map_shared

# Images are brought to one size first: the Laplacian of a large one would be that of its noise.
_SIZE = (112, 112)
_IMAGES_PER_TASK = 500


def _resolution(image: np.ndarray, grey: np.ndarray) -> float:
    """Pixels of the shorter side of the stored image."""
    del grey
    return min(image.shape[:2])


def _sharpness(image: np.ndarray, grey: np.ndarray) -> float:
    """Variance of the Laplacian: low for a blurred or enlarged image, or one without contrast."""
    del image
    return cv2.Laplacian(grey, cv2.CV_64F).var()


def _brightness(image: np.ndarray, grey: np.ndarray) -> float:
    """Mean grey level, 0 to 255."""
    del image
    return grey.mean()


def _symmetry(image: np.ndarray, grey: np.ndarray) -> float:
    """Correlation of the image with its mirror image, -1 to 1; of one grey level 1.

    An aligned frontal face is nearly its own mirror image and a profile is not: a yaw for data
    without landmarks. Light from one side lowers it too.
    """
    del image
    centred = grey - grey.mean(dtype=np.float64)
    power = np.sum(centred * centred)
    return np.sum(centred * centred[:, ::-1]) / power if power else 1.0


_SCORES = {
    "resolution": _resolution,
    "sharpness": _sharpness,
    "brightness": _brightness,
    "symmetry": _symmetry,
}
IMAGE_SCORES = tuple(_SCORES)


def image_scores(source: Source, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of every record, `{name: [n] float64}`, on all cores where there are many.

    Args:
      source: the images.
      names: of `IMAGE_SCORES`.

    Raises:
      UserError: an image that cannot be decoded.
    """
    if not names:
        return {}
    table = np.zeros((len(source), len(names)))
    tasks = [
        range(first, min(first + _IMAGES_PER_TASK, len(source)))
        for first in range(0, len(source), _IMAGES_PER_TASK)
    ]
    # A process takes a second to start.
    workers = min(available_cores(), len(tasks) // 8)
    with tqdm(total=len(source), unit=" images", desc="scoring", delay=2, disable=None) as bar:
        for rows, found in map_shared(_score_rows, (source, names), tasks, workers):
            table[rows.start : rows.stop] = found
            bar.update(len(rows))
    return dict(zip(names, table.T))


def _score_rows(shared: tuple[Source, Sequence[str]], rows: range) -> tuple[range, np.ndarray]:
    source, names = shared
    found = np.zeros((len(rows), len(names)))
    for place, number in enumerate(rows):
        record = source[number]
        image = decode_image(record["image"], record["path"])
        grey = cv2.cvtColor(fit(image, _SIZE), cv2.COLOR_RGB2GRAY)
        found[place] = [_SCORES[name](image, grey) for name in names]
    return rows, found
