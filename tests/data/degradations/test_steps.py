"""Strengths mean what the docs say: measured on pictures whose answer is known."""

import cv2
import numpy as np
import pytest

from ddl_jax.data.degradations import camera, light, occlusion, placement
from tests.data.image_files import pixels


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _spread(image: np.ndarray) -> np.ndarray:
    """Covariance `[2, 2]` in pixels of where the light of a picture lies."""
    weights = image[..., 0].astype(float)
    places = np.argwhere(weights >= 0)
    return np.cov(places.T, aweights=weights.ravel() / weights.sum(), ddof=0)


def _spot(size: int) -> np.ndarray:
    """A smooth spot in the middle; its own spread is small and known by `_spread`."""
    image = np.zeros((size, size, 3), np.uint8)
    image[size // 2 - 3 : size // 2 + 4, size // 2 - 3 : size // 2 + 4] = 255
    return image


@pytest.mark.parametrize("size, sigma", [(112, 3.0), (112, 6.0), (224, 3.0)])
def test_blur_spreads_by_sigma_of_a_face_of_112(size, sigma):
    image = _spot(size)
    added = _spread(camera.blur(image, sigma, _rng())) - _spread(image)
    np.testing.assert_allclose(added, np.eye(2) * (sigma * size / 112) ** 2, rtol=0.1, atol=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_motion_spreads_along_one_line_by_its_length(seed):
    image = _spot(112)
    added = np.linalg.eigvalsh(_spread(camera.motion(image, 24, _rng(seed))) - _spread(image))
    assert abs(added[1] - 24**2 / 12) < 4  # the variance of an even line
    assert abs(added[0]) < 1
    blurred = camera.motion(image, 24, _rng(seed))
    assert abs(blurred.mean() / image.mean() - 1) < 0.03


def test_motion_takes_every_direction():
    angles = []
    for seed in range(40):
        _, axes = np.linalg.eigh(_spread(camera.motion(_spot(112), 24, _rng(seed))))
        angles.append(np.arctan2(*axes[:, 1]) % np.pi)
    counts, _ = np.histogram(angles, 4, (0, np.pi))
    assert min(counts) > 2


@pytest.mark.parametrize("shape, small", [((112, 112), (16, 16)), ((100, 80), (20, 16))])
def test_resize_leaves_so_many_pixels(shape, small):
    found = camera.shrink(pixels("a", (*shape, 3)), 16.2, _rng())
    assert found.shape == (*small, 3)


def test_resize_never_enlarges():
    image = pixels("a", (20, 16, 3))
    assert camera.shrink(image, 16, _rng()) is image
    assert camera.shrink(image, 40, _rng()) is image


def test_kernels_are_drawn_at_random():
    image = pixels("a", (64, 64, 3))
    shrunk = {camera.shrink(image, 16, _rng(seed)).tobytes() for seed in range(60)}
    enlarged = {camera.enlarge(image, (100, 100), _rng(seed)).tobytes() for seed in range(60)}
    assert (len(shrunk), len(enlarged)) == (4, 3)


def test_jpeg_loses_more_at_lower_quality_and_keeps_the_colours():
    smooth = cv2.GaussianBlur(pixels("a", (112, 112, 3)), (0, 0), 4)
    smooth[..., 0] = np.minimum(smooth[..., 0], 255 - 60) + 60  # red
    errors = []
    for quality in (10, 30, 60, 95):
        found = camera.jpeg(smooth, quality, _rng())
        errors.append(np.abs(found.astype(int) - smooth).mean())
        np.testing.assert_allclose(found.mean((0, 1)), smooth.mean((0, 1)), atol=3)
    assert errors == sorted(errors, reverse=True) and errors[0] > 2 * errors[-1]


def test_noise_has_its_deviation_on_every_channel_alone():
    image = np.full((112, 112, 3), 128, np.uint8)
    errors = light.noise(image, 12, _rng()).astype(float) - 128
    np.testing.assert_allclose(errors.std((0, 1)), 12, rtol=0.03)
    assert abs(errors.mean()) < 0.3
    correlation = np.corrcoef(errors.reshape(-1, 3).T) - np.eye(3)
    assert np.abs(correlation).max() < 0.04  # 4 standard deviations of 12,544 pixels
    assert abs((errors[1:] * errors[:-1]).mean()) < 0.04 * 144


def test_the_cheap_normal_numbers_are_normal():
    draws = light.normal((300, 400, 3), _rng()).ravel().astype(float)
    assert abs(draws.mean()) < 0.01 and abs(draws.std() - 1) < 0.01
    for limit, share in ((0.5, 0.6915), (1, 0.8413), (2, 0.9772)):
        assert abs((draws < limit).mean() - share) < 0.004  # 256 levels: one level is 0.0039


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_darkness_leaves_this_share_of_the_light(share):
    image = np.full((112, 112, 3), 255, np.uint8)
    found = light.dark(image, share, _rng()).astype(float)
    assert abs(found.mean() - 255 * share ** (1 / 2.2)) < 1
    # White in full light is 1000 photons; theirs and the sensor's noise through the curve's slope.
    photons = 1000 * share
    deviation = found.mean() / 2.2 * np.sqrt(photons + 25) / photons
    assert abs(found.std() / deviation - 1) < 0.05


def test_full_light_changes_the_mean_of_no_grey_level():
    image = np.repeat(np.arange(20, 230, 2, dtype=np.uint8)[:, None, None], 3, axis=2)
    image = np.repeat(image, 400, axis=1)
    found = light.dark(image, 1.0, _rng())
    np.testing.assert_allclose(found.mean(1), image[:, 0], atol=2.5)


def test_a_bar_is_as_wide_as_told_and_of_one_colour():
    image = np.full((112, 112, 3), 7, np.uint8)
    upright = set()
    for seed in range(12):
        changed = (occlusion.bar(image, 30, _rng(seed)) != image).any(2)
        assert changed.sum() == 30 * 112
        upright.add(bool(changed.any(0).sum() == 30))
    assert upright == {True, False}
    small = occlusion.bar(image[:56, :56], 30, _rng())
    assert (small != image[:56, :56]).any(2).sum() == 15 * 56


# x, y of the field's alignment, in pixels of 112.
EYES, NOSE, MOUTH = [(38, 52), (73, 52)], [(56, 72)], [(42, 92), (70, 92), (56, 94)]
FOREHEAD = [(56, 20), (30, 25)]


@pytest.mark.parametrize("size", [112, 224])
@pytest.mark.parametrize(
    "step, strength, hidden, seen",
    [
        (occlusion.mask, 62, NOSE + MOUTH, EYES + FOREHEAD),
        (occlusion.glasses, 13, EYES, MOUTH + FOREHEAD + NOSE),
    ],
)
def test_worn_things_hide_what_they_are_worn_on(step, strength, hidden, seen, size):
    image = pixels("a", (size, size, 3))
    for seed in range(10):
        changed = (step(image, strength, _rng(seed)) != image).any(2)
        changed = cv2.blur(changed.astype(float), (3, 3)) > 0.5
        at = {point: changed[point[1] * size // 112, point[0] * size // 112] for point in hidden}
        assert all(at.values()), at
        assert not any(changed[y * size // 112, x * size // 112] for x, y in seen)


def test_the_upper_edge_of_a_mask_is_where_it_is_told():
    image = np.zeros((112, 112, 3), np.uint8)
    for top in (56, 70):
        edges = [occlusion.mask(image, top, _rng(seed)).any(2).any(1).argmax() for seed in range(9)]
        assert max(abs(edge - top) for edge in edges) <= 3


def test_a_quarter_turn_is_a_quarter_turn_to_either_side():
    image = pixels("a", (112, 112, 3))
    turned = {placement.rotate(image, 90, _rng(seed)).tobytes() for seed in range(9)}
    assert turned == {np.rot90(image).tobytes(), np.rot90(image, -1).tobytes()}


def test_a_crop_is_a_part_of_the_picture_enlarged():
    y, x = np.mgrid[:112, :112]
    image = np.stack([x, y, 0 * x], axis=2).astype(np.uint8)
    corners = set()
    for seed in range(20):
        found = placement.crop(image, 56, _rng(seed)).astype(int)
        for channel, axis in ((0, 1), (1, 0)):
            reach = np.take(found[..., channel], 111, axis) - np.take(found[..., channel], 0, axis)
            assert set(reach.ravel()) <= {54, 55, 56}
        corners.add(tuple(found[0, 0, :2]))
    assert len(corners) > 15
    np.testing.assert_array_equal(placement.crop(image, 112, _rng()), image)
