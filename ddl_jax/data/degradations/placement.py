"""What an alignment that is not quite right does."""

import cv2
import numpy as np

from ddl_jax.data.degradations.step import FACE


def rotate(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """The picture turned about its middle, to either side."""
    side = rng.choice((-1, 1))
    height, width = image.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, float(side * degrees), 1.0)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def crop(image: np.ndarray, side: float, rng: np.random.Generator) -> np.ndarray:
    """A part of the picture, anywhere in it, enlarged to its size; `side` of FACE are kept."""
    height, width = image.shape[:2]
    tall, wide = (max(1, round(length * side / FACE)) for length in (height, width))
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    part = image[top : top + tall, left : left + wide]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
