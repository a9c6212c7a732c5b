"""A recipe says, in a line of text, what is done to a picture: `resize:12..30+jpeg:30..70`."""

import dataclasses
import math

import numpy as np

from ddl_jax.data.degradations import camera, light, occlusion, placement
from ddl_jax.data.degradations.step import FACE, Step
from ddl_jax.errors import UserError

STEPS = {
    "resize": Step(camera.shrink, 4, 1024, "pixels of the short side"),
    "blur": Step(camera.blur, 0.1, 20, "sigma in pixels"),
    "motion": Step(camera.motion, 1, 60, "length in pixels"),
    "jpeg": Step(camera.jpeg, 1, 100, "JPEG quality"),
    "noise": Step(light.noise, 0, 128, "standard deviation in grey levels"),
    "dark": Step(light.dark, 0.001, 1, "share of the light that is left"),
    "bar": Step(occlusion.bar, 1, FACE, "width in pixels"),
    "mask": Step(occlusion.mask, 40, 90, "row of its upper edge, in pixels"),
    "glasses": Step(occlusion.glasses, 4, 30, "radius of a lens in pixels"),
    "rotate": Step(placement.rotate, 0, 180, "degrees, to either side"),
    "crop": Step(placement.crop, 28, FACE, "pixels of the side that is kept"),
}

PRESETS = {
    "cctv": "blur:0.5..2+resize:12..32+noise:1..6+jpeg:40..90",
    "masked": "mask:56..70",
    "sunglasses": "glasses:12..18",
    "night": "dark:0.01..0.1+jpeg:50..90",
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Steps in their order, each with the range its strength is drawn from, evenly."""

    steps: tuple[tuple[str, float, float], ...]

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The picture `[H, W, 3]` uint8 RGB made harder, of the same size."""
        height, width = image.shape[:2]
        for name, low, high in self.steps:
            image = STEPS[name].apply(image, rng.uniform(low, high), rng)
        if image.shape[:2] != (height, width):
            image = camera.enlarge(image, (height, width), rng)
        return image

    def __str__(self) -> str:
        return "+".join(f"{name}:{low:g}..{high:g}" for name, low, high in self.steps)


def parse_recipe(text: str) -> Recipe:
    """Reads `STEP:LOW..HIGH+STEP:VALUE+PRESET`.

    Raises:
      UserError: what is wrong with which part of it.
    """
    steps = []
    for part in text.split("+"):
        if part in PRESETS:
            steps += parse_recipe(PRESETS[part]).steps
            continue
        name, colon, written = part.partition(":")
        if name not in STEPS:
            raise UserError(
                f"no step or preset {part!r}; steps are {', '.join(STEPS)}, "
                f"presets {', '.join(PRESETS)}"
            )
        step = STEPS[name]
        low, high = _range(written)
        if not (colon and step.lowest <= low <= high <= step.highest):
            raise UserError(
                f"{part!r} is no {name}:LOW..HIGH between {step.lowest:g} and {step.highest:g} "
                f"({step.unit})"
            )
        steps.append((name, low, high))
    return Recipe(tuple(steps))


def _range(text: str) -> tuple[float, float]:
    """Both ends of LOW..HIGH, or of a single value; not a number where none is written."""
    low, dots, high = text.partition("..")
    try:
        return float(low), float(high if dots else low)
    except ValueError:
        return math.nan, math.nan
