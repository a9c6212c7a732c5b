"""From the numbers of an identity and of a view to a picture."""

import dataclasses
import math

import cv2
import numpy as np

from ddl_jax.data.synthetic_faces import domains, occlusion
from ddl_jax.data.synthetic_faces import geometry as geo
from ddl_jax.data.synthetic_faces.features import paint_features, paint_nose
from ddl_jax.data.synthetic_faces.hair import HAIR_CHART, paint_hair
from ddl_jax.data.synthetic_faces.identity import Identity, draw_identity
from ddl_jax.data.synthetic_faces.painting import Chart, blend, enlarge, glaze, oval, spread
from ddl_jax.data.synthetic_faces.skin import FACE_CHART, paint_relief, paint_skin
from ddl_jax.data.synthetic_faces.view import View, draw_view, view_rng

# Pictures are rendered this much larger and averaged down, against jagged outlines.
_OVERSAMPLING = 1.25
_HEAD_SHARE = 0.43  # pixels a head unit, as a share of the picture's side
_HEAD_CENTRE = (0.5, 0.53)  # shares of the picture's side
_DEPTH_GUESS = 0.6  # head units: where the ray's search begins


@dataclasses.dataclass(frozen=True)
class Sitter:
    """All that the views of one identity share: its solids and unrolled pictures."""

    face: Identity
    head: geo.Solid
    lumps: list[geo.Ellipsoid]
    shell: geo.Solid
    skin: np.ndarray
    relief: np.ndarray
    hair: np.ndarray
    hair_end: float  # the y down to which there is hair


def make_sitter(face: Identity) -> Sitter:
    head = geo.head_solid(face)
    skin = paint_skin(face, head)
    paint_nose(skin, face, head)
    hair = paint_hair(face)
    lowest = np.flatnonzero(hair[..., 3].any(1))[-1]
    return Sitter(
        face,
        head,
        _lumps(face),
        geo.hair_solid(face),
        skin,
        paint_relief(face, head),
        hair,
        HAIR_CHART.y_low + (lowest + 2) / HAIR_CHART.per_unit,
    )


def _lumps(face: Identity) -> list[geo.Ellipsoid]:
    """Ears, the ridge of the nose, its tip and wings."""
    size, stand = face.ear_size, face.ear_stand
    ears = [
        geo.Ellipsoid.of(
            (side * (face.width + 0.5 * stand), 0.08, -0.02),
            (0.04 + 0.6 * stand, size, 0.55 * size),
        )
        for side in (-1, 1)
    ]
    front, length, high, width = face.depth, face.nose_length, face.nose_height, face.nose_width
    tip_y = face.eye_height + length
    # The ridge leans: its upper end sinks in between the eyes.
    ridge = geo.Ellipsoid.of(
        (0, face.eye_height + 0.5 * length, front + 0.22 * high - 0.09),
        (1.1 * face.nose_bridge, 0.68 * length, 0.45 * high + 0.03),
        tilt=math.atan(0.75 * high / length),
        fillet=0.08,
    )
    tip = geo.Ellipsoid.of(
        (0, tip_y - 0.01, front + 0.42 * high - 0.05), (0.55 * width, 0.09, 0.5 * high), fillet=0.06
    )
    wings = [
        geo.Ellipsoid.of(
            (side * 0.6 * width, tip_y + 0.015, front - 0.02),
            (0.42 * width, 0.065, 0.11),
            fillet=0.05,
        )
        for side in (-1, 1)
    ]
    return [*ears, ridge, tip, *wings]


_Window = tuple[slice, slice]  # rows and columns of a picture


@dataclasses.dataclass(frozen=True)
class _Camera:
    """The rays of a picture and what it takes to draw flat things into it."""

    side: int
    scale: float
    centre: np.ndarray
    matrix: np.ndarray
    across: np.ndarray  # of every column, head units from the middle of the head
    down: np.ndarray  # of every row

    def project(self, point: np.ndarray) -> np.ndarray:
        """Head coordinates [3] to pixels [2]."""
        return self.centre + self.scale * (self.matrix @ point)[:2]

    def window(self, left: float, top: float, right: float, bottom: float) -> _Window:
        """The pixels within bounds in head units, and two more around them."""
        edges = []
        for low, high, middle in zip((top, left), (bottom, right), self.centre[::-1].tolist()):
            first = min(max(int(middle + low * self.scale) - 2, 0), self.side - 1)
            last = max(min(int(middle + high * self.scale) + 3, self.side), first + 1)
            edges.append(slice(first, last))
        return tuple(edges)

    def rays(self, window: _Window) -> geo.Rays:
        return geo.Rays.of(self.across[window[1]], self.down[window[0]], self.matrix)


def _aim(view: View, size: int) -> _Camera:
    side = round(_OVERSAMPLING * size)
    scale = side * _HEAD_SHARE * view.scale
    centre = side * (np.array(_HEAD_CENTRE) + view.shift)
    pixel = np.arange(side) + 0.5
    across, down = (((pixel - middle) / scale).astype(np.float32) for middle in centre)
    matrix = geo.rotation(view.yaw, view.pitch, view.roll)
    return _Camera(side, scale, centre, matrix, across, down)


