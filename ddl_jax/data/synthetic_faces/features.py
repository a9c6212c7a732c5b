"""Eyes, brows, nostrils, mouth and glasses: painted anew in every view, as expressions differ."""

import numpy as np

from ddl_jax.data.synthetic_faces.geometry import Solid
from ddl_jax.data.synthetic_faces.identity import Glasses, Identity
from ddl_jax.data.synthetic_faces.painting import disc, fill, glaze, mirror, oval, stroke
from ddl_jax.data.synthetic_faces.skin import FACE_CHART
from ddl_jax.data.synthetic_faces.view import View

_CURVE = np.linspace(0, 1, 11)
_ARCH = np.sin(np.pi * _CURVE)
_TEETH = (238, 232, 222)
_INSIDE = (62, 20, 22)


def _turned(points: np.ndarray, centre: tuple[float, float], slant: float) -> np.ndarray:
    """Points about the origin, turned so that the outer end (+x) rises, and moved to `centre`."""
    c, s = np.cos(slant), np.sin(slant)
    x, y = points[:, 0], points[:, 1]
    return np.stack([c * x + s * y + centre[0], -s * x + c * y + centre[1]], 1)


def _paint_eye(texture, face: Identity, solid: Solid, view: View, side: int) -> None:
    """One eye; side +1 is the right of the picture, -1 the left."""
    half, slant = face.eye_width, face.eye_slant
    # The lower lid rises with a smile.
    opening = face.eye_opening * (1 - view.eye_closure)
    across = half * (2 * _CURVE - 1)
    upper = np.stack([across, -1.25 * opening * _ARCH**0.8], 1)
    lower = np.stack([across, opening * (0.85 - 0.3 * max(view.smile, 0)) * _ARCH], 1)
    centre = (face.eye_distance, face.eye_height)

    def place(points):
        points = _turned(points, centre, slant)
        return FACE_CHART.place(solid, points if side > 0 else mirror(points))

    lids = place(np.concatenate([upper, lower[::-1]]))
    low = np.floor(lids.min(0)).astype(int) - 1
    high = np.ceil(lids.max(0)).astype(int) + 2
    region = texture[low[1] : high[1], low[0] : high[0]]
    eye = np.empty_like(region)
    eye[:] = (232, 228, 222)
    scale = FACE_CHART.per_unit
    iris = place(np.array([[0.0, -0.1 * opening]]))[0] - low
    iris = iris + np.array([view.gaze[0] * 0.22 * half, view.gaze[1] * 0.2 * opening]) * scale
    radius = scale * min(0.43 * half, 0.066)
    disc(eye, iris, radius, face.iris * 0.55)
    disc(eye, iris, 0.84 * radius, face.iris)
    disc(eye, iris, 0.42 * radius, (12, 10, 10))
    disc(eye, iris + (-0.35 * radius, -0.35 * radius), 0.22 * radius, (250, 250, 250))
    mask = np.zeros(region.shape[:2], np.uint8)
    fill(mask, lids - low, 255)
    alpha = mask[..., None] * np.float32(1 / 255)
    region[:] = region + alpha * (eye * np.float32(0.95) - region)

    dark = face.skin * 0.3
    glaze(texture, place(np.concatenate([upper, upper[::-1] * (0.96, 0.65)])), (30, 20, 18), 0.5)
    stroke(texture, place(upper), dark * (1 - 0.7 * face.lashes), 1 + (face.lashes > 0.5))
    stroke(texture, place(lower), face.skin * (0.72, 0.6, 0.58))
    crease = upper * (1.08, 1.0) - (0, face.eye_lid)
    glaze(texture, place(np.concatenate([crease, (crease - (0, 0.014))[::-1]])), dark, 0.55)


def _paint_brow(texture, face: Identity, solid: Solid, view: View, side: int) -> None:
    across = face.brow_length * (2 * _CURVE - 1)
    arch = -face.brow_arch * np.sin(np.pi * np.clip(1.25 * _CURVE, 0, 1)) ** 1.2
    thick = face.brow_thickness * np.clip(1.25 - _CURVE, 0, 1) * np.clip(0.5 + 4 * _CURVE, 0, 1)
    outline = np.concatenate(
        [np.stack([across, arch - thick], 1), np.stack([across, arch + thick], 1)[::-1]]
    )
    centre = (face.eye_distance + 0.02, face.eye_height - face.brow_height - view.brow_raise)
    points = _turned(outline, centre, face.brow_slant)
    points = points if side > 0 else mirror(points)
    # Grey and fair people have darker brows than hair.
    colour = np.minimum(face.hair.colour * 0.7, face.skin * 0.62)
    glaze(texture, FACE_CHART.place(solid, points), colour, face.brow_opacity)


def _paint_nose(texture, face: Identity, solid: Solid) -> None:
    y = face.eye_height + face.nose_length + 0.045
    dark = face.skin * (0.42, 0.3, 0.28)
    for side in (1, -1):
        nostril = oval(side * face.nose_width * 0.45, y, face.nose_width * 0.27, 0.02, side * 0.3)
        glaze(texture, FACE_CHART.place(solid, nostril), dark, 0.85)
        t = np.linspace(-1.1, 1.3, 7)
        across = side * face.nose_width * (0.86 + 0.2 * np.cos(t))
        wing = np.stack([across, y - 0.05 + 0.06 * np.sin(t)], 1)
        wing = np.concatenate([wing, (wing - (side * 0.022, 0))[::-1]])
        glaze(texture, FACE_CHART.place(solid, wing), dark, 0.4, 1.2)
    under = oval(0, y + 0.035, face.nose_width * 0.9, 0.014)
    glaze(texture, FACE_CHART.place(solid, under), dark, 0.4, 2.0)


