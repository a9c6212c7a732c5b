"""Eyes, brows, nostrils, mouth and glasses: painted anew in every view, as expressions differ."""

import math
from functools import partial

import numpy as np

from ddl_jax.data.synthetic_faces.geometry import Solid
from ddl_jax.data.synthetic_faces.identity import Glasses, Identity
from ddl_jax.data.synthetic_faces.painting import (
    Layer,
    blend,
    disc,
    fill,
    glaze,
    mirror,
    oval,
    paint,
    soft_shape,
    split,
    stroke,
)
from ddl_jax.data.synthetic_faces.skin import FACE_CHART
from ddl_jax.data.synthetic_faces.view import View

_CURVE = np.linspace(0, 1, 11)
_ARCH = np.sin(np.pi * _CURVE)
_ARCH_08 = _ARCH**0.8
_LIP = _ARCH**0.7 * (1 - 0.45 * np.exp(-(((_CURVE - 0.5) / 0.09) ** 2)))
_BROW_ARCH = -(np.sin(np.pi * np.clip(1.25 * _CURVE, 0, 1)) ** 1.2)
_BROW_THICKNESS = np.clip(1.25 - _CURVE, 0, 1) * np.clip(0.5 + 4 * _CURVE, 0, 1)
_TEETH = (238, 232, 222)
_INSIDE = (62, 20, 22)
_EYE_SHADE = 0.95  # of the eyeball, under the brow
_SHADED_WHITE = (220, 217, 211)


def _turned(points: np.ndarray, centre: tuple[float, float], slant: float) -> np.ndarray:
    """Points about the origin, turned so that the outer end (+x) rises, and moved to `centre`."""
    c, s = math.cos(slant), math.sin(slant)
    return points @ np.array([[c, -s], [s, c]]) + centre


