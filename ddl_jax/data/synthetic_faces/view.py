"""What differs between two pictures of one identity: expression, light, pose, surroundings."""

import dataclasses

import numpy as np

from ddl_jax.data.synthetic_faces import domains

# Separates the random stream of views from that of identities (see `identity.py`).
_STREAM = 2


@dataclasses.dataclass(frozen=True)
class View:
    """The numbers of one picture. Angles in radians, shares from 0 to 1."""

    domain: str
    yaw: float
    pitch: float
    roll: float
    shift: tuple[float, float]  # of the head, as a share of the picture's side
    scale: float
    smile: float  # -0.4 to 1
    mouth_open: float
    brow_raise: float  # head units
    eye_closure: float
    gaze: tuple[float, float]
    light: tuple[float, float, float]  # unit vector towards the lamp
    ambient: float
    diffuse: float
    tint: np.ndarray  # of the light, RGB about 1
    gamma: float
    clothes: np.ndarray  # RGB
    background: np.ndarray  # [4, 4, 3] RGB, interpolated over the picture
    noise: float  # grey levels


def view_rng(seed: int, identity: int, domain: str, number: int) -> np.random.Generator:
    """All the randomness of one picture, whatever else is rendered before or beside it."""
    key = [seed, _STREAM, identity, domains.DOMAINS.index(domain), number]
    return np.random.default_rng(key)


def _draw_light(rng: np.random.Generator) -> tuple[float, float, float]:
    across, up = rng.uniform(-0.5, 0.5), rng.uniform(-0.6, -0.05)
    direction = np.array([across, up, 1.0])
    return tuple((direction / np.linalg.norm(direction)).tolist())


def draw_view(rng: np.random.Generator, domain: str) -> View:
    """A view of a domain: as an easy one, but for what the domain asks of the pose."""
    uniform = rng.uniform
    yaw = domains.draw_yaw(rng, domain)
    return View(
        domain=domain,
        yaw=yaw,
        pitch=uniform(-0.08, 0.08),
        roll=uniform(-0.04, 0.04),
        shift=(uniform(-0.012, 0.012), uniform(-0.012, 0.012)),
        scale=uniform(0.98, 1.03),
        smile=uniform(-0.1, 0.8),
        mouth_open=max(0.0, uniform(-1.2, 0.8)),
        brow_raise=uniform(-0.01, 0.03),
        eye_closure=uniform(0, 0.25),
        gaze=(uniform(-1, 1), uniform(-0.5, 0.5)),
        light=_draw_light(rng),
        ambient=uniform(0.5, 0.6),
        diffuse=uniform(0.5, 0.62),
        tint=1 + rng.uniform(-1, 1) * np.array([0.03, 0.0, -0.04]) + rng.normal(0, 0.01, 3),
        gamma=uniform(0.92, 1.1),
        clothes=uniform(30, 200) + uniform(-30, 30, 3),
        background=uniform(40, 200)
        + uniform(-30, 30, 3)
        + uniform(-25, 25, (4, 4, 1))
        + uniform(-12, 12, (4, 4, 3)),
        noise=uniform(0.5, 3),
    )
