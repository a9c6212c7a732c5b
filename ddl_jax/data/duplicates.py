"""Images that are the same, or nearly: found among millions without comparing all pairs."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from ddl_jax.data.linked_groups import linked_groups

# Bits in which near duplicates may differ: of 64, and of 255. Of 400 faces of CFP saved again as
# JPEG in nine ways (quality 40 to 95, a quarter to twice the size, 0.6 of the light) one had more
# than 4 of 64, and none more than 18 of 255. Of 6.1 million pairs of different people there 9 had 4
# of 64 or fewer, and those 61 of 255 or more; none of all had fewer than 38.
MAX_DISTANCE = 4
MAX_DETAIL = 24
_SIDE = 64  # pixels of the picture that is hashed
_FLAT = 2.0  # grey levels of deviation below which there is nothing to compare
_PAIRS_AT_ONCE = 1 << 20


class PictureHash(NamedTuple):
    """What stays when an image is compressed anew, scaled, or a little lighter or darker.

    Attributes:
      coarse: 64 bits, the signs of the 8x8 lowest frequencies of the cosine transform at 64x64 grey
        pixels, the mean left out, about their median: by these near images are found.
      detail: `[4]` uint64, the signs of the 16x16 lowest: these tell people apart who stand in the
        same light, whose aligned faces agree in the lowest frequencies by chance.
      flat: whether the image is of one colour, so that its hash means nothing.
    """

    coarse: int
    detail: np.ndarray
    flat: bool


def picture_hash(image: np.ndarray) -> PictureHash:
    """The hash of `[H, W, 3]` uint8 RGB."""
    # Grey before small: scaling one channel takes a third of the time of three.
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    coarse, detail = hashes(cv2.dct(grey)[None, :16, :16])
    return PictureHash(int(coarse[0]), detail[0], flat=bool(grey.std() < _FLAT))


def hashes(frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest frequencies of pictures, `[n, 16, 16]`, as hashes `[n]` and `[n, 4]` uint64."""
    count = len(frequencies)
    low = frequencies[:, :8, :8].reshape(count, 64)
    coarse = low > np.median(low[:, 1:], axis=1, keepdims=True)
    detail = frequencies.reshape(count, 256) > 0
    coarse[:, 0] = detail[:, 0] = False  # the mean is the light
    coarse, detail = (np.packbits(bits, axis=1).view(np.uint64) for bits in (coarse, detail))
    return coarse[:, 0], detail


def equal_groups(keys: np.ndarray) -> list[np.ndarray]:
    """Row numbers of equal keys, a group for each key that stands more than once.

    Args:
      keys: `[n]` or `[n, k]`; rows are compared as a whole.
    """
    if not len(keys):
        return []
    _, group = np.unique(keys, axis=0, return_inverse=True)
    return _groups(group.ravel())


def near_groups(
    coarse: np.ndarray,
    detail: np.ndarray,
    distance: int = MAX_DISTANCE,
    detail_distance: int = MAX_DETAIL,
) -> list[np.ndarray]:
    """Row numbers of images that are nearly the same: groups linked by near pairs.

    A pair is near if both of its hashes are, and every such pair is found. The 64 bits are cut into
    `distance + 3` pieces: two hashes that differ in at most `distance` bits agree in three whole
    pieces at least, so that only hashes that share three pieces, about 27 bits of 64 for 4, are
    compared at all; each choice of three is one sorting.

    Args:
      coarse: `[n]` uint64, of `PictureHash`.
      detail: `[n, 4]` uint64, of `PictureHash`.
      distance: bits in which two near coarse hashes may differ.
      detail_distance: and two of detail.
    """
    both, row_of = np.unique(np.column_stack([coarse, detail]), axis=0, return_inverse=True)
    coarse, detail = both[:, 0], both[:, 1:]
    group, found, count = np.arange(len(both)), [], 0
    for mask in _masks(distance):
        for first, second in _near_pairs(coarse, mask, distance):
            bits = np.bitwise_count(detail[first] ^ detail[second]).sum(axis=1)
            near = (bits <= detail_distance) & (group[first] != group[second])
            found.append((first[near], second[near]))
            count += int(near.sum())
            if count > _PAIRS_AT_ONCE:
                group, found, count = _joined(group, found), [], 0
    return _groups(_joined(group, found)[row_of.ravel()])


def _joined(group: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Group numbers once the groups of each pair are one."""
    if not pairs:
        return group
    first, second = (group[np.concatenate(side)] for side in zip(*pairs))
    return linked_groups(len(group), first, second)[group]


def _masks(distance: int) -> list[np.uint64]:
    pieces = np.array_split(np.arange(64), distance + 3)
    bits = [sum(1 << int(bit) for bit in piece) for piece in pieces]
    return [np.uint64(sum(three)) for three in itertools.combinations(bits, 3)]


def _near_pairs(
    hashes: np.ndarray, mask: np.uint64, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of the pairs that agree under the mask and are near in all, some at a time."""
    order = np.argsort(hashes & mask)
    hashes = hashes[order]
    keys = hashes & mask
    # Rows with the same key stand together: first those beside each other, then those two apart.
    rows, apart = np.arange(len(keys)), 0
    while len(rows):
        apart += 1
        rows = rows[rows + apart < len(keys)]
        rows = rows[keys[rows] == keys[rows + apart]]
        near = rows[np.bitwise_count(hashes[rows] ^ hashes[rows + apart]) <= distance]
        yield order[near], order[near + apart]


def _groups(group: np.ndarray) -> list[np.ndarray]:
    """Rows of every group number that stands more than once, in order of their first rows."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order])) + 1
    found = [rows for rows in np.split(order, starts) if len(rows) > 1]
    return sorted(found, key=lambda rows: int(rows[0]))