@dataclasses.dataclass(frozen=True)
class _Surface:
    """What the camera sees of head or hair, inside a window; planes [h, w]."""

    window: _Window
    depth: np.ndarray
    cover: np.ndarray  # 0 or 1, soft at the outline
    angle: np.ndarray  # with y: where on the unrolled picture
    y: np.ndarray

    def within(self, window: _Window, picture: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Depth and cover in another window of a picture."""
        planes = np.zeros((2, *picture), np.float32)
        planes[(0, *self.window)], planes[(1, *self.window)] = self.depth, self.cover
        return planes[(0, *window)], planes[(1, *window)]


def _add_lump(camera: _Camera, whole: _Window, depth, cover, lump: geo.Lump, fillet: float) -> None:
    """Grow the head, of which the window `whole` is given, by an ellipsoid in place."""
    x, y, _ = lump.middle
    wide, tall = lump.half_width, lump.half_height
    rows, columns = camera.window(x - wide, y - tall, x + wide, y + tall)
    ahead, inside = lump.meet(camera.across[columns], camera.down[rows])
    top, left = whole[0].start, whole[1].start
    part = (
        slice(rows.start - top, rows.stop - top),
        slice(columns.start - left, columns.stop - left),
    )
    here, covered = depth[part], cover[part]
    if fillet:
        gap = ahead - here
        joined = 0.5 * (ahead + here + np.sqrt(gap * gap + fillet**2)) - fillet / 2
    else:
        joined = np.maximum(ahead, here)
    np.copyto(here, np.where(covered > 0, joined, ahead), where=inside)
    np.maximum(covered, inside, out=covered)


def _shape_head(sitter: Sitter, camera: _Camera) -> _Surface:
    """Head, ears and nose."""
    lumps = [geo.Lump.of(ellipsoid, camera.matrix) for ellipsoid in sitter.lumps]
    left, top, right, bottom = sitter.head.bounds(camera.matrix, 1.0)
    window = camera.window(
        min([left] + [lump.middle[0] - lump.half_width for lump in lumps]),
        min([top] + [lump.middle[1] - lump.half_height for lump in lumps]),
        max([right] + [lump.middle[0] + lump.half_width for lump in lumps]),
        max([bottom] + [lump.middle[1] + lump.half_height for lump in lumps]),
    )
    rays = camera.rays(window)
    meeting = geo.meet_solid(rays, sitter.head, _DEPTH_GUESS, steps=2)
    # The half chord is about sqrt(2 * width * distance): one pixel's distance covers fully.
    edge = meeting.clearance * np.float32(camera.scale / (2 * sitter.face.width))
    depth, cover = meeting.depth, np.clip(edge, 0, 1)
    for ellipsoid, lump in zip(sitter.lumps, lumps):
        _add_lump(camera, window, depth, cover, lump, ellipsoid.fillet)
    return _Surface(window, depth, cover, meeting.angle(depth), rays.y_at(depth))


def _shape_hair(sitter: Sitter, camera: _Camera) -> _Surface:
    """The shell that the hair lies in."""
    window = camera.window(*sitter.shell.bounds(camera.matrix, sitter.hair_end))
    rays = camera.rays(window)
    meeting = geo.meet_solid(rays, sitter.shell, _DEPTH_GUESS, steps=2)
    cover = np.clip(meeting.clearance * np.float32(camera.scale / (2 * sitter.face.width)), 0, 1)
    depth = meeting.depth
    return _Surface(window, depth, cover, meeting.angle(depth), rays.y_at(depth))


def _wrap(chart: Chart, surface: _Surface, *pictures: np.ndarray) -> list[np.ndarray]:
    """Unrolled pictures, laid around a surface."""
    pixels = chart.to_pixels(surface.angle, surface.y)
    return [
        cv2.remap(picture, *pixels, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for picture in pictures
    ]


def _shade(height: np.ndarray, camera: _Camera, view: View, shine: float) -> np.ndarray:
    """Light [side, side, 3] on a surface given by its height towards the camera."""
    # Shading by a normal, so a slightly smoothed height keeps facets away.
    height = cv2.GaussianBlur(height, (3, 3), 0) * np.float32(camera.scale / 8)
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(height, cv2.CV_32F, 0, 1)
    slant = 1 / np.sqrt(across * across + down * down + 1)
    x, y, z = view.light
    towards = (z - x * across - y * down) * slant
    gloss = np.clip(2 * towards * slant - z, 0, 1)
    for _ in range(4):
        gloss *= gloss  # to the 16th power
    # Skin scatters light past the edge of the shadow.
    soft = view.diffuse / 1.25
    lit = np.maximum(soft * towards + 0.25 * soft, 0) + view.ambient
    # The rim, seen at a glancing angle, is darker.
    lit = lit * (0.72 + 0.28 * slant) + shine * gloss
    return spread(lit, view.tint)


def _paint_bust(canvas, face: Identity, camera: _Camera, view: View, level: float) -> None:
    """Neck and shoulders, flat, in place; `level` is the light on them."""
    scale = camera.scale
    neck = camera.project(np.array([0, 0.75, -0.3]))
    # The body turns less than the head.
    base = camera.centre + scale * np.array([-0.12 * np.sin(view.yaw), 1.5])
    shoulders = oval(*(base + (0, 0.42 * scale)), 1.35 * scale, 0.85 * scale)
    glaze(canvas, shoulders, view.clothes * level, 1.0, 0.7)
    half = 0.5 * face.width * scale
    throat = np.array(
        [
            neck + (-half, -0.4 * scale),
            neck + (half, -0.4 * scale),
            base + (1.05 * half, -0.25 * scale),
            base + (0, 0.02 * scale),
            base - (1.05 * half, 0.25 * scale),
        ]
    )
    glaze(canvas, throat, face.skin * 0.72 * level, 1.0, 0.8)
    chin = camera.project(np.array([0, 0.98, 0.4])) - (0, 0.1 * scale)
    shadow = face.skin * 0.4 * level
    glaze(canvas, oval(*chin, 0.5 * scale, 0.28 * scale), shadow, 0.55, 0.07 * scale)


def _paint_backdrop(sitter: Sitter, camera: _Camera, view: View, shell: _Surface) -> np.ndarray:
    """Background, the inside of the hair at the back, neck and shoulders."""
    face, side, scale = sitter.face, camera.side, camera.scale
    canvas = enlarge(view.background.astype(np.float32), (side, side))
    level = np.float32(view.ambient + 0.4 * view.diffuse)
    hair = face.hair
    if not hair.bald:
        end = camera.centre[1] / scale + hair.length
        rows, _ = shell.window
        down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] / np.float32(scale)
        behind = shell.cover * np.clip((np.float32(end) - down) / 0.04, 0, 1)
        blend(canvas[shell.window], 0.5 * level * hair.colour, behind)
    _paint_bust(canvas, face, camera, view, level)
    return canvas


def _draw_head(canvas, texture, sitter: Sitter, camera: _Camera, view: View, head) -> None:
    """Head, ears and nose, in place."""
    albedo, relief = _wrap(FACE_CHART, head, texture.astype(np.float32), sitter.relief)
    light = _shade(np.where(head.cover > 0, head.depth + relief, 0), camera, view, shine=0.07)
    blend(canvas[head.window], albedo * light, head.cover)


def _draw_hair(canvas, sitter: Sitter, camera: _Camera, view: View, head, shell) -> None:
    """The hair in front of head and backdrop, in place."""
    depth, cover = head.within(shell.window, canvas.shape[:2])
    (strands,) = _wrap(HAIR_CHART, shell, sitter.hair)
    visible = strands[..., 3] * shell.cover * ((shell.depth > depth - 0.03) | (cover < 0.5))
    # Curls make a rough surface.
    rough = cv2.cvtColor(strands[..., :3], cv2.COLOR_RGB2GRAY)
    rough *= np.float32(4e-4 * (0.4 + sitter.face.hair.curl))
    light = _shade(shell.depth + rough, camera, view, shine=0.12)
    shadow = cv2.GaussianBlur(visible, (0, 0), 0.03 * camera.scale)
    region = canvas[shell.window]
    region *= spread(1 - 0.35 * shadow * (cover > 0))
    blend(region, strands[..., :3] * light, visible)


def render(sitter: Sitter, view: View, rng: np.random.Generator, size: int) -> np.ndarray:
    """One picture, uint8 RGB [size, size, 3]."""
    camera = _aim(view, size)
    texture = paint_features(sitter.skin, sitter.face, sitter.head, view)
    kind = occlusion.draw_kind(rng) if view.domain == domains.OCCLUSION else ""
    occlusion.paint_worn(texture, sitter.face, sitter.head, kind, rng)

    head, shell = _shape_head(sitter, camera), _shape_hair(sitter, camera)
    canvas = _paint_backdrop(sitter, camera, view, shell)
    _draw_head(canvas, texture, sitter, camera, view, head)
    _draw_hair(canvas, sitter, camera, view, head, shell)
    occlusion.paint_in_front(canvas, kind, rng)

    image = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    image = 255 * cv2.pow(np.clip(image, 0, 255) / 255, view.gamma)
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32)
    image += spread(noise * np.float32(view.noise))
    image = domains.photograph(np.clip(image, 0, 255), view.domain, rng)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def render_view(sitter: Sitter, seed: int, domain: str, number: int, size: int) -> np.ndarray:
    """View `number` of a domain: a pure function of the arguments, uint8 RGB [size, size, 3]."""
    rng = view_rng(seed, sitter.face.number, domain, number)
    return render(sitter, draw_view(rng, domain), rng, size)


def render_identity(
    seed: int, identity: int, views: dict[str, int], size: int
) -> list[tuple[str, int, np.ndarray]]:
    """All pictures of one identity as (domain, view number, image); `views` counts by domain."""
    sitter = make_sitter(draw_identity(seed, identity))
    return [
        (domain, number, render_view(sitter, seed, domain, number, size))
        for domain, count in views.items()
        for number in range(count)
    ]
