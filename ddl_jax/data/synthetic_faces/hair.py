"""Hair: where on its shell it grows, and the colour of its strands."""

import cv2
import numpy as np

from ddl_jax.data.synthetic_faces.identity import Identity
from ddl_jax.data.synthetic_faces.painting import Chart, smooth_noise

HAIR_CHART = Chart(columns=384, rows=192, y_low=-1.4, y_high=1.8)
# Angles, radians: where the forehead's hairline turns down, and where hair behind the ears begins.
_TEMPLE, _EAR = 0.95, 1.72


def _step(x: np.ndarray, at: float, width: float) -> np.ndarray:
    """0 below `at`, 1 above, over about `width`."""
    return 0.5 + 0.5 * np.tanh((x - at) / width)


def _lower_edge(face: Identity, angle: np.ndarray) -> np.ndarray:
    """The y down to which hair hangs at each angle."""
    hair = face.hair
    x = np.sin(angle)
    front = hair.hairline - hair.recession * np.exp(-(((np.abs(angle) - 0.65) / 0.25) ** 2))
    front = front + hair.fringe * (0.75 + 0.6 * hair.part * x) - 0.12 * hair.part * x
    if not hair.fringe:
        # The parting shows as a notch.
        front = front - 0.06 * np.exp(-(((x - hair.part) / 0.05) ** 2))
    side = 0.02 + hair.sideburn if hair.length < 0.6 else hair.length
    edge = front + (side - front) * _step(np.abs(angle), _TEMPLE + 0.15, 0.13)
    return edge + (hair.length - edge) * _step(np.abs(angle), _EAR, 0.1)


def paint_hair(face: Identity) -> np.ndarray:
    """Colour and cover, unrolled: float32 [rows, columns, 4], RGB and alpha 0 to 1."""
    hair = face.hair
    rng = np.random.default_rng([face.texture_seed, 1])
    shape = (HAIR_CHART.rows, HAIR_CHART.columns)
    angle, y = HAIR_CHART.grid()
    strands = smooth_noise(rng, shape, (4 + int(26 * hair.curl), 128))
    locks = smooth_noise(rng, shape, (3 + int(14 * hair.curl), 32))
    shade = 1 + hair.streaks * (0.5 * strands + 0.45 * locks)
    # A band of shine around the upper head.
    band = np.exp(-(((y + 0.78 + 0.05 * locks) / 0.12) ** 2))
    shade = shade + 0.25 * (1 - 0.7 * hair.curl) * band
    ragged = 0.025 * strands + (0.02 + 0.06 * hair.curl) * locks
    edge = _lower_edge(face, angle)
    if hair.bald:
        edge = np.where(np.abs(angle) < _TEMPLE + 0.2, -2.0, edge)
    cover = np.clip((edge + ragged - y) / 0.035 + 0.5, 0, 1)
    if hair.bald:
        # A wreath: nothing above the temples.
        cover *= np.clip((y + 0.3) / 0.1, 0, 1)
    planes = [np.clip(shade * colour, 4, 250) for colour in hair.colour] + [cover]
    return cv2.merge([plane.astype(np.float32) for plane in planes])
