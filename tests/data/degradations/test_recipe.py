"""Recipes: what is read, what is refused, and what all steps have in common."""

import numpy as np
import pytest

from ddl_jax.data.degradations.recipe import PRESETS, STEPS, parse_recipe
from ddl_jax.errors import UserError
from tests.data.image_files import pixels

STRONG = {
    "resize": 14,
    "blur": 3,
    "motion": 12,
    "jpeg": 10,
    "noise": 20,
    "dark": 0.1,
    "bar": 30,
    "mask": 60,
    "glasses": 14,
    "rotate": 10,
    "crop": 80,
}


def _apply(recipe: str, image: np.ndarray, seed: int = 0) -> np.ndarray:
    return parse_recipe(recipe)(image, np.random.default_rng(seed))


def test_every_step_is_tried_here():
    assert STRONG.keys() == STEPS.keys()


@pytest.mark.parametrize("shape", [(112, 112, 3), (56, 48, 3), (33, 64, 3)])
@pytest.mark.parametrize("recipe", [*(f"{k}:{v}" for k, v in STRONG.items()), *PRESETS])
def test_a_recipe_changes_pixels_and_nothing_else(recipe, shape):
    image = pixels(recipe, shape)
    before = image.copy()
    found = _apply(recipe, image)
    assert (found.shape, found.dtype) == (shape, np.uint8)
    assert (found != image).mean() > 0.01
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(_apply(recipe, image), found)


@pytest.mark.parametrize("recipe", ["resize:8..40", "blur:0.5..4", "rotate:0..20", "cctv", "night"])
def test_another_draw_makes_another_picture(recipe):
    image = pixels("a", (112, 112, 3))
    found = [_apply(recipe, image, seed) for seed in range(6)]
    assert len({one.tobytes() for one in found}) == 6


def test_steps_go_in_the_order_written():
    image = np.full((112, 112, 3), 200, np.uint8)
    noisy = _apply("dark:0.5+noise:20", image)
    dim = _apply("noise:20+dark:0.001", image)
    assert noisy.std() > 15 > 11 > dim.mean()


def test_strengths_are_drawn_evenly_from_their_range(monkeypatch):
    given = []
    step = STEPS["noise"]
    monkeypatch.setitem(
        STEPS,
        "noise",
        type(step)(lambda image, value, rng: given.append(value) or image, 0, 128, ""),
    )
    recipe, rng = parse_recipe("noise:10..30"), np.random.default_rng(0)
    for _ in range(400):
        recipe(np.zeros((2, 2, 3), np.uint8), rng)
    assert 10 <= min(given) < 11 and 29 < max(given) <= 30
    assert abs(np.mean(given) - 20) < 1  # 3.5 standard deviations


@pytest.mark.parametrize(
    "text, whole",
    [
        ("jpeg:30", "jpeg:30..30"),
        ("resize:8..20+jpeg:20..60", "resize:8..20+jpeg:20..60"),
        ("rotate:5+masked", "rotate:5..5+mask:56..70"),
    ],
)
def test_a_recipe_tells_its_steps(text, whole):
    assert str(parse_recipe(text)) == whole
    assert parse_recipe(whole) == parse_recipe(text)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_lie_within_the_limits(name):
    assert parse_recipe(PRESETS[name]).steps == parse_recipe(name).steps


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "no step or preset ''; steps are resize, blur"),
        ("rezise:3", "no step or preset 'rezise:3'; steps are resize, .* presets cctv"),
        ("jpeg:20+", "no step or preset ''"),
        ("jpeg", "'jpeg' is no jpeg:LOW..HIGH between 1 and 100 .JPEG quality."),
        ("jpeg:", "is no jpeg"),
        ("jpeg:60..20", "is no jpeg"),
        ("jpeg:0..20", "is no jpeg"),
        ("jpeg:20..101", "is no jpeg"),
        ("jpeg:nan", "is no jpeg"),
        ("jpeg:20..inf", "is no jpeg"),
        ("jpeg:1..2..3", "is no jpeg"),
        ("dark:0", "'dark:0' is no dark:LOW..HIGH between 0.001 and 1"),
        ("cctv:3", "no step or preset 'cctv:3'"),
    ],
)
def test_what_is_no_recipe_is_told(text, told):
    with pytest.raises(UserError, match=told):
        parse_recipe(text)
