"""The head as a solid, and where the viewer's rays meet it.

Every horizontal slice of a solid is an ellipse whose half width, half depth and centre depend on
y, so that a ray meets it in closed form: cheap, and true to foreshortening and to what a turned
head hides. Depth is measured from the middle of the head towards the viewer, in head units.
"""

import dataclasses
import math

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

    def bounds(self, matrix: np.ndarray, y_end: float) -> tuple[float, float, float, float]:
        """What a camera sees of it down to `y_end`, head units: left, top, right, bottom."""
        low, high = int(_row(-1.4)), int(_row(y_end)) + 1
        rows = slice(low, high, 4)
        solid = self.across[rows] < 50  # elsewhere it is a needle
        width, depth = 1 / self.across[rows][solid], 1 / self.along[rows][solid]
        y, z = _TABLE_Y[rows][solid], self.middle[rows][solid]
        edges = []
        for to_x, to_y, to_z in matrix[:2].tolist():
            middle = to_y * y + to_z * z
            # Each slice is an ellipse, as wide to a viewer as this.
            reach = np.sqrt((to_x * width) ** 2 + (to_z * depth) ** 2)
            edges.append((float((middle - reach).min()), float((middle + reach).max())))
        (left, right), (top, bottom) = edges
        return left, top, right, bottom


@dataclasses.dataclass(frozen=True)
class Rays:
    """One ray a pixel: head coordinates are `origin + depth * axis`. origin [3, h, w], axis [3]."""

    origin: np.ndarray
    axis: np.ndarray

    @classmethod
    def of(cls, across: np.ndarray, down: np.ndarray, matrix: np.ndarray) -> "Rays":
        """Parallel rays at `across` [w] and `down` [h], camera coordinates in head units."""
        inverse = matrix.T.astype(np.float32)
        origin = inverse[:, 0, None, None] * across + inverse[:, 1, None, None] * down[:, None]
        return cls(origin, inverse[:, 2])

    def y_at(self, depth: np.ndarray) -> np.ndarray:
        return self.origin[1] + depth * self.axis[1]


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
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return tilt @ nod @ turn


def meet_solid(rays: Rays, solid: Solid, guess: float, steps: int) -> "Meeting":
    """Where rays enter a solid.

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
    return Meeting(depth, clearance / a, (u, v), (across, along))


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Where rays meet a solid; planes [h, w]."""

    depth: np.ndarray
    clearance: np.ndarray  # above 0 inside the outline
    # In units of the half axes, where a ray's ellipse is a circle: where it starts, and its axis.
    start: tuple[np.ndarray, np.ndarray]
    axis: tuple[np.ndarray, np.ndarray]

    def angle(self, depth: np.ndarray) -> np.ndarray:
        """The angle around the head at a depth of the rays, not far from that of the solid.

        Radians: 0 in the middle of the face, +-pi at the back.
        """
        (u, v), (across, along) = self.start, self.axis
        return np.arctan2(u + depth * across, v + depth * along)


@dataclasses.dataclass(frozen=True)
class Ellipsoid:
    """What grows the head: nose and ears. Its axes are those of the head, turned about x."""

    centre: np.ndarray
    frame: np.ndarray  # its half axes, columns
    fillet: float  # how far the join with the head is rounded, head units

    @classmethod
    def of(cls, centre, axes, tilt: float = 0.0, fillet: float = 0.0) -> "Ellipsoid":
        c, s = math.cos(tilt), math.sin(tilt)
        turn = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
        return cls(np.array(centre), turn * np.array(axes), fillet)


@dataclasses.dataclass(frozen=True)
class Lump:
    """An ellipsoid as the camera sees it, in plain numbers: x right, y down, z towards it."""

    middle: tuple[float, float, float]
    half_width: float
    half_height: float
    # Inside at (dx, dy) from the middle: xx dx^2 + xy dx dy + yy dy^2 < 1.
    outline: tuple[float, float, float]
    slope: tuple[float, float]  # of the plane halfway between front and back
    half_depth: float  # in the middle

    @classmethod
    def of(cls, ellipsoid: Ellipsoid, matrix: np.ndarray) -> "Lump":
        frame = matrix @ ellipsoid.frame
        (xx, xy, xz), (_, yy, yz), (_, _, zz) = (frame @ frame.T).tolist()
        area = xx * yy - xy * xy
        slope = (xz * yy - yz * xy) / area, (yz * xx - xz * xy) / area
        return cls(
            tuple((matrix @ ellipsoid.centre).tolist()),
            math.sqrt(xx),
            math.sqrt(yy),
            (yy / area, -2 * xy / area, xx / area),
            slope,
            math.sqrt(zz - slope[0] * xz - slope[1] * yz),
        )

    def meet(self, across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rays at `across` [w] and `down` [h] enter it: (depth [h, w], inside [h, w])."""
        x, y, z = self.middle
        dx, dy = across - x, (down - y)[:, None]
        xx, xy, yy = self.outline
        clearance = (1 - xx * dx * dx) - (yy * dy + xy * dx) * dy
        half = self.half_depth * np.sqrt(np.maximum(clearance, 0))
        return (z + self.slope[0] * dx) + self.slope[1] * dy + half, clearance > 0
