"""Anti-aliased shapes, soft shapes and noise on a picture of the head's surface, unrolled."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ddl_jax.data.synthetic_faces.geometry import Solid

# Fractional bits of the coordinates given to OpenCV: shapes move by less than a pixel.
_SHIFT = 4

# A shape, [n, 2] as `Chart.place` takes it, and what draws it: called with a picture and pixels.
Layer = tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], None]]


@dataclasses.dataclass(frozen=True)
class Chart:
    """Where on an unrolled picture a point of a solid lies: columns are angles, rows are y."""

    columns: int
    rows: int
    y_low: float
    y_high: float

    @property
    def per_unit(self) -> float:
        """Pixels a head unit, down the picture."""
        return self.rows / (self.y_high - self.y_low)

    def to_pixels(self, angle: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Columns and rows, as `cv2.remap` takes them."""
        column = angle * np.float32(self.columns / (2 * np.pi)) + np.float32(self.columns / 2 - 0.5)
        return column, (y - np.float32(self.y_low)) * np.float32(self.per_unit) - np.float32(0.5)

    def place(self, solid: Solid, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] as seen from the front, (x, y), to pixels [n, 2]."""
        sine = points[:, 0] / solid.width_at(points[:, 1])
        angle = np.arcsin(np.minimum(np.maximum(sine, -0.995), 0.995))
        return np.stack(self.to_pixels(angle, points[:, 1]), 1)

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Angle [1, columns] and y [rows, 1] of every pixel."""
        angle = ((np.arange(self.columns) + 0.5) / self.columns - 0.5) * 2 * np.pi
        y = self.y_low + (np.arange(self.rows) + 0.5) / self.per_unit
        return angle[None, :].astype(np.float32), y[:, None].astype(np.float32)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def fill(picture: np.ndarray, points: np.ndarray, colour) -> None:
    """An opaque polygon; points [n, 2] in pixels."""
    cv2.fillPoly(picture, [_fixed(points)], _scalar(colour), cv2.LINE_AA, _SHIFT)


def stroke(
    picture: np.ndarray, points: np.ndarray, colour, thickness: int = 1, closed: bool = False
) -> None:
    """An opaque line through points [n, 2]; thickness in whole pixels."""
    cv2.polylines(
        picture, [_fixed(points)], closed, _scalar(colour), thickness, cv2.LINE_AA, _SHIFT
    )


def disc(picture: np.ndarray, centre: Sequence[float], radius: float, colour) -> None:
    """An opaque disc; centre and radius in pixels."""
    one = 1 << _SHIFT
    x, y = centre
    middle, radius = (round(x * one), round(y * one)), max(1, int(radius * one))
    cv2.circle(picture, middle, radius, _scalar(colour), -1, cv2.LINE_AA, _SHIFT)


def _scalar(colour) -> float | Sequence[float]:
    return colour.tolist() if isinstance(colour, np.ndarray) else colour


