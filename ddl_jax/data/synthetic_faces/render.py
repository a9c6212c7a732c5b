"""From the numbers of an identity and of a view to a picture."""

import dataclasses

import cv2
import numpy as np

from ddl_jax.data.synthetic_faces import domains, occlusion
from ddl_jax.data.synthetic_faces import geometry as geo
from ddl_jax.data.synthetic_faces.features import paint_features, paint_nose
from ddl_jax.data.synthetic_faces.hair import HAIR_CHART, paint_hair
from ddl_jax.data.synthetic_faces.identity import Identity, draw_identity
from ddl_jax.data.synthetic_faces.painting import blend, enlarge, glaze, oval, spread
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
    shell: geo.Solid
    skin: np.ndarray
    relief: np.ndarray
    hair: np.ndarray


def make_sitter(face: Identity) -> Sitter:
    head = geo.head_solid(face)
    skin = paint_skin(face, head)
    paint_nose(skin, face, head)
    return Sitter(
        face,
        head,
        geo.hair_solid(face),
        skin,
        paint_relief(face, head),
        paint_hair(face),
    )


@dataclasses.dataclass(frozen=True)
class _Camera:
    """The rays of a picture and what it takes to draw flat things into it."""

    side: int
    scale: float
    centre: np.ndarray
    matrix: np.ndarray
    rays: geo.Rays

    def project(self, point: np.ndarray) -> np.ndarray:
        """Head coordinates [3] to pixels [2]."""
        return self.centre + self.scale * (self.matrix @ point)[:2]


def _aim(view: View, size: int) -> _Camera:
    side = round(_OVERSAMPLING * size)
    scale = side * _HEAD_SHARE * view.scale
    centre = side * (np.array(_HEAD_CENTRE) + view.shift)
    matrix = geo.rotation(view.yaw, view.pitch, view.roll)
    return _Camera(side, scale, centre, matrix, geo.camera_rays(side, centre, scale, matrix))


def _window(camera: _Camera, point: np.ndarray, reach: float) -> tuple[slice, slice]:
    """The rows and columns within `reach` head units of a point."""
    at = camera.project(point)
    low = np.clip(at - reach * camera.scale, 0, camera.side - 1).astype(int)
    high = np.clip(at + reach * camera.scale + 1, 1, camera.side).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _add_ellipsoid(camera: _Camera, depth, cover, centre, axes, tilt=0.0, fillet=0.0) -> None:
    """Grow the head by an ellipsoid, in place; `fillet` rounds the join, head units."""
    window = _window(camera, centre, float(max(axes)) + 0.02)
    ahead, inside = geo.meet_ellipsoid(camera.rays.crop(*window), centre, axes, tilt)
    here, covered = depth[window], cover[window]
    if fillet:
        rounded = 0.5 * (ahead + here + np.sqrt((ahead - here) ** 2 + fillet**2)) - fillet / 2
    else:
        rounded = np.maximum(ahead, here)
    here[:] = np.where(inside, np.where(covered > 0, rounded, ahead), here)
    covered[:] = np.maximum(covered, inside)


def _shape_head(sitter: Sitter, camera: _Camera) -> tuple[np.ndarray, np.ndarray]:
    """Depth and cover (0 or 1, soft at the outline) of head, ears and nose."""
    face = sitter.face
    depth, clearance = geo.meet_solid(camera.rays, sitter.head, _DEPTH_GUESS, steps=2)
    # The half chord is about sqrt(2 * width * distance): one pixel's distance covers fully.
    cover = np.clip(clearance * np.float32(camera.scale / (2 * face.width)), 0, 1)
    size = face.ear_size
    for side in (-1, 1):
        centre = np.array([side * (face.width + face.ear_stand * 0.5), 0.08, -0.02])
        axes = np.array([0.04 + 0.6 * face.ear_stand, size, 0.55 * size])
        _add_ellipsoid(camera, depth, cover, centre, axes)
    tip_y = face.eye_height + face.nose_length
    front = face.depth
    length = face.nose_length
    # The ridge leans: its upper end sinks in between the eyes.
    high = face.nose_height
    ridge = np.array([0, face.eye_height + 0.5 * length, front + 0.22 * high - 0.09])
    _add_ellipsoid(
        camera,
        depth,
        cover,
        ridge,
        np.array([1.1 * face.nose_bridge, 0.68 * length, 0.45 * high + 0.03]),
        tilt=np.arctan(0.75 * high / length),
        fillet=0.08,
    )
    tip = np.array([0, tip_y - 0.01, front + 0.42 * high - 0.05])
    _add_ellipsoid(
        camera, depth, cover, tip, np.array([0.55 * face.nose_width, 0.09, 0.5 * high]), fillet=0.06
    )
    for side in (-1, 1):
        wing = np.array([side * 0.6 * face.nose_width, tip_y + 0.015, front - 0.02])
        _add_ellipsoid(
            camera, depth, cover, wing, np.array([0.42 * face.nose_width, 0.065, 0.11]), fillet=0.05
        )
    return depth, cover


