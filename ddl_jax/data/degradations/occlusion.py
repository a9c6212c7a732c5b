"""Things before a face: a bar, a mask, glasses. They lie where an aligned face has its features.

Places are shares of the picture as the 112x112 alignment of the field has them: eyes at 0.46 of the
height, the tip of the nose at 0.64, the mouth at 0.82.
"""

import cv2
import numpy as np

from ddl_jax.data.degradations.step import FACE

_EYES = ((38.3, 51.6), (73.5, 51.6))  # x, y, pixels of FACE
_NOSE, _CHIN = 56.0, 110.0  # x of the one, y of the other
_CLOTHS = ((235, 238, 240), (150, 190, 215), (40, 42, 48), (165, 200, 180), (205, 170, 175))
_SHIFT = 4  # bits of a pixel's fraction that OpenCV draws with


def bar(image: np.ndarray, width: float, rng: np.random.Generator) -> np.ndarray:
    """A bar of `width` across the whole picture, upright or level, anywhere, in any colour."""
    upright, place, colour = rng.random() < 0.5, rng.random(), rng.integers(0, 256, 3)
    image, length = image.copy(), image.shape[1 if upright else 0]
    wide = min(length, max(1, round(width * min(image.shape[:2]) / FACE)))
    start = round(place * (length - wide))
    part = np.s_[:, start : start + wide] if upright else np.s_[start : start + wide]
    image[part] = colour
    return image


def mask(image: np.ndarray, top: float, rng: np.random.Generator) -> np.ndarray:
    """A mask over everything below `top`, its upper edge at the nose, in a cloth's colour."""
    colour = np.clip(_CLOTHS[rng.integers(len(_CLOTHS))] + rng.uniform(-15, 15, 3), 0, 255)
    cheeks, dip, (x, y) = rng.uniform(38, 44), rng.uniform(3, 9), rng.uniform(-2, 2, 2)
    # From one cheek around the chin to the other, and back over the nose.
    angles = np.linspace(0, np.pi, 15)
    chin = np.stack([cheeks * np.cos(angles), (_CHIN - top - dip) * np.sin(angles)], axis=1)
    corners = np.concatenate([chin + [0, dip], [[-10, 1], [0, 0], [10, 1]]])
    corners = (corners + [_NOSE + x, top + y]) * _scale(image)
    image = image.copy()
    points = np.rint(corners * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(image, [points], colour.tolist(), cv2.LINE_AA, _SHIFT)
    return image


def glasses(image: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Dark glasses whose lenses have this radius, and the bridge between them."""
    colour, shift = rng.integers(0, 60, 3), rng.uniform(-2, 2, 2)
    flat = rng.uniform(0.6, 1.0)  # of the lenses' height against their width
    image = image.copy()
    scale = _scale(image)
    centres = [(np.array(eye) + shift) * scale for eye in _EYES]
    for centre in centres:
        axes = np.array([radius, radius * flat]) * scale
        cv2.ellipse(
            image, _fixed(centre), _fixed(axes), 0, 0, 360, colour.tolist(), -1, cv2.LINE_AA, _SHIFT
        )
    thick = max(1, round(2 * scale[1]))
    ends = [_fixed(centre) for centre in centres]
    cv2.line(image, *ends, colour.tolist(), thick, cv2.LINE_AA, _SHIFT)
    return image


def _scale(image: np.ndarray) -> np.ndarray:
    """Pixels of the picture, along x and y, for one of FACE."""
    return np.array(image.shape[1::-1]) / FACE


def _fixed(point: np.ndarray) -> list[int]:
    """A point as OpenCV takes fractions of pixels."""
    return np.rint(point * 2**_SHIFT).astype(int).tolist()