def _part(
    picture: np.ndarray, corners: np.ndarray, margin: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """A view of the part within `margin` pixels of a polygon, and what moves `corners` into it."""
    x, y, width, height = cv2.boundingRect(corners)
    bottom, right = picture.shape[:2]
    left = min(max((x >> _SHIFT) - margin, 0), right - 1)
    top = min(max((y >> _SHIFT) - margin, 0), bottom - 1)
    right = max(min(((x + width) >> _SHIFT) + margin + 2, right), left + 1)
    bottom = max(min(((y + height) >> _SHIFT) + margin + 2, bottom), top + 1)
    return picture[top:bottom, left:right], (-left << _SHIFT, -top << _SHIFT)


def _blurred(mask: np.ndarray, softness: float) -> np.ndarray:
    """Much cheaper than by a Gaussian of that standard deviation, and about the same."""
    # Twice a box, where two boxes of even length must shift opposite ways. Not OpenCV's stackBlur,
    # which does just that: what it computes depends on the number of threads.
    side = (int(4.9 * softness) | 1) // 2 + 1
    for anchor in ((side - 1) // 2, side // 2):
        mask = cv2.blur(mask, (side, side), None, (anchor, anchor), cv2.BORDER_REPLICATE)
    return mask


def soft_shape(
    picture: np.ndarray, points: np.ndarray, softness: float, amount: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """The part of a picture that a polygon touches, a view of it, and the polygon's cover there.

    The border is `softness` pixels wide (standard deviation); cover is float32, 0 to `amount`.
    """
    corners = _fixed(points)
    region, offset = _part(picture, corners, int(3 * softness) + 2)
    mask = np.zeros(region.shape[:2], np.uint8)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SHIFT, offset)
    if softness:
        mask = _blurred(mask, softness)
    return region, mask * np.float32(amount / 255)


def glaze(
    picture: np.ndarray, points: np.ndarray, colour, opacity: float, softness: float = 0.0
) -> None:
    """A translucent polygon whose border is `softness` pixels wide (standard deviation)."""
    if softness or picture.dtype != np.uint8:
        region, cover = soft_shape(picture, points, softness, opacity)
        blend(region, colour, cover)
        return
    # OpenCV draws sharp borders in bytes by itself, with fewer and smaller steps.
    corners = _fixed(points)
    region, offset = _part(picture, corners, 2)
    layer = region.copy()
    cv2.fillPoly(layer, [corners], _scalar(colour), cv2.LINE_AA, _SHIFT, offset)
    cv2.addWeighted(layer, opacity, region, 1 - opacity, 0, region)


def blend(region: np.ndarray, colour, alpha: np.ndarray) -> None:
    """`colour`, one or a picture, over a region in place; alpha float32 [h, w], 0 to 1."""
    if region.ndim == 2:
        region += alpha * (colour - region)
        return
    if np.ndim(colour) == 1:
        # Ten times faster than `np.full`.
        colour = cv2.repeat(np.array(colour, np.float32).reshape(1, 1, 3), *region.shape[:2])
    if region.dtype == np.uint8:
        # By way of floats: OpenCV's mixing of bytes is five times slower.
        mixed = cv2.blendLinear(colour, region.astype(np.float32), alpha, 1 - alpha)
        region[:] = mixed + np.float32(0.5)
        return
    cv2.blendLinear(colour, region, alpha, 1 - alpha, region)


def paint(picture: np.ndarray, chart: Chart, solid: Solid, layers: Sequence[Layer]) -> None:
    """Draws layers in order; placing all their points at once is what makes many layers cheap."""
    placed = chart.place(solid, np.concatenate([points for points, _ in layers]))
    for points, brush in split(placed, layers):
        brush(picture, points)


def split(points: np.ndarray, layers: Sequence[Layer]) -> list[Layer]:
    """The layers' brushes with other points, given one after the other."""
    ends = itertools.accumulate(len(outline) for outline, _ in layers)
    return [
        (points[end - len(outline) : end], brush) for end, (outline, brush) in zip(ends, layers)
    ]


def spread(plane: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """A plane float32 [h, w] in three channels [h, w, 3], each times its weight."""
    picture = cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB)
    if weights is not None:
        # As long rows: broadcasting over three channels is slow.
        height, width = plane.shape
        rows = picture.reshape(height, 3 * width)
        rows *= np.tile(np.asarray(weights, np.float32), width)
    return picture


def oval(
    x: float, y: float, half_width: float, half_height: float, slant: float = 0.0, corners: int = 20
) -> np.ndarray:
    """The outline of an ellipse turned by `slant` radians; [corners, 2]."""
    c, s = np.cos(slant), np.sin(slant)
    axes = np.array([[c * half_width, s * half_width], [-s * half_height, c * half_height]])
    return _circle(corners) @ axes + (x, y)


@functools.cache
def _circle(corners: int) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(t), np.sin(t)], 1)


def mirror(points: np.ndarray) -> np.ndarray:
    """The same shape on the other side of the face."""
    return points * np.array([-1.0, 1.0])


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]
) -> np.ndarray:
    """A smooth random field [h, w], mean about 0 and deviation below 1, of `cells` bumps."""
    return enlarge(rng.standard_normal(cells, dtype=np.float32), shape)


def enlarge(coarse: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A few values, [h, w] or [h, w, 3], to a smooth picture of `shape`."""
    # Cubic only for the first part of the way: it is ten times slower than linear.
    halfway = tuple(min(5 * few, many) for few, many in zip(coarse.shape, shape))
    coarse = cv2.resize(coarse, halfway[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR)
