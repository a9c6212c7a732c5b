"""Aligned faces: the five landmarks of a photo brought to the places a network was trained on."""

import dataclasses

import cv2
import numpy as np

from ddl_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Template:
    """Where the landmarks stand in an aligned image.

    Attributes:
      size: `(height, width)` in pixels that the points are meant for.
      points: `(x, y)` in pixels of the eye on the left of the image, the eye on its right, the tip
        of the nose, and the corners of the mouth on the left and right. The centre of the first
        pixel is (0, 0).
    """

    size: tuple[int, int]
    points: tuple[tuple[float, float], ...]


def _shifted(points: tuple[tuple[float, float], ...], x: float) -> tuple[tuple[float, float], ...]:
    return tuple((point[0] + x, point[1]) for point in points)


_ARCFACE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
TEMPLATES = {
    # insightface and with it nearly all recognizers of today.
    "arcface_112": Template((112, 112), _ARCFACE),
    # insightface's rule for 128, 256, ...: as many pixels as at 112, 8 more on each side, 16 below.
    "arcface_128": Template((128, 128), _shifted(_ARCFACE, 8.0)),
    # SphereFace, CosFace, the first MobileFaceNets: arcface_112 without 8 columns on each side.
    "sphereface_112x96": Template((112, 96), _shifted(_ARCFACE, -8.0)),
}


def template_points(template: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """The points of a template, `[5, 2]` float64 (x, y), for an image of `size`.

    Another size than the template's own multiplies its points, as the field does: by 2 for 224x224.

    Args:
      template: a name of `TEMPLATES`.
      size: `(height, width)` in pixels, of the template's shape; its own by default.

    Raises:
      UserError: an unknown template, or a size of another shape.
    """
    if template not in TEMPLATES:
        raise UserError(f"template is {template!r}; choose one of {', '.join(TEMPLATES)}")
    own_height, own_width = TEMPLATES[template].size
    height, width = size or TEMPLATES[template].size
    if height < 1 or height * own_width != width * own_height:
        raise UserError(
            f"template {template} is {own_height}x{own_width} (height x width), which does not "
            f"scale to {height}x{width}; give a multiple of it"
        )
    return np.array(TEMPLATES[template].points) * (height / own_height)


def similarity(landmarks: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The rotation, scaling and shift that bring landmarks nearest to the points of a template.

    It minimises sum_i |s R l_i + t - p_i|^2 over scales s > 0, rotations R and shifts t: Umeyama's
    transform (1991), which is scikit-image's `SimilarityTransform`. In the plane, with (x, y) as
    x + iy and both sides less their means, s R is the one complex number
    sum_i conj(l_i) p_i / sum_i |l_i|^2. All five points count alike; a robust estimate that leaves
    some out, such as OpenCV's `estimateAffinePartial2D`, gives other pixels than the field's.

    Args:
      landmarks: `[n, 2]` (x, y) in pixels, n >= 2.
      points: `[n, 2]`, where they are to be.

    Returns:
      `[2, 3]` float64: `matrix @ (x, y, 1)`.

    Raises:
      UserError: landmarks that are all in one place, or not finite.
    """
    source, target = (np.asarray(xy, np.float64) @ (1, 1j) for xy in (landmarks, points))
    centred = source - source.mean()
    spread = np.sum(np.abs(centred) ** 2)
    if not (np.isfinite(spread) and spread > 0):
        raise UserError("landmarks are all in one place or not finite; a face has five points")
    turn = np.sum(centred.conj() * (target - target.mean())) / spread
    shift = target.mean() - turn * source.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def misfit(landmarks: np.ndarray) -> np.ndarray:
    """How little landmarks look like a face: 0 for the template itself, up to 1.

    It is the share of the template's spread that the best similarity leaves; a frontal face has
    less than 0.1, a profile about one half. NaN where all landmarks are in one place.

    Args:
      landmarks: `[..., 5, 2]` (x, y) in pixels.
    """
    face = np.asarray(landmarks, np.float64) @ (1, 1j)
    face = face - face.mean(-1, keepdims=True)
    template = np.array(_ARCFACE) @ (1, 1j)
    template = template - template.mean()
    spread = np.sum(np.abs(face) ** 2, -1) * np.sum(np.abs(template) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - np.abs(np.sum(face.conj() * template, -1)) ** 2 / spread


def align(
    image: np.ndarray,
    landmarks: np.ndarray,
    *,
    template: str = "arcface_112",
    size: tuple[int, int] | None = None,
    antialias: bool = False,
) -> np.ndarray:
    """Cuts an aligned face out of a photo.

    Args:
      image: `[H, W, 3]` or `[H, W]` uint8.
      landmarks: `[5, 2]` (x, y) in its pixels: the eye on the left of the image, the eye on its
        right, the tip of the nose, the corners of the mouth on the left and right; the centre of
        the first pixel is (0, 0).
      template: where they are brought to; see `TEMPLATES`.
      size: `(height, width)` of the result; that of the template by default.
      antialias: False reads the photo by linear interpolation, as the field does and as pretrained
        networks have seen it; a large face then skips pixels. True first averages the photo down
        to less than two of its pixels for one of the result.

    Returns:
      `[height, width, 3]` or `[height, width]` uint8; black where the photo ends.

    Raises:
      UserError: an unknown template, a size that does not fit it, landmarks that are no five points
        or all in one place.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape != (5, 2):
        raise UserError(f"landmarks have shape {landmarks.shape}; a face has [5, 2], x then y")
    points = template_points(template, size)
    height, width = size or TEMPLATES[template].size
    matrix = similarity(landmarks, points)
    shrink = int(1 / np.hypot(matrix[0, 0], matrix[1, 0])) if antialias else 1
    if shrink > 1:
        image, landmarks = _shrunk(image, landmarks, shrink)
        matrix = similarity(landmarks, points)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)


def _shrunk(image: np.ndarray, landmarks: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """The means of blocks of `factor` x `factor` pixels, and the landmarks among them."""
    size = np.maximum(1, np.array(image.shape[1::-1]) // factor)
    moved = (landmarks + 0.5) * (size / image.shape[1::-1]) - 0.5  # a pixel's middle is its place
    return cv2.resize(image, size.tolist(), interpolation=cv2.INTER_AREA), moved