def _remap(picture: np.ndarray, chart, angle: np.ndarray, y: np.ndarray) -> np.ndarray:
    return cv2.remap(
        picture, *chart.to_pixels(angle, y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _shade(height: np.ndarray, camera: _Camera, view: View, shine: float) -> np.ndarray:
    """Light [side, side, 3] on a surface given by its height towards the camera."""
    # Shading by a normal, so a slightly smoothed height keeps facets away.
    height = cv2.GaussianBlur(height, (3, 3), 0) * np.float32(camera.scale / 8)
    across = cv2.Sobel(height, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(height, cv2.CV_32F, 0, 1)
    length = np.sqrt(across * across + down * down + 1)
    x, y, z = view.light
    towards = (z - x * across - y * down) / length
    # Skin scatters light past the edge of the shadow.
    lit = view.ambient + view.diffuse * np.clip((towards + 0.25) / 1.25, 0, 1)
    gloss = np.clip(2 * towards / length - z, 0, 1)
    for _ in range(4):
        gloss *= gloss  # to the 16th power
    # The rim, seen at a glancing angle, is darker.
    lit = lit * (0.72 + 0.28 / length) + shine * gloss
    return spread(lit, view.tint)


def _shape_hair(sitter: Sitter, camera: _Camera) -> tuple[np.ndarray, np.ndarray]:
    """Depth and cover (0 to 1) of the shell that the hair lies in."""
    ahead, clearance = geo.meet_solid(camera.rays, sitter.shell, _DEPTH_GUESS, steps=2)
    edge = clearance * np.float32(camera.scale / (2 * sitter.face.width))
    return ahead, np.clip(edge, 0, 1)


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


def _paint_backdrop(sitter: Sitter, camera: _Camera, view: View, shell: np.ndarray) -> np.ndarray:
    """Background, the inside of the hair at the back, neck and shoulders."""
    face, side, scale = sitter.face, camera.side, camera.scale
    canvas = enlarge(view.background.astype(np.float32), (side, side))
    level = np.float32(view.ambient + 0.4 * view.diffuse)
    hair = face.hair
    if not hair.bald:
        end = camera.centre[1] / scale + hair.length
        down = np.arange(side, dtype=np.float32)[:, None] / np.float32(scale)
        behind = shell * np.clip((np.float32(end) - down) / 0.04, 0, 1)
        blend(canvas, (0.5 * level * hair.colour).astype(np.float32), behind)
    _paint_bust(canvas, face, camera, view, level)
    return canvas


def _draw_hair(canvas, sitter: Sitter, camera: _Camera, view: View, head, hair) -> None:
    """The hair in front of head and backdrop, in place; `head` and `hair` are (depth, cover)."""
    curl = sitter.face.hair.curl
    (depth, cover), (ahead, shell) = head, hair
    point = camera.rays.at(ahead)
    strands = _remap(sitter.hair, HAIR_CHART, geo.angle_on(sitter.shell, point), point[1])
    visible = strands[..., 3] * shell * ((ahead > depth - 0.03) | (cover < 0.5))
    # Curls make a rough surface.
    rough = cv2.cvtColor(strands[..., :3], cv2.COLOR_RGB2GRAY) * np.float32(4e-4 * (0.4 + curl))
    light = _shade(ahead + rough, camera, view, shine=0.12)
    shadow = cv2.GaussianBlur(visible, (0, 0), 0.03 * camera.scale)
    canvas *= spread(1 - 0.35 * shadow * (cover > 0))
    blend(canvas, strands[..., :3] * light, visible)


def render(sitter: Sitter, view: View, rng: np.random.Generator, size: int) -> np.ndarray:
    """One picture, uint8 RGB [size, size, 3]."""
    camera = _aim(view, size)
    texture = paint_features(sitter.skin, sitter.face, sitter.head, view)
    kind = occlusion.draw_kind(rng) if view.domain == domains.OCCLUSION else ""
    occlusion.paint_worn(texture, sitter.face, sitter.head, kind, rng)

    depth, cover = _shape_head(sitter, camera)
    point = camera.rays.at(depth)
    angle = geo.angle_on(sitter.head, point)
    albedo = _remap(texture.astype(np.float32), FACE_CHART, angle, point[1])
    relief = _remap(sitter.relief, FACE_CHART, angle, point[1])
    ahead, shell = _shape_hair(sitter, camera)
    canvas = _paint_backdrop(sitter, camera, view, shell)
    light = _shade(np.where(cover > 0, depth + relief, 0), camera, view, shine=0.07)
    blend(canvas, albedo * light, cover)
    _draw_hair(canvas, sitter, camera, view, (depth, cover), (ahead, shell))
    occlusion.paint_in_front(canvas, kind, rng)

    image = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    image = 255 * cv2.pow(np.clip(image, 0, 255) / 255, view.gamma)
    image = image + spread(rng.standard_normal(image.shape[:2], dtype=np.float32), [view.noise] * 3)
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
