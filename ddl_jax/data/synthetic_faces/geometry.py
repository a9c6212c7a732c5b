"""The head as a solid, and where the viewer's rays meet it.

Every horizontal slice of a solid is an ellipse whose half width, half depth and centre depend on
y, so that a ray meets it in closed form: cheap, and true to foreshortening and to what a turned
head hides. Depth is measured from the middle of the head towards the viewer, in head units.
"""

import dataclasses

import numpy as np

from ddl_jax.data.synthetic_faces.identity import Identity

_Y_LOW, _Y_HIGH, _ROWS = -1.6, 1.8, 1024
_TABLE_Y = np.linspace(_Y_LOW, _Y_HIGH, _ROWS, dtype=np.float32)
# How fast the ellipses shrink towards the chin, and how far their middle moves forward: the face
# stays upright while the jaw ends in front of the neck.
_JAW_DEPTH = 0.42


def _row(y: np.ndarray) -> np.ndarray:
    """The table's row for each y; `take` clips what lies outside."""
    return ((y - _Y_LOW) * np.float32((_ROWS - 1) / (_Y_HIGH - _Y_LOW))).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Solid:
    """Inverse half width, inverse half depth and middle (z) of the ellipse at each y of a table."""

    across: np.ndarray
    along: np.ndarray
    middle: np.ndarray

    @classmethod
    def of(cls, width: np.ndarray, depth: np.ndarray, middle: np.ndarray) -> "Solid":
        return cls(*(a.astype(np.float32) for a in (1 / width, 1 / depth, middle)))

    def at(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three at any y, from the nearest row of the table."""
        row = _row(y)
        return tuple(a.take(row, mode="clip") for a in (self.across, self.along, self.middle))

    def width_at(self, y: np.ndarray) -> np.ndarray:
        """The half width at any y."""
        return 1 / self.across.take(_row(y), mode="clip")


@dataclasses.dataclass(frozen=True)
class Rays:
    """One ray a pixel: head coordinates are `origin + depth * axis`. origin [3, h, w], axis [3]."""

    origin: np.ndarray
    axis: np.ndarray

    def at(self, depth: np.ndarray) -> np.ndarray:
        return self.origin + depth * self.axis[:, None, None]

    def crop(self, rows: slice, columns: slice) -> "Rays":
        return Rays(self.origin[:, rows, columns], self.axis)


def _outline(y: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """1 at y = 0, 0 at the crown and the chin, round at both ends."""
    high = 1 - np.clip(-y, 0, 1) ** upper
    low = 1 - np.clip(y, 0, 1) ** lower
    return np.sqrt(np.where(y < 0, high, low)) + 1e-4


def head_solid(face: Identity) -> Solid:
    """Skull, cheeks and jaw, without nose and ears."""
    down = np.clip(_TABLE_Y, 0, 1)
    outline = _outline(_TABLE_Y, face.skull, face.jaw)
    width = face.width * (1 - face.taper * down**1.5) * outline
    depth = face.depth * (1 - _JAW_DEPTH * down) * _outline(_TABLE_Y, 2.6, 7.0)
    return Solid.of(width, depth, face.depth * _JAW_DEPTH * down)


def hair_solid(face: Identity) -> Solid:
    """The shell that hair lies in: the skull, thicker, and straight down from the temples."""
    hair = face.hair
    up = np.minimum(_TABLE_Y, 0) / (1 + hair.top)
    outline = _outline(up, face.skull, 1.0)
    width = face.width * (1 + hair.side) * outline + 0.04 * hair.curl
    depth = face.depth * (1 + 0.6 * hair.top) * _outline(up, 2.6, 1.0)
    outside = _TABLE_Y < -1 - hair.top
    width[outside] = depth[outside] = 1e-4
    return Solid.of(width, depth, np.zeros_like(_TABLE_Y))


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The matrix from head to camera coordinates; angles in radians."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return tilt @ nod @ turn


def camera_rays(size: int, centre: tuple[float, float], scale: float, matrix: np.ndarray) -> Rays:
    """Parallel rays through a square picture of `size` pixels; `scale` is pixels a head unit."""
    pixel = np.arange(size) + 0.5
    across, down = (((pixel - middle) / scale).astype(np.float32) for middle in centre)
    inverse = matrix.T.astype(np.float32)
    origin = inverse[:, 0, None, None] * across + inverse[:, 1, None, None] * down[:, None]
    return Rays(origin, inverse[:, 2])


def meet_solid(rays: Rays, solid: Solid, guess: float | np.ndarray, steps: int):
    """Where rays enter a solid: (depth, clearance), clearance > 0 inside its outline.

    A nodding head makes y change along the ray, hence the fixed-point steps from a `guess` of the
    depth; two are enough for the angles used here.
    """
    (x, y, z), (ax, ay, az) = rays.origin, rays.axis
    depth = guess
    for _ in range(steps):
        across, along, middle = solid.at(y + depth * ay)
        # In units of the half axes the ellipse is a circle.
        u, v = x * across, (z - middle) * along
        across *= ax
        along *= az
        a = across * across + along * along
        b = u * across + v * along
        clearance = b * b - a * (u * u + v * v - 1)
        depth = (np.sqrt(np.maximum(clearance, 0)) - b) / a
    # The half chord: about the square root of the distance to the outline.
    return depth, clearance / a


def meet_ellipsoid(rays: Rays, centre: np.ndarray, axes: np.ndarray, tilt: float):
    """Where rays enter an ellipsoid turned by `tilt` about x: (depth, inside)."""
    c, s = np.cos(tilt), np.sin(tilt)
    frame = (np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) / axes[:, None]).astype(np.float32)
    origin = np.tensordot(frame, rays.origin - centre[:, None, None].astype(np.float32), 1)
    axis = frame @ rays.axis
    a = axis @ axis
    b = np.tensordot(axis, origin, 1)
    clearance = b * b - a * ((origin * origin).sum(0) - 1)
    return (np.sqrt(np.maximum(clearance, 0)) - b) / a, clearance > 0


def angle_on(solid: Solid, point: np.ndarray) -> np.ndarray:
    """The angle around the head, radians: 0 in the middle of the face, +-pi at the back."""
    across, along, middle = solid.at(point[1])
    return np.arctan2(point[0] * across, (point[2] - middle) * along)
