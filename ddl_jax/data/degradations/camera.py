"""What a poor camera takes away: sharpness, resolution, and what JPEG finds too dear."""

import cv2
import numpy as np

from ddl_jax.data.degradations.step import scale_of

_ENLARGING = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_SHRINKING = (*_ENLARGING, cv2.INTER_AREA)


def shrink(image: np.ndarray, side: float, rng: np.random.Generator) -> np.ndarray:
    """The picture with a short side of `side` pixels, by a random kernel; never larger.

    It stays small for the steps after this one: noise and JPEG are those of the camera's picture.
    """
    factor = round(side) / min(image.shape[:2])
    method = _SHRINKING[rng.integers(len(_SHRINKING))]
    if factor >= 1:
        return image
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=method)


def enlarge(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The picture at `size`, `(height, width)`, by a random kernel."""
    method = _ENLARGING[rng.integers(len(_ENLARGING))]
    return cv2.resize(image, size[::-1], interpolation=method)


def blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """A lens out of focus: a Gaussian."""
    del rng
    sigma *= scale_of(image)
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma)
    return cv2.sepFilter2D(image, -1, kernel, kernel)  # half the time of GaussianBlur


def motion(image: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """A face that moves along a line of `length` while the shutter is open, in any direction."""
    angle, length = rng.uniform(0, np.pi), length * scale_of(image)
    way = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    reach = np.ceil(np.abs(way)).astype(int)
    points = reach + np.linspace(-1, 1, 4 * int(reach.max()) + 1)[:, None] * way
    # Every point of the way is shared among the four pixels around it.
    kernel = np.zeros((reach[1] + 1) * 2 * (reach[0] + 1) * 2, np.float32)
    corner = np.floor(points).astype(int)
    part = points - corner
    for x, y in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weights = abs(1 - x - part[:, 0]) * abs(1 - y - part[:, 1])
        places = (corner[:, 1] + y) * 2 * (reach[0] + 1) + corner[:, 0] + x
        kernel += np.bincount(places, weights, len(kernel)).astype(np.float32)
    kernel = kernel.reshape(2 * (reach[1] + 1), -1)[:-1, :-1]  # the last ones got nothing
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Compressed and read again."""
    del rng
    options = [cv2.IMWRITE_JPEG_QUALITY, round(quality)]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
