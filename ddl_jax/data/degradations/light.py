"""What a sensor with too little light takes away."""

import statistics

import cv2
import numpy as np

_GAMMA = 2.2  # of the grey levels of a picture: their light is their power
_PHOTONS = 1000.0  # a pixel counts of white in full light
_READ_NOISE = 5.0  # photons


def noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of this many grey levels, on every pixel and channel alone."""
    return cv2.add(image, normal(image.shape, rng) * np.float32(deviation), dtype=cv2.CV_8U)


def dark(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """The picture in a share of its light: darker, and with the noise of the few photons left."""
    levels, deviations = _night(share)
    errors = cv2.multiply(cv2.LUT(image, deviations), normal(image.shape, rng))
    return cv2.add(cv2.LUT(image, levels), errors, dtype=cv2.CV_8U)


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers, float32, of 256 values: fine enough for pixels, and drawn in a
    seventh of the time."""
    draws = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape)
    return cv2.LUT(draws, _QUANTILES)


def _quantiles() -> np.ndarray:
    distribution = statistics.NormalDist()
    values = np.array([distribution.inv_cdf((i + 0.5) / 256) for i in range(256)])
    return (values / values.std()).astype(np.float32)


_QUANTILES = _quantiles()


def _night(share: float) -> tuple[np.ndarray, np.ndarray]:
    """For each grey level what it becomes in this share of its light, and how much that varies."""
    photons = _FULL * share
    levels = 255 * (photons / _PHOTONS) ** (1 / _GAMMA)
    # The noise of a Poisson count and of reading it, through the slope of the picture's curve;
    # where nothing is there to be seen, through that of a few photons, for it has none at zero.
    bright = np.maximum(photons, _READ_NOISE)
    slope = 255 / _GAMMA * (bright / _PHOTONS) ** (1 / _GAMMA) / bright
    deviations = slope * np.sqrt(photons + _READ_NOISE**2)
    return levels.astype(np.float32), deviations.astype(np.float32)


_FULL = _PHOTONS * (np.arange(256) / 255) ** _GAMMA
