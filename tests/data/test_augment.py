"""What is done to the pixels of a batch, and what settings of it are refused."""

import itertools

import cv2
import numpy as np
import pytest

from ddl_jax.config import Batch
from ddl_jax.data.augment import Augment, make_augment, read_augmentations, read_degradations
from ddl_jax.data.degradations.recipe import parse_recipe
from ddl_jax.errors import UserError

from .image_files import pixels

IMAGES = [pixels(f"{n}", (32, 32, 3)) for n in range(3)]
DOMAINS = ("easy", "night", "easy")
NIGHT = {"night": parse_recipe("dark:0.05..0.2")}


def test_only_made_domains_are_degraded():
    found = np.stack(Augment(flip=False, made=NIGHT)(IMAGES, DOMAINS, 3, 4))
    np.testing.assert_array_equal(found[[0, 2]], np.stack(IMAGES)[[0, 2]])
    assert found[1].mean() < 0.7 * IMAGES[1].mean()


def test_pixels_depend_on_seed_step_row_and_image_and_on_nothing_else():
    same = [IMAGES[0]] * 3
    found = {}
    for seed, step, row in itertools.product((0, 1), (0, 1, 5), (0, 1, 5)):
        augment = Augment(flip=False, made=NIGHT, seed=seed)
        for image, one in enumerate(augment(same, ("night",) * 3, step, row)):
            found[seed, step, row, image] = one.tobytes()
    assert len(set(found.values())) == len(found) == 54
    again = Augment(flip=False, made=NIGHT, seed=1)(same, ("easy", "night", "easy"), 5, 1)
    assert again[1].tobytes() == found[1, 5, 1, 1]  # whatever happens to the others of the row


def test_mirroring_comes_first_and_is_the_same_with_and_without_degradations():
    plain = Augment(seed=2)
    degrading = Augment(made={"night": parse_recipe("mask:60")}, seed=2)
    turned = set()
    for row in range(20):
        one, other = (augment(IMAGES, DOMAINS, 0, row) for augment in (plain, degrading))
        np.testing.assert_array_equal((one[0], one[2]), (other[0], other[2]))
        np.testing.assert_array_equal(one[1][:12], other[1][:12])  # above the mask
        turned.add(bool((one[1] == cv2.flip(IMAGES[1], 1)).all()))
    assert turned == {True, False}


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_an_augmentation_befalls_its_share_of_all_images(share):
    augment = Augment(flip=False, shares=[(share, parse_recipe("dark:0.2"))])
    changed = [
        (one != image).any()
        for row in range(200)
        for one, image in zip(augment(IMAGES, DOMAINS, 0, row), IMAGES)
    ]
    assert abs(np.mean(changed) - share) < 0.07  # 4 standard deviations of 600 draws


def test_augmentations_decide_alone_and_go_in_their_order():
    white = [np.full((32, 32, 3), 255, np.uint8)]
    bar, dark = parse_recipe("bar:112"), parse_recipe("dark:0.001")
    seen = set()
    for row in range(60):
        (found,) = Augment(flip=False, shares=[(0.5, bar), (0.5, dark)])(white, "e", 0, row)
        seen.add((bool((found < 255).any()), bool(found.max() < 60)))
    assert {(False, False), (True, False), (True, True)} <= seen


def test_settings_become_recipes():
    batch = Batch(
        domains=("easy", "a", "b"),
        augmentations=("0.25=jpeg:30",),
        degradations=("b=cctv", "a=masked+noise:1..2"),
        flip=False,
    )
    augment = make_augment(batch, 3)
    assert (augment.flip, augment.seed) == (False, 3)
    assert augment.shares == [(0.25, parse_recipe("jpeg:30"))]
    assert augment.made == {"b": parse_recipe("cctv"), "a": parse_recipe("masked+noise:1..2")}


@pytest.mark.parametrize(
    "entry, told",
    [
        ("cctv", "has 'cctv'; write SHARE=RECIPE"),
        ("=cctv", "has '=cctv'; write SHARE=RECIPE"),
        ("half=cctv", "has 'half=cctv'; write SHARE=RECIPE with a share"),
        ("0=cctv", "with a share of the images above 0 and at most 1"),
        ("1.5=cctv", "at most 1"),
        ("nan=cctv", "at most 1"),
        ("0.5=", "config.batch.augmentations has '0.5=': no step or preset ''"),
        ("0.5=jpeg:300", "has '0.5=jpeg:300': 'jpeg:300' is no jpeg:LOW..HIGH between 1 and 100"),
    ],
)
def test_what_is_no_augmentation_is_told(entry, told):
    with pytest.raises(UserError, match=told):
        read_augmentations(Batch(augmentations=(entry,)))


@pytest.mark.parametrize(
    "entries, told",
    [
        (("a",), "config.batch.degradations has 'a'; write DOMAIN=RECIPE"),
        (("a=rezise:3",), "has 'a=rezise:3': no step or preset 'rezise:3'"),
        (("easy=cctv",), "makes 'easy', but config.batch.domains is .*, after the domain it is"),
        (("c=cctv",), "makes 'c', but config.batch.domains is .'easy', 'a', 'b'."),
        (("a=cctv", "a=night"), "makes 'a' twice"),
    ],
)
def test_what_is_no_degradation_is_told(entries, told):
    with pytest.raises(UserError, match=told):
        read_degradations(Batch(domains=("easy", "a", "b"), degradations=entries))
