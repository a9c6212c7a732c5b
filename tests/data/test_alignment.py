"""Alignment: the transform against hand-worked numbers and its definition, the pixels against dots.

The five points of `PHOTO` are made by hand, not taken from anyone's picture.
"""

import cv2
import numpy as np
import pytest

from ddl_jax.data.alignment import TEMPLATES, align, misfit, similarity, template_points
from ddl_jax.errors import UserError

PHOTO = np.array([[210.0, 180.0], [290.0, 172.0], [255.0, 228.0], [222.0, 272.0], [286.0, 266.0]])


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _turned(points: np.ndarray, scale: float, degrees: float, shift: tuple) -> np.ndarray:
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ rotation.T + shift


def test_three_points_by_hand():
    # Means (1, 1) and (2, 0). Centred, as complex numbers: -1-i, 1-i, 2i and 3i, -3i, 0.
    # sum conj(l) p = (-1+i) 3i + (1+i) (-3i) = -3i-3 - 3i+3 = -6i; sum |l|^2 = 8.
    # Turn -0.75i; shift 2 - (-0.75i) (1+i) = 2 - 0.75 + 0.75i = 1.25 + 0.75i.
    matrix = similarity(np.array([[0, 0], [2, 0], [1, 3]]), np.array([[2, 3], [2, -3], [2, 0]]))
    np.testing.assert_allclose(matrix, [[0, 0.75, 1.25], [-0.75, 0, 0.75]], atol=1e-15)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("degrees", [0, 17, 90, 180, -120])
def test_a_moved_template_comes_back_exactly(template, degrees):
    points = template_points(template)
    landmarks = _turned(points, 3.7, degrees, (-40.0, 512.0))
    matrix = similarity(landmarks, points)
    np.testing.assert_allclose(_moved(matrix, landmarks), points, atol=1e-10)
    assert np.hypot(matrix[0, 0], matrix[1, 0]) == pytest.approx(1 / 3.7)


def test_it_is_umeyamas_transform():
    # His own form, by singular values, with the reflection excluded: what scikit-image computes.
    points = template_points("arcface_112")
    rng = np.random.default_rng(0)
    faces = [PHOTO, *rng.normal(100, 30, (20, 5, 2)), PHOTO * (-1, 1)]
    for landmarks in faces:
        source, target = landmarks - landmarks.mean(0), points - points.mean(0)
        u, singular, vt = np.linalg.svd(target.T @ source / 5)
        sign = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
        linear = (u * sign) @ vt * (singular @ sign / np.mean(np.sum(source**2, 1)))
        shift = points.mean(0) - linear @ landmarks.mean(0)
        np.testing.assert_allclose(
            similarity(landmarks, points), np.column_stack([linear, shift]), atol=1e-9
        )


def test_no_other_similarity_is_nearer():
    # The residual is at right angles to whatever scaling, turning and shifting can change.
    points = template_points("arcface_112")
    residual = _moved(similarity(PHOTO, points), PHOTO) - points
    assert np.abs(residual).max() > 0.5  # the points are not the template's
    np.testing.assert_allclose(residual.sum(0), 0, atol=1e-9)
    for direction in (PHOTO, PHOTO[:, ::-1] * (-1, 1)):
        np.testing.assert_allclose(np.sum(residual * direction), 0, atol=1e-7)


def test_templates_of_the_field():
    arcface = template_points("arcface_112")
    assert arcface.tolist()[0] == [38.2946, 51.6963] and arcface.tolist()[4] == [70.7299, 92.2041]
    np.testing.assert_array_equal(template_points("arcface_112", (224, 224)), 2 * arcface)
    # insightface at 128 pixels, and SphereFace's left eye.
    np.testing.assert_allclose(template_points("arcface_128")[0], [46.2946, 51.6963])
    np.testing.assert_allclose(template_points("arcface_128", (256, 256)), 2 * (arcface + (8, 0)))
    np.testing.assert_allclose(template_points("sphereface_112x96")[0], [30.2946, 51.6963])


