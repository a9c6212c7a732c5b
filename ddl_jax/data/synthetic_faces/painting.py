"""Anti-aliased shapes, soft shapes and noise on a picture of the head's surface, unrolled."""

import dataclasses
import functools

import cv2
import numpy as np

from ddl_jax.data.synthetic_faces.geometry import Solid

# Fractional bits of the coordinates given to OpenCV: shapes move by less than a pixel.
_SHIFT = 4


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
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


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


def disc(picture: np.ndarray, centre: np.ndarray, radius: float, colour) -> None:
    """An opaque disc; centre and radius in pixels."""
    one = 1 << _SHIFT
    cv2.circle(
        picture,
        tuple(int(round(c * one)) for c in centre),
        max(1, int(radius * one)),
        _scalar(colour),
        -1,
        cv2.LINE_AA,
        _SHIFT,
    )


def _scalar(colour) -> float | tuple[float, ...]:
    return colour if np.isscalar(colour) else tuple(map(float, colour))


def soft_shape(
    picture: np.ndarray, points: np.ndarray, softness: float
) -> tuple[np.ndarray, np.ndarray]:
    """The part of a picture that a polygon touches, a view of it, and the polygon's cover there.

    The border is `softness` pixels wide (standard deviation); cover is float32, 0 to 1.
    """
    margin = int(3 * softness) + 2
    # Plain numbers: these few would cost more as arrays than the pixels do.
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    height, width = picture.shape[:2]
    left, top = (min(max(int(a) - margin, 0), end - 1) for a, end in ((left, width), (top, height)))
    right = max(min(int(right) + margin + 2, width), left + 1)
    bottom = max(min(int(bottom) + margin + 2, height), top + 1)
    region = picture[top:bottom, left:right]
    mask = np.zeros(region.shape[:2], np.uint8)
    fill(mask, points - (left, top), 255)
    if softness:
        # Much cheaper than a Gaussian; a kernel of k pixels has a deviation of about k / 4.9.
        mask = cv2.stackBlur(mask, (int(4.9 * softness) | 1,) * 2)
    return region, mask * np.float32(1 / 255)


def glaze(
    picture: np.ndarray, points: np.ndarray, colour, opacity: float, softness: float = 0.0
) -> None:
    """A translucent polygon whose border is `softness` pixels wide (standard deviation)."""
    region, cover = soft_shape(picture, points, softness)
    blend(region, np.asarray(colour, np.float32), cover * np.float32(opacity))


def spread(plane: np.ndarray, weights=(1.0, 1.0, 1.0)) -> np.ndarray:
    """A plane [h, w] times each weight, [h, w, 3]; broadcasting over three channels is slow."""
    return cv2.merge([plane * np.float32(weight) for weight in weights])


def blend(region: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> None:
    """`colour`, one or a picture, over a region in place; alpha float32 [h, w], 0 to 1."""
    if region.ndim == 2:
        region += alpha * (colour - region)
        return
    if colour.ndim == 1:
        colour = np.full(region.shape, colour, np.float32)
    region[:] = cv2.blendLinear(colour, region.astype(np.float32, copy=False), alpha, 1 - alpha)


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
