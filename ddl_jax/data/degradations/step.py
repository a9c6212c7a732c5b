"""What every step of a recipe looks like."""

import dataclasses
from collections.abc import Callable

import numpy as np

# Lengths are in pixels of a face whose picture is so wide, whatever size the network takes.
FACE = 112


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing that makes a picture harder.

    Attributes:
      apply: `(image [H, W, 3] uint8 RGB, strength, rng) -> image`, the given one left as it is.
      lowest, highest: between which a strength can lie.
      unit: what a strength means, in words.
    """

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    lowest: float
    highest: float
    unit: str


def scale_of(image: np.ndarray) -> float:
    """Pixels of this picture for one of a picture of `FACE`."""
    return min(image.shape[:2]) / FACE
