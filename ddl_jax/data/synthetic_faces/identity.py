"""Who a person is: the numbers that stay the same in every picture of one identity.

Lengths are in head units: the head is two units tall, its crown at y = -1 and its chin at y = +1;
x points to the right of the picture, y down, z towards the viewer. Colours are RGB, 0 to 255.
"""

import dataclasses
import enum

import numpy as np

# Separates the random stream of identities from that of views (see `view.py`).
_STREAM = 1

_SKIN = np.array(
    [
        [250, 218, 196],
        [236, 192, 162],
        [214, 162, 126],
        [180, 126, 90],
        [136, 92, 64],
        [92, 62, 46],
    ],
    np.float32,
)  # along the melanin axis
_HAIR = np.array(
    [
        [26, 22, 22],
        [58, 38, 28],
        [98, 64, 40],
        [140, 84, 46],
        [196, 152, 92],
        [226, 198, 142],
        [156, 62, 30],
        [150, 148, 148],
        [222, 220, 216],
    ],
    np.float32,
)
_IRIS = np.array(
    [[58, 36, 22], [98, 64, 34], [112, 110, 56], [72, 110, 84], [76, 118, 160], [128, 144, 156]],
    np.float32,
)


class Beard(enum.IntEnum):
    """What grows on the lower face."""

    NONE = 0
    STUBBLE = 1
    MOUSTACHE = 2
    GOATEE = 3
    FULL = 4


class Glasses(enum.IntEnum):
    """The shape of the frames; glasses belong to the person here, sunglasses to the view."""

    NONE = 0
    ROUND = 1
    SQUARE = 2
    WIDE = 3


@dataclasses.dataclass(frozen=True)
class Hair:
    """Hair as a shell around the head, cut by a hairline."""

    colour: np.ndarray
    bald: bool
    hairline: float  # y of the hairline over the middle of the forehead
    recession: float  # how much higher the line is at the temples
    part: float  # x of the parting, and the tilt of the hairline that comes with it
    fringe: float  # how far a fringe hangs below the hairline
    top: float  # thickness above the crown
    side: float  # thickness beside the head, relative to the head's width
    sideburn: float  # y where hair in front of the ears ends
    length: float  # y where hair behind the ears ends: 0.4 short, 1.5 below the shoulders
    curl: float  # 0 straight to 1 curly
    streaks: float  # contrast between strands


@dataclasses.dataclass(frozen=True)
class Identity:
    """The numbers of one face; `draw_identity` says their ranges."""

    number: int
    width: float  # half width at the eyes
    taper: float  # how much narrower the jaw is than the cheeks
    jaw: float  # exponent of the lower outline: 2 pointed, 6 square
    skull: float  # exponent of the upper outline
    depth: float  # half depth of the head
    skin: np.ndarray
    texture_seed: int  # the low-frequency albedo field, freckles and moles
    blotches: float
    freckles: int
    moles: int
    blush: float
    wrinkles: float
    eye_distance: float  # x of an eye's centre
    eye_height: float
    eye_width: float
    eye_opening: float
    eye_slant: float  # positive: outer corners higher
    eye_lid: float  # distance of the crease above the eye
    lashes: float
    iris: np.ndarray
    brow_height: float  # above the eye
    brow_length: float
    brow_thickness: float
    brow_arch: float
    brow_slant: float
    brow_opacity: float
    nose_length: float  # y of its tip below the eyes
    nose_width: float
    nose_bridge: float
    nose_height: float  # how far it stands out
    mouth_height: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    lip_colour: np.ndarray
    ear_size: float
    ear_stand: float
    cheekbone: float
    chin_dimple: float
    beard: Beard
    glasses: Glasses
    glasses_size: float
    glasses_colour: np.ndarray
    hair: Hair


def _along(palette: np.ndarray, position: float) -> np.ndarray:
    """The colour at `position`, 0 to 1, of a palette of evenly spaced colours."""
    at = position * (len(palette) - 1)
    low = min(int(at), len(palette) - 2)
    return palette[low] + (at - low) * (palette[low + 1] - palette[low])


