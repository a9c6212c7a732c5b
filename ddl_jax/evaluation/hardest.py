"""The pairs that look most unlike what they are: for a look at what goes wrong."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

MOST = 20  # pairs of either kind that may be shown


class HardPair(NamedTuple):
    """Two images by their numbers; `genuine`: of one person, and yet so unlike."""

    first: int
    second: int
    genuine: bool
    score: float


@dataclasses.dataclass(frozen=True)
class FacePair:
    """Two images of a pair as JPEG data URIs; `genuine`: of one person."""

    genuine: bool
    score: float
    names: tuple[str, str]
    pictures: tuple[str, str]


def hardest_pairs(
    scores: np.ndarray, genuine: np.ndarray, first: np.ndarray, second: np.ndarray
) -> list[HardPair]:
    """The genuine pairs of the lowest and the impostor pairs of the highest scores, worst first.

    Args:
        scores: `[N]`, larger = more alike.
        genuine: `[N]` bool.
        first, second: `[N]` numbers of images.
    """
    found = []
    for kind, sign in ((True, 1), (False, -1)):
        rows = np.flatnonzero(genuine == kind)
        keys = sign * scores[rows]
        if len(rows) > MOST:
            rows = rows[np.argpartition(keys, MOST)[:MOST]]
        for row in rows[np.argsort(sign * scores[rows], kind="stable")]:
            pair = HardPair(int(first[row]), int(second[row]), kind, float(scores[row]))
            found.append(pair)
    return found
