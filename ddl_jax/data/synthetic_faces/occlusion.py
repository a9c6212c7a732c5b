"""Things that hide part of a face: some worn on it, some in front of it."""

import numpy as np

from ddl_jax.data.synthetic_faces.features import paint_glasses
from ddl_jax.data.synthetic_faces.geometry import Solid
from ddl_jax.data.synthetic_faces.identity import Glasses, Identity
from ddl_jax.data.synthetic_faces.painting import fill, glaze, oval, stroke
from ddl_jax.data.synthetic_faces.skin import FACE_CHART

MASK, SUNGLASSES, HAND, BARS = KINDS = ("mask", "sunglasses", "hand", "bars")
# What leaves the hair to be seen hides less of a person, and is rarer.
_SHARES = (0.15, 0.2, 0.3, 0.35)


def draw_kind(rng: np.random.Generator) -> str:
    return KINDS[rng.choice(len(KINDS), p=_SHARES)]


def paint_worn(
    texture: np.ndarray, face: Identity, solid: Solid, kind: str, rng: np.random.Generator
) -> None:
    """A mask or sunglasses, on the unrolled face in place."""
    if kind == MASK:
        _paint_mask(texture, face, solid, rng)
    elif kind == SUNGLASSES:
        shape = Glasses(rng.integers(1, 4))
        paint_glasses(
            texture,
            face,
            solid,
            shape,
            rng.uniform(1.4, 1.7),
            rng.uniform(5, 60, 3),
            0.97,
            rng.uniform(5, 45, 3),
        )


def _paint_mask(texture, face: Identity, solid: Solid, rng: np.random.Generator) -> None:
    colour = np.array(
        [[222, 232, 238], [150, 190, 214], [38, 40, 46], [168, 200, 182], [200, 170, 176]]
    )[rng.integers(5)] + rng.uniform(-12, 12, 3)
    top = face.eye_height + rng.uniform(0.1, 0.16)
    outline = np.array(
        [
            [-0.7, top + 0.12],
            [-0.3, top + 0.04],
            [0, top - 0.03],
            [0.3, top + 0.04],
            [0.7, top + 0.12],
            [0.7, 0.75],
            [0.5, 1.15],
            [-0.5, 1.15],
            [-0.7, 0.75],
        ]
    )
    points = FACE_CHART.place(solid, outline)
    for y in (top + 0.18, 0.78):
        for side in (-1, 1):
            strap = np.array([[side * 0.5, y], [side * 0.97 * face.width, 0.1 + 0.12 * y]])
            stroke(texture, FACE_CHART.place(solid, strap), colour * 0.9, 2)
    glaze(texture, points + (0, 2), face.skin * 0.4, 0.5, 2)
    fill(texture, points, colour)
    for fold in np.linspace(top + 0.2, 0.82, 3):
        line = np.array([[-0.5, fold + 0.03], [0, fold], [0.5, fold + 0.03]])
        line = np.concatenate([line, (line + (0, 0.02))[::-1]])
        glaze(texture, FACE_CHART.place(solid, line), colour * 0.6, 0.6, 1.0)


def paint_in_front(canvas: np.ndarray, kind: str, rng: np.random.Generator) -> None:
    """A hand or bars, over the picture in place: float32 [side, side, 3]."""
    side = canvas.shape[0]
    if kind == HAND:
        _paint_hand(canvas, side, rng)
    elif kind == BARS:
        _paint_bars(canvas, side, rng)


def _paint_bars(canvas: np.ndarray, side: int, rng: np.random.Generator) -> None:
    """A fence: parallel opaque bars at any slant."""
    angle = rng.choice([0.0, np.pi / 2]) + rng.uniform(-0.35, 0.35)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    pitch = rng.uniform(0.2, 0.27) * side
    half = 0.5 * rng.uniform(0.5, 0.6) * pitch
    colour = rng.uniform(20, 220) + rng.uniform(-20, 20, 3)
    first = side / 2 + rng.uniform(0, pitch) * across
    for bar in range(-5, 5):
        middle = first + bar * pitch * across
        ends = np.stack([middle - side * along, middle + side * along])
        box = np.concatenate([ends - half * across, ends[::-1] + half * across])
        glaze(canvas, box, colour, 1.0)
        lit = np.concatenate([ends - 0.7 * half * across, ends[::-1]])
        glaze(canvas, lit, np.minimum(colour + 25, 255), 0.8, 1.2)


def _paint_hand(canvas: np.ndarray, side: int, rng: np.random.Generator) -> None:
    """A palm and four fingers across the face, somebody else's or the person's own."""
    skin = np.array([224, 176, 146]) * rng.uniform(0.4, 1.05)
    angle = rng.uniform(-0.6, 0.6)
    flip = rng.choice([-1, 1])
    c, s = np.cos(angle), np.sin(angle)
    centre = side * np.array([0.5 + flip * rng.uniform(0.06, 0.16), rng.uniform(0.5, 0.68)])

    scale = side * rng.uniform(1.0, 1.2)

    def place(points):
        points = points * (flip, 1) * scale
        return (
            np.stack([c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1]], 1)
            + centre
        )

    thumb = oval(-0.21, 0.06, 0.05, 0.15, -0.7)
    fingers = [
        oval(x, -0.24 + 0.25 * (x - 0.02) ** 2 + low, 0.05, 0.21, 0.12 * x / 0.1)
        for x, low in ((-0.13, 0.02), (-0.04, -0.02), (0.05, 0.0), (0.135, 0.06))
    ]
    wrist = np.array([[-0.13, 0.1], [0.15, 0.1], [0.13, 0.9], [-0.1, 0.9]])
    for part in (wrist, thumb, oval(0, 0.06, 0.2, 0.23), *fingers):
        points = place(part)
        glaze(canvas, points + (0, 0.008 * side), skin * 0.45, 0.6, 2.0)
        glaze(canvas, points, skin * 0.8, 1.0)
        inner = points.mean(0) + 0.72 * (points - points.mean(0))
        glaze(canvas, inner, skin, 1.0, 2.0)