def _photo_with_dots(scale: float, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """A dark photo with a bright dot on each landmark, anti-aliased to a fraction of a pixel."""
    landmarks = _turned(template_points("arcface_112"), scale, degrees, (260.0, 90.0))
    photo = np.zeros((700, 800), np.uint8)
    for x, y in landmarks:
        cv2.circle(
            photo, (round(x * 16), round(y * 16)), round(40 * scale), 255, -1, cv2.LINE_AA, 4
        )
    return photo, landmarks


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("scale, degrees", [(1.0, 0), (0.6, -25), (2.0, 20), (4.3, 33)])
@pytest.mark.parametrize("size", [(112, 112), (224, 224)])
def test_dots_on_the_landmarks_land_on_the_template(scale, degrees, antialias, size):
    photo, landmarks = _photo_with_dots(scale, degrees)
    aligned = align(photo, landmarks, size=size, antialias=antialias)
    assert aligned.shape == size
    count, _, _, centres = cv2.connectedComponentsWithStats((aligned > 127).astype(np.uint8))
    assert count == 6  # the background, and five dots
    places = sorted(centres[1:].tolist(), key=lambda xy: (round(xy[1] / 10), xy[0]))
    np.testing.assert_allclose(places, template_points("arcface_112", size), atol=0.6)


def test_antialiasing_averages_what_plain_reading_skips():
    # Noise: a tenth of its pixels is as noisy as all, the mean of 10 x 10 of them a tenth as much.
    photo = np.random.default_rng(0).choice([0, 255], (1200, 1200)).astype(np.uint8)
    landmarks = template_points("arcface_112") * 10.0
    plain, smooth = (align(photo, landmarks, antialias=smooth) for smooth in (False, True))
    assert plain.std() > 100 and 8 < smooth.std() < 16
    assert plain.mean() == pytest.approx(127.5, abs=5) and smooth.mean() == pytest.approx(
        127.5, abs=1
    )


def test_where_the_photo_ends_it_is_black():
    photo = np.full((100, 100, 3), 200, np.uint8)
    landmarks = template_points("arcface_112") + (-60, 0)  # the face's left half is outside
    aligned = align(photo, landmarks, template="sphereface_112x96")
    assert aligned.shape == (112, 96, 3)
    assert aligned[50, 10].tolist() == [0, 0, 0] and aligned[50, 80].tolist() == [200, 200, 200]


def test_misfit_tells_faces_from_other_points():
    profile = [[50, 50], [52, 50], [75, 72], [55, 92], [58, 92]]
    face, side, swapped = misfit(np.array([PHOTO, profile, PHOTO[[1, 0, 2, 4, 3]]]))
    assert face < 0.05 and 0.3 < side < 0.7 and swapped > 0.8
    assert misfit(_turned(template_points("arcface_112"), 9, 200, (5, 5))) == pytest.approx(0)
    assert np.isnan(misfit(np.ones((5, 2))))


@pytest.mark.parametrize(
    "arguments, told",
    [
        (dict(landmarks=PHOTO[:4]), r"shape \(4, 2\)"),
        (dict(landmarks=np.ones((5, 2))), "all in one place"),
        (dict(landmarks=PHOTO * np.nan), "not finite"),
        (dict(template="mine"), "template is 'mine'; choose one of arcface_112"),
        (dict(size=(112, 96)), "112x112 .* does not scale to 112x96"),
        (dict(template="sphereface_112x96", size=(112, 112)), "112x96 .* to 112x112"),
        (dict(size=(0, 0)), "does not scale to 0x0"),
    ],
)
def test_what_cannot_be_aligned_is_refused(arguments, told):
    photo = np.zeros((300, 400, 3), np.uint8)
    with pytest.raises(UserError, match=told):
        align(photo, **({"landmarks": PHOTO} | arguments))