def _paint_mouth(texture, face: Identity, solid: Solid, view: View) -> None:
    half = face.mouth_width * (1 + 0.22 * view.smile)
    gap = 0.11 * view.mouth_open
    x = half * (2 * _CURVE - 1)
    y = face.mouth_height - 0.075 * view.smile * (2 * _CURVE - 1) ** 2 + 0.02 * view.smile
    bow = 1 - 0.45 * np.exp(-(((_CURVE - 0.5) / 0.09) ** 2))

    def place(*rows):
        """The shape between two curves across the mouth."""
        there, back = (np.stack([x, row], 1) for row in rows)
        return FACE_CHART.place(solid, np.concatenate([there, back[::-1]]))

    top, bottom = y - 0.25 * gap * _ARCH, y + gap * _ARCH**0.8
    upper = top - face.lip_upper * _ARCH**0.7 * bow
    lower = bottom + face.lip_lower * _ARCH**0.8
    glaze(texture, place(top, lower + 0.03 * _ARCH), face.skin * 0.55, 0.35, 2.5)
    glaze(texture, place(upper, top + 0.004), face.lip_colour * 0.86, 0.9)
    glaze(texture, place(bottom - 0.004, lower), face.lip_colour, 0.9)
    shine = bottom + 0.5 * face.lip_lower * _ARCH
    glaze(texture, place(shine - 0.008 * _ARCH, shine + 0.008 * _ARCH), (255, 240, 236), 0.2, 1.5)
    if gap > 0.02:
        fill(texture, place(top, bottom), _INSIDE)
        fill(texture, place(top, np.minimum(bottom, top + 0.045 * _ARCH)), _TEETH)
    else:
        stroke(
            texture,
            FACE_CHART.place(solid, np.stack([x, (top + bottom) / 2], 1)),
            face.lip_colour * 0.36,
        )
    _paint_folds(texture, face, solid, view, half)


def _paint_folds(texture, face: Identity, solid: Solid, view: View, half: float) -> None:
    """The lines from the nose to the corners of the mouth: age, and deeper in a smile."""
    strength = 0.15 + 0.3 * face.wrinkles + 0.25 * max(view.smile, 0)
    nose = face.eye_height + face.nose_length
    t = np.linspace(0, 1, 6)
    top, end = 1.15 * face.nose_width, half + 0.05
    x = top + t * (end - top) + 0.03 * np.sin(np.pi * t)
    y = nose + t * (face.mouth_height - nose + 0.02)
    line = np.stack([x, y], 1)
    line = np.concatenate([line, (line + (0.018, 0))[::-1]])
    for points in (line, mirror(line)):
        glaze(texture, FACE_CHART.place(solid, points), face.skin * (0.6, 0.5, 0.5), strength, 1.5)


def lens_outline(shape: Glasses, x: float, y: float, size: float) -> np.ndarray:
    """The frame around one eye; [n, 2] head units."""
    if shape == Glasses.ROUND:
        return oval(x, y, 0.17 * size, 0.165 * size)
    half, high, power = (0.19, 0.13, 0.45) if shape == Glasses.SQUARE else (0.22, 0.15, 0.75)
    unit = oval(0, 0, 1, 1, corners=28)
    unit = np.sign(unit) * np.abs(unit) ** power
    return unit * (half * size, high * size) + (x, y)


def paint_glasses(
    texture,
    face: Identity,
    solid: Solid,
    shape: Glasses,
    size: float,
    colour,
    lens_opacity: float,
    lens_colour,
) -> None:
    """Frames, bridge, temples, and the lenses' tint."""
    x, y = face.eye_distance + 0.01, face.eye_height + 0.02
    lens = lens_outline(shape, x, y, size)
    for side in (lens, mirror(lens)):
        points = FACE_CHART.place(solid, side)
        glaze(texture, points, lens_colour, lens_opacity)
        stroke(texture, points, colour, 2, closed=True)
    inner, outer = lens[:, 0].min(), lens[:, 0].max()
    bridge = np.array([[-inner, y - 0.03], [0, y - 0.06], [inner, y - 0.03]])
    temple = np.array([[outer, y - 0.05], [0.97 * face.width, y - 0.03]])
    for line in (bridge, temple, mirror(temple)):
        stroke(texture, FACE_CHART.place(solid, line), colour, 2)


def paint_features(skin: np.ndarray, face: Identity, solid: Solid, view: View) -> np.ndarray:
    """The face of a view, unrolled, on a copy of the identity's skin."""
    texture = skin.copy()
    _paint_nose(texture, face, solid)
    _paint_mouth(texture, face, solid, view)
    for side in (1, -1):
        _paint_eye(texture, face, solid, view, side)
        _paint_brow(texture, face, solid, view, side)
    if face.glasses:
        paint_glasses(
            texture,
            face,
            solid,
            face.glasses,
            face.glasses_size,
            face.glasses_colour,
            0.12,
            (225, 235, 245),
        )
    return texture
