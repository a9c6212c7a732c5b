"""What is done to the pixels of a batch: mirroring, augmentation, and the domains that are made."""

import dataclasses
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ddl_jax import config as config_lib
from ddl_jax.data.degradations.recipe import Recipe, parse_recipe
from ddl_jax.data.random_key import random_bits, random_key
from ddl_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Augment:
    """Changes the images of a row, as a pure function of (seed, step, row, image).

    Attributes:
      flip: whether each image is mirrored with probability one half.
      shares: recipes that each befall this share of all images, in their order.
      made: the recipe of every domain that is made; it comes last.
      seed: of the draws.
    """

    flip: bool = True
    shares: Sequence[tuple[float, Recipe]] = ()
    made: Mapping[str, Recipe] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def __call__(
        self, images: Sequence[np.ndarray], domains: Sequence[str], step: int, row: int
    ) -> list[np.ndarray]:
        """The images of row `row` of the batch after `step`, each of its domain."""
        images = list(images)
        if self.flip:
            mirrored = random_bits(len(images), "mirror", self.seed, step, row)
            images = [cv2.flip(one, 1) if turn else one for one, turn in zip(images, mirrored)]
        for number, domain in enumerate(domains):
            if self.shares or domain in self.made:
                rng = np.random.default_rng(random_key("degrade", self.seed, step, row, number))
                images[number] = self._degrade(images[number], domain, rng)
        return images

    def _degrade(self, image: np.ndarray, domain: str, rng: np.random.Generator) -> np.ndarray:
        for share, recipe in self.shares:
            if rng.random() < share:
                image = recipe(image, rng)
        return self.made[domain](image, rng) if domain in self.made else image


def make_augment(batch: config_lib.Batch, seed: int) -> Augment:
    """What the settings ask for."""
    return Augment(batch.flip, read_augmentations(batch), read_degradations(batch), seed)


def read_augmentations(batch: config_lib.Batch) -> list[tuple[float, Recipe]]:
    """`batch.augmentations` as shares and recipes.

    Raises:
      UserError: an entry that is no SHARE=RECIPE.
    """
    found = []
    for entry in batch.augmentations:
        name, recipe = _split(entry, "augmentations", "SHARE")
        try:
            share = float(name)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise UserError(
                f"config.batch.augmentations has {entry!r}; write SHARE=RECIPE with a share of "
                "the images above 0 and at most 1"
            )
        found.append((share, recipe))
    return found


def read_degradations(batch: config_lib.Batch) -> dict[str, Recipe]:
    """`batch.degradations`: the recipe of each domain that is made.

    Raises:
      UserError: an entry that is no DOMAIN=RECIPE, or makes a domain that cannot be made.
    """
    found: dict[str, Recipe] = {}
    for entry in batch.degradations:
        domain, recipe = _split(entry, "degradations", "DOMAIN")
        if domain in found:
            raise UserError(f"config.batch.degradations makes {domain!r} twice; leave one of them")
        if domain not in batch.domains[1:]:
            raise UserError(
                f"config.batch.degradations makes {domain!r}, but config.batch.domains is "
                f"{batch.domains}; name it there, after the domain it is made of, the first"
            )
        found[domain] = recipe
    return found


def _split(entry: str, setting: str, left: str) -> tuple[str, Recipe]:
    name, equals, text = entry.partition("=")
    if not (name and equals):
        raise UserError(f"config.batch.{setting} has {entry!r}; write {left}=RECIPE")
    try:
        return name, parse_recipe(text)
    except UserError as error:
        raise UserError(f"config.batch.{setting} has {entry!r}: {error}") from error
