"""What the skin of an identity looks like in every picture: colour, spots, beard, relief."""

import numpy as np

from ddl_jax.data.synthetic_faces.geometry import Solid
from ddl_jax.data.synthetic_faces.identity import Beard, Identity
from ddl_jax.data.synthetic_faces.painting import (
    Chart,
    blend,
    disc,
    glaze,
    mirror,
    oval,
    smooth_noise,
    soft_shape,
    spread,
)

FACE_CHART = Chart(columns=512, rows=232, y_low=-1.16, y_high=1.16)


def _both_sides(picture, solid, points, colour, opacity, softness) -> None:
    for side in (points, mirror(points)):
        glaze(picture, FACE_CHART.place(solid, side), colour, opacity, softness)


def _spots(picture: np.ndarray, face: Identity, solid: Solid, rng: np.random.Generator) -> None:
    """Freckles over nose and cheeks, moles anywhere on the face."""
    spots = []
    for _ in range(face.freckles):
        shade = face.skin * rng.uniform(0.72, 0.88) * (1, 0.93, 0.85)
        where = rng.normal(0, 0.26), rng.normal(0.2, 0.13)
        spots.append((where, rng.uniform(0.6, 1.3), shade))
    for _ in range(face.moles):
        where = rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.85)
        spots.append((where, rng.uniform(1.2, 2.6), face.skin * (0.42, 0.34, 0.32)))
    if spots:
        centres = FACE_CHART.place(solid, np.array([where for where, _, _ in spots]))
        for centre, (_, radius, colour) in zip(centres.tolist(), spots):
            disc(picture, centre, radius, colour)


def _beard_mask(face: Identity, solid: Solid) -> np.ndarray:
    """How much of the skin the beard covers, [rows, columns], 0 to 1."""
    mask = np.zeros((FACE_CHART.rows, FACE_CHART.columns), np.float32)
    mouth, half = face.mouth_height, face.mouth_width

    def grow(points, amount, softness=2.5):
        glaze(mask, FACE_CHART.place(solid, points), amount, 1.0, softness)

    if face.beard in (Beard.STUBBLE, Beard.FULL):
        jaw = np.array(
            [
                [-0.9, 0.05],
                [-0.62, 0.08],
                [-0.5, mouth - 0.15],
                [-half, mouth - 0.14],
                [half, mouth - 0.14],
                [0.5, mouth - 0.15],
                [0.62, 0.08],
                [0.9, 0.05],
                [0.9, 1.1],
                [-0.9, 1.1],
            ]
        )
        grow(jaw, 1.0, 5.0)
        grow(oval(0, mouth + 0.02, half * 1.02, 0.1), 0.0)
    if face.beard in (Beard.MOUSTACHE, Beard.GOATEE, Beard.FULL):
        y = mouth - face.lip_upper
        lip = np.array(
            [
                [-half * 1.1, y + 0.09],
                [-half * 0.7, y - 0.06],
                [0, y - 0.09],
                [half * 0.7, y - 0.06],
                [half * 1.1, y + 0.09],
                [half * 0.6, y + 0.005],
                [0, y - 0.01],
                [-half * 0.6, y + 0.005],
            ]
        )
        grow(lip, 1.0, 1.5)
    if face.beard == Beard.GOATEE:
        grow(oval(0, 0.92, half * 0.8, 0.2), 1.0)
    return mask * (0.35 if face.beard == Beard.STUBBLE else 0.88)


def paint_skin(face: Identity, solid: Solid) -> np.ndarray:
    """The bare skin, unrolled: uint8 [rows, columns, 3]."""
    rng = np.random.default_rng(face.texture_seed)
    shape = (FACE_CHART.rows, FACE_CHART.columns)
    blotches = face.blotches * smooth_noise(rng, shape, (9, 24))
    pores = 0.02 * smooth_noise(rng, shape, (116, 256))
    skin = spread(1 + blotches + pores, face.skin)
    flush = np.array([1.06, 0.8, 0.8]) * face.skin
    _both_sides(skin, solid, oval(0.4, 0.27, 0.15, 0.11), flush, face.blush, 8)
    shadow = face.skin * (0.78, 0.7, 0.72)
    eye, wrinkles = face.eye_height, face.wrinkles
    _both_sides(
        skin,
        solid,
        oval(face.eye_distance, eye + 0.11, 0.12, 0.03),
        shadow,
        0.25 + 0.5 * wrinkles,
        3,
    )
    _both_sides(skin, solid, oval(face.eye_distance, eye - 0.03, 0.19, 0.1), shadow, 0.35, 5)
    for line in range(3):
        y = eye - face.brow_height - 0.15 - 0.07 * line
        glaze(skin, FACE_CHART.place(solid, oval(0, y, 0.28, 0.007)), shadow, 0.55 * wrinkles, 1.2)
    _spots(skin, face, solid, rng)
    if face.beard:
        bristle = 1 + 0.22 * smooth_noise(rng, shape, (116, 170))
        blend(skin, spread(bristle, 0.75 * face.hair.colour + 8), _beard_mask(face, solid))
    return np.clip(skin, 0, 255).astype(np.uint8)


def paint_relief(face: Identity, solid: Solid) -> np.ndarray:
    """Height of the skin above the solid, head units, float32 [rows, columns]; for shading."""
    relief = np.zeros((FACE_CHART.rows, FACE_CHART.columns), np.float32)

    def raise_by(height, points, softness):
        for side in (points, mirror(points)):
            region, cover = soft_shape(relief, FACE_CHART.place(solid, side), softness)
            region += np.float32(height) * cover

    x, y = face.eye_distance, face.eye_height
    raise_by(-0.05, oval(x, y + 0.01, 0.15, 0.09), 6)
    raise_by(0.03, oval(x - 0.02, y - face.brow_height, 0.17, 0.03, -0.1), 5)
    raise_by(0.02 + 0.05 * face.cheekbone, oval(0.42, y + 0.22, 0.12, 0.06, -0.4), 7)
    raise_by(0.03, oval(0, 0.88, 0.13, 0.06), 6)
    raise_by(-0.05 * face.chin_dimple, oval(0, 0.89, 0.015, 0.05), 2)
    raise_by(-0.02, oval(0, face.mouth_height + face.lip_lower + 0.06, 0.12, 0.02), 3)
    raise_by(-0.012, oval(0, face.mouth_height - face.lip_upper - 0.05, 0.015, 0.03), 2)
    return relief
