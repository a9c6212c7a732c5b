"""The easy domain and the four hard ones: what each does to the pose and to the finished picture.

`occlusion` is drawn with the face (see `occlusion.py`), the pose of `large_pose` before it; the
other two are cameras: what they lose is lost after rendering.
"""

import cv2
import numpy as np

EASY = "easy"
LOW_RESOLUTION = "low_resolution"
LARGE_POSE = "large_pose"
OCCLUSION = "occlusion"
DARK = "dark"
HARD = (LOW_RESOLUTION, LARGE_POSE, OCCLUSION, DARK)
DOMAINS = (EASY, *HARD)

# Hard enough to be worth something: a network that has learned the easy views knows at most 70 % of
# unseen people by their hard ones. docs/benchmarks.md has the numbers, tests/test_demo.py the bar.
_EASY_YAW = 0.17
_LARGE_YAW = (0.75, 1.15)  # radians: 43 to 66 degrees
_LOW_SIDES = (7, 10)  # the face picture's side in pixels as the surveillance camera sees it
_LOW_NOISE = 5.0  # grey levels, in the small picture
_DARK_EXPOSURE = (0.12, 0.24)
_DARK_READ_NOISE = (1.5, 3.0)  # grey levels of the sensor, before the camera's gain
_DARK_PHOTONS = 0.5  # variance of the shot noise a grey level
_DARK_GAIN = (2.2, 3.2)


def draw_yaw(rng: np.random.Generator, domain: str) -> float:
    """The head's turn to its side in radians; either side alike."""
    if domain == LARGE_POSE:
        return rng.choice([-1.0, 1.0]) * rng.uniform(*_LARGE_YAW)
    return rng.uniform(-_EASY_YAW, _EASY_YAW)


def _surveillance(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A few pixels a side, compressed, and enlarged again."""
    side = int(rng.integers(_LOW_SIDES[0], _LOW_SIDES[1] + 1))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    small = small + _LOW_NOISE * rng.standard_normal(small.shape, dtype=np.float32)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _night(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Few photons, a noisy sensor, and a camera that turns its gain up without much help."""
    gamma = rng.uniform(1.1, 1.5)
    light = 255 * (image / 255) ** gamma * rng.uniform(*_DARK_EXPOSURE)
    deviation = np.sqrt(_DARK_PHOTONS * light + rng.uniform(*_DARK_READ_NOISE) ** 2)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return (light + deviation * noise) * rng.uniform(*_DARK_GAIN)


def photograph(image: np.ndarray, domain: str, rng: np.random.Generator) -> np.ndarray:
    """The camera's loss: float32 image [h, w, 3], 0 to 255, in and out."""
    if domain == LOW_RESOLUTION:
        return _surveillance(image, rng)
    if domain == DARK:
        return _night(image, rng)
    return image