def _band(x: np.ndarray, there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """The shape between two curves over the same x."""
    band = np.empty((2 * len(x), 2))
    band[: len(x), 0], band[: len(x), 1] = x, there
    band[len(x) :, 0], band[len(x) :, 1] = x[::-1], back[::-1]
    return band


def _mirrored(layers: list[Layer]) -> list[Layer]:
    """The same layers on the other side of the face."""
    return split(mirror(np.concatenate([points for points, _ in layers])), layers)


def _paint_eyeball(texture, points: np.ndarray, face: Identity, view: View) -> None:
    """What is seen between the lids, which `points` outline; the last point is the iris."""
    lids, iris = points[:-1], points[-1].tolist()
    left, top = (int(low) - 1 for low in lids.min(0))
    right, bottom = (int(high) + 3 for high in lids.max(0))
    region = texture[top:bottom, left:right]
    eye = np.empty_like(region)
    eye[:] = _SHADED_WHITE
    scale, half = FACE_CHART.per_unit, face.eye_width
    opening = face.eye_opening * (1 - view.eye_closure)
    x = iris[0] - left + view.gaze[0] * 0.22 * half * scale
    y = iris[1] - top + view.gaze[1] * 0.2 * opening * scale
    radius = scale * min(0.43 * half, 0.066)
    colour = face.iris * _EYE_SHADE
    disc(eye, (x, y), radius, colour * 0.55)
    disc(eye, (x, y), 0.84 * radius, colour)
    disc(eye, (x, y), 0.42 * radius, (11, 10, 10))
    disc(eye, (x - 0.35 * radius, y - 0.35 * radius), 0.22 * radius, (238, 238, 238))
    _, cover = soft_shape(region, lids - (left, top), 0)
    blend(region, eye.astype(np.float32), cover)


def _eye(face: Identity, view: View) -> list[Layer]:
    """The eye on the right of the picture."""
    opening = face.eye_opening * (1 - view.eye_closure)
    across = face.eye_width * (2 * _CURVE - 1)
    upper = -1.25 * opening * _ARCH_08
    # The lower lid rises with a smile.
    lower = opening * (0.85 - 0.3 * max(view.smile, 0)) * _ARCH
    lids = _band(across, upper, lower)
    iris = (0.0, -0.1 * opening)
    lashes = _band(across, upper, 0.65 * upper)
    lashes[len(across) :, 0] *= 0.96
    crease = upper - face.eye_lid
    dark = face.skin * 0.3
    layers = [
        (np.vstack([lids, iris]), partial(_paint_eyeball, face=face, view=view)),
        (lashes, partial(glaze, colour=(30, 20, 18), opacity=0.5)),
        (
            lids[: len(across)],
            partial(
                stroke,
                colour=dark * (1 - 0.7 * face.lashes),
                thickness=1 + (face.lashes > 0.5),
            ),
        ),
        (lids[len(across) :], partial(stroke, colour=face.skin * (0.72, 0.6, 0.58))),
        (
            _band(1.08 * across, crease, crease - 0.014),
            partial(glaze, colour=dark, opacity=0.55),
        ),
    ]
    points = np.concatenate([outline for outline, _ in layers])
    centre = (face.eye_distance, face.eye_height)
    return split(_turned(points, centre, face.eye_slant), layers)


def _brow(face: Identity, view: View) -> Layer:
    """The brow on the right of the picture."""
    across = face.brow_length * (2 * _CURVE - 1)
    arch, thick = face.brow_arch * _BROW_ARCH, face.brow_thickness * _BROW_THICKNESS
    centre = (face.eye_distance + 0.02, face.eye_height - face.brow_height - view.brow_raise)
    points = _turned(_band(across, arch - thick, arch + thick), centre, face.brow_slant)
    # Grey and fair people have darker brows than hair.
    colour = np.minimum(face.hair.colour * 0.7, face.skin * 0.62)
    return points, partial(glaze, colour=colour, opacity=face.brow_opacity)


def paint_nose(texture, face: Identity, solid: Solid) -> None:
    """Nostrils, wings and the shadow under the tip: the same in every view."""
    y = face.eye_height + face.nose_length + 0.045
    dark = face.skin * (0.42, 0.3, 0.28)
    nostril = oval(face.nose_width * 0.45, y, face.nose_width * 0.27, 0.02, 0.3)
    t = np.linspace(-1.1, 1.3, 7)
    wing = np.stack([face.nose_width * (0.86 + 0.2 * np.cos(t)), y - 0.05 + 0.06 * np.sin(t)], 1)
    wing = np.concatenate([wing, (wing - (0.022, 0))[::-1]])
    layers = [
        (nostril, partial(glaze, colour=dark, opacity=0.85)),
        (wing, partial(glaze, colour=dark, opacity=0.4, softness=1.2)),
    ]
    under = oval(0, y + 0.035, face.nose_width * 0.9, 0.014)
    layers += _mirrored(layers)
    layers.append((under, partial(glaze, colour=dark, opacity=0.4, softness=2.0)))
    paint(texture, FACE_CHART, solid, layers)


def _mouth(face: Identity, view: View) -> list[Layer]:
    half = face.mouth_width * (1 + 0.22 * view.smile)
    gap = 0.11 * view.mouth_open
    x = half * (2 * _CURVE - 1)
    y = face.mouth_height - 0.075 * view.smile * (2 * _CURVE - 1) ** 2 + 0.02 * view.smile
    top, bottom = y - 0.25 * gap * _ARCH, y + gap * _ARCH_08
    upper = top - face.lip_upper * _LIP
    lower = bottom + face.lip_lower * _ARCH_08
    shine = bottom + 0.5 * face.lip_lower * _ARCH
    shadow = partial(glaze, colour=face.skin * 0.55, opacity=0.35, softness=2.5)
    glint = partial(glaze, colour=(255, 240, 236), opacity=0.2, softness=1.5)
    layers = [
        (_band(x, top, lower + 0.03 * _ARCH), shadow),
        (_band(x, upper, top + 0.004), partial(glaze, colour=face.lip_colour * 0.86, opacity=0.9)),
        (_band(x, bottom - 0.004, lower), partial(glaze, colour=face.lip_colour, opacity=0.9)),
        (_band(x, shine - 0.008 * _ARCH, shine + 0.008 * _ARCH), glint),
    ]
    if gap > 0.02:
        teeth = np.minimum(bottom, top + 0.045 * _ARCH)
        layers += [
            (_band(x, top, bottom), partial(fill, colour=_INSIDE)),
            (_band(x, top, teeth), partial(fill, colour=_TEETH)),
        ]
    else:
        closed = np.stack([x, (top + bottom) / 2], 1)
        layers.append((closed, partial(stroke, colour=face.lip_colour * 0.36)))
    fold = _fold(face, view, half)
    return [*layers, fold, *_mirrored([fold])]


def _fold(face: Identity, view: View, half: float) -> Layer:
    """The line from the nose to a corner of the mouth: age, and deeper in a smile."""
    strength = 0.15 + 0.3 * face.wrinkles + 0.25 * max(view.smile, 0)
    nose = face.eye_height + face.nose_length
    t = np.linspace(0, 1, 6)
    top, end = 1.15 * face.nose_width, half + 0.05
    x = top + t * (end - top) + 0.03 * np.sin(np.pi * t)
    y = nose + t * (face.mouth_height - nose + 0.02)
    line = _band(x, y, y)
    line[len(x) :, 0] += 0.018
    brush = partial(glaze, colour=face.skin * (0.6, 0.5, 0.5), opacity=strength, softness=1.5)
    return line, brush


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
    frame = [
        (lens, partial(glaze, colour=lens_colour, opacity=lens_opacity)),
        (lens, partial(stroke, colour=colour, thickness=2, closed=True)),
    ]
    inner, outer = lens[:, 0].min(), lens[:, 0].max()
    bar = partial(stroke, colour=colour, thickness=2)
    bridge = (np.array([[-inner, y - 0.03], [0, y - 0.06], [inner, y - 0.03]]), bar)
    temple = (np.array([[outer, y - 0.05], [0.97 * face.width, y - 0.03]]), bar)
    layers = [*frame, *_mirrored(frame), bridge, temple, *_mirrored([temple])]
    paint(texture, FACE_CHART, solid, layers)


def paint_features(skin: np.ndarray, face: Identity, solid: Solid, view: View) -> np.ndarray:
    """The face of a view, unrolled, on a copy of the identity's skin."""
    texture = skin.copy()
    side = [*_eye(face, view), _brow(face, view)]
    paint(texture, FACE_CHART, solid, [*_mouth(face, view), *side, *_mirrored(side)])
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