def _draw_hair(rng: np.random.Generator) -> Hair:
    uniform = rng.uniform
    bald = rng.random() < 0.07
    long = not bald and rng.random() < 0.45
    curl = rng.random() ** 2
    fringe = uniform(0.1, 0.34) if rng.random() < (0.4 if long else 0.2) else 0.0
    colour = _HAIR[rng.choice(len(_HAIR), p=[0.2, 0.16, 0.14, 0.1, 0.1, 0.1, 0.08, 0.07, 0.05])]
    return Hair(
        colour=np.clip(colour * uniform(0.8, 1.15) + rng.normal(0, 5, 3), 8, 245),
        bald=bald,
        hairline=uniform(-0.74, -0.46),
        recession=uniform(0.0, 0.05 if fringe else 0.26),
        part=uniform(-0.4, 0.4),
        fringe=fringe,
        top=uniform(0.03, 0.13) + 0.16 * curl,
        side=uniform(0.02, 0.09) + 0.2 * curl * long,
        sideburn=uniform(-0.25, 0.3),
        curl=curl,
        streaks=uniform(0.1, 0.4),
        length=uniform(0.7, 1.6) if long else uniform(0.2, 0.5),
    )


def draw_identity(seed: int, number: int) -> Identity:
    """Identity `number` of the population `seed`: a pure function of the two."""
    rng = np.random.default_rng([seed, _STREAM, number])
    uniform = rng.uniform
    melanin = uniform() ** 1.4
    skin = np.clip(_along(_SKIN, melanin) * uniform(0.92, 1.06) + rng.normal(0, 5, 3), 30, 252)
    redness = skin * np.array([uniform(-0.05, 0.1), uniform(-0.36, -0.16), uniform(-0.3, -0.1)])
    return Identity(
        number=number,
        width=uniform(0.6, 0.82),
        taper=uniform(0.0, 0.36),
        jaw=uniform(2.0, 5.5),
        skull=uniform(2.2, 3.0),
        depth=uniform(0.78, 0.92),
        skin=skin,
        texture_seed=int(rng.integers(2**31)),
        blotches=uniform(0.02, 0.12),
        freckles=int(rng.integers(20, 90)) if rng.random() < 0.2 * (1.4 - melanin) else 0,
        moles=int(rng.poisson(1.2)),
        blush=uniform(0, 0.35),
        wrinkles=uniform() ** 2,
        eye_distance=uniform(0.23, 0.37),
        eye_height=uniform(-0.16, 0.08),
        eye_width=uniform(0.1, 0.165),
        eye_opening=uniform(0.034, 0.08),
        eye_slant=uniform(-0.2, 0.26),
        eye_lid=uniform(0.015, 0.06),
        lashes=uniform(),
        iris=np.clip(_along(_IRIS, uniform()) * uniform(0.8, 1.2), 10, 220),
        brow_height=uniform(0.12, 0.22),
        brow_length=uniform(0.13, 0.21),
        brow_thickness=uniform(0.014, 0.05),
        brow_arch=uniform(0.0, 0.07),
        brow_slant=uniform(-0.22, 0.22),
        brow_opacity=uniform(0.35, 0.95),
        nose_length=uniform(0.25, 0.46),
        nose_width=uniform(0.1, 0.22),
        nose_bridge=uniform(0.05, 0.1),
        nose_height=uniform(0.12, 0.28),
        mouth_height=uniform(0.5, 0.68),
        mouth_width=uniform(0.15, 0.31),
        lip_upper=uniform(0.015, 0.07),
        lip_lower=uniform(0.025, 0.095),
        lip_colour=np.clip(skin * 0.95 + redness, 20, 235),
        ear_size=uniform(0.15, 0.25),
        ear_stand=uniform(0.02, 0.11),
        cheekbone=uniform(),
        chin_dimple=uniform() ** 3,
        beard=Beard(rng.choice(5, p=[0.62, 0.12, 0.08, 0.08, 0.1])),
        glasses=Glasses(rng.choice(4, p=[0.76, 0.08, 0.08, 0.08])),
        glasses_size=uniform(0.85, 1.2),
        glasses_colour=rng.choice(
            [[25, 25, 28], [90, 50, 30], [120, 20, 30], [170, 150, 90], [40, 60, 110]]
        ).astype(np.float64),
        hair=_draw_hair(rng),
    )
