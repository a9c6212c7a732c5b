"""What every step and every preset does to the same faces.

python -m ddl_jax.data.degradations.contact_sheet --out=docs/pictures/degradations.png
"""

import argparse

import numpy as np

from ddl_jax.data.contact_sheet import draw_sheet, write_sheet
from ddl_jax.data.degradations.recipe import PRESETS, parse_recipe
from ddl_jax.data.random_key import random_key
from ddl_jax.data.synthetic_faces import domains
from ddl_jax.data.synthetic_faces.render import render_identity

# A strength of each step that is easily seen.
_EXAMPLES = (
    "resize:16",
    "blur:2.5",
    "motion:14",
    "jpeg:10",
    "noise:25",
    "dark:0.03",
    "bar:24",
    "mask:62",
    "glasses:15",
    "rotate:12",
    "crop:84",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="the PNG to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--identities", type=int, nargs="+", default=[10, 12])
    parser.add_argument("--size", type=int, default=112)
    args = parser.parse_args()
    faces = [
        render_identity(args.seed, number, {domains.EASY: 1}, args.size)[0][-1]
        for number in args.identities
    ]
    recipes = ("", *_EXAMPLES, *PRESETS)
    bands = [recipes[: len(recipes) // 2], recipes[len(recipes) // 2 :]]
    write_sheet(args.out, np.concatenate([_band(faces, band, args.seed) for band in bands]))


def _band(faces: list[np.ndarray], recipes: tuple[str, ...], seed: int) -> np.ndarray:
    """A row a face, a column a recipe; the empty one leaves the face as it is."""
    grid = [
        [_degraded(face, recipe, random_key(recipe, seed, number)) for recipe in recipes]
        for number, face in enumerate(faces)
    ]
    return draw_sheet(np.array(grid), [recipe or "easy" for recipe in recipes])


def _degraded(face: np.ndarray, recipe: str, key: list[int]) -> np.ndarray:
    return parse_recipe(recipe)(face, np.random.default_rng(key)) if recipe else face


if __name__ == "__main__":
    main()
