"""Cosines and distances between embeddings, in float64 and in blocks of bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

MOST_SHOWN = 200_000  # similarities of either kind that are kept for pictures
BLOCK = 8192  # rows at a time: 8192 x 512 float64 is 32 MiB
# One cosine of a matrix product costs about 1/80 of one of two gathered rows (512-d, 2 cores).
_CELLS_FOR_A_PAIR = 32


@dataclasses.dataclass(frozen=True)
class Similarities:
    """Cosines of genuine (`positive`) and impostor (`negative`) comparisons of one domain.

    The arrays may be a sample, for pictures; the means, E[S+] and E[S-], and standard deviations
    are over all comparisons, and are taken from the arrays where they are not given.
    """

    positive: np.ndarray
    negative: np.ndarray
    positive_mean: float | None = None
    negative_mean: float | None = None
    positive_std: float | None = None
    negative_std: float | None = None

    def __post_init__(self):
        if len(self.positive) == 0 or len(self.negative) == 0:
            raise ValueError(
                f"{len(self.positive)} positive and {len(self.negative)} negative similarities: "
                "at least one of each is needed"
            )
        for kind, values in (("positive", self.positive), ("negative", self.negative)):
            for name, measure in (("mean", np.mean), ("std", np.std)):
                if getattr(self, f"{kind}_{name}") is None:
                    object.__setattr__(self, f"{kind}_{name}", float(measure(values)))

    @property
    def separation(self) -> float:
        """E[S+] - E[S-], the "expectation margin" of Fig. 1 of the DDL paper."""
        return self.positive_mean - self.negative_mean

    @property
    def d_prime(self) -> float:
        """Separation over the root mean variance of the two; NaN where neither varies."""
        spread = np.sqrt((self.positive_std**2 + self.negative_std**2) / 2)
        return float(self.separation / spread) if spread > 0 else np.nan


def same_identity_pairs(ids: np.ndarray, other_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, other row) of every pair of one identity, by row, then as the others stand."""
    order = np.argsort(other_ids, kind="stable")
    begin, end = (np.searchsorted(other_ids[order], ids, side=side) for side in ("left", "right"))
    counts = end - begin
    rows = np.repeat(np.arange(len(ids)), counts)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, order[np.repeat(begin, counts) + step]


def thinned(values: np.ndarray) -> np.ndarray:
    """At most MOST_SHOWN of the values, evenly spaced."""
    return values[:: -(-len(values) // MOST_SHOWN)]


def unit_rows(embeddings: np.ndarray, *, first_row: int = 0) -> np.ndarray:
    """`embeddings[n, D]` as float64 rows of length 1; a zero row stays zero (cosine 0 to all).

    Raises ValueError for anything but two axes, and for a NaN or an infinity; its message counts
    rows from `first_row`, for the caller that gives a block of a larger array.
    """
    rows = np.asarray(embeddings, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"embeddings have shape {rows.shape}: two axes [n, D] are needed")
    check_finite(rows, np.arange(first_row, first_row + len(rows)))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1.0, norms)


def check_finite(rows: np.ndarray, numbers: np.ndarray) -> None:
    """Raises the ValueError of `unit_rows`; `numbers[n]` are what the rows are called in it."""
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"embeddings: row {numbers[np.argmin(finite)]} is not finite ({np.sum(~finite)} such "
            "rows): find the image or the weights behind it"
        )


def pair_cosines(unit: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of every pair of rows `first[i]`, `second[i]` of `unit[n, D]` -> [pairs].

    `unit` has rows of length 1, as `unit_rows` and `template_features` give them. A long list that
    pairs much with much (IJB) is read off a matrix product and rounded to 1e-12, so that equal
    vectors tie as they do one pair at a time.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"first {first.shape} and second {second.shape} must both be [pairs]")
    rows, columns = _used(first, len(unit)), _used(second, len(unit))
    if len(first) > BLOCK and len(rows) * len(columns) <= _CELLS_FOR_A_PAIR * len(first):
        return _from_products(unit, rows, columns, first, second)
    return _over_pairs(lambda a, b: np.einsum("nd,nd->n", a, b), unit, first, second)


def pair_distances(unit: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared L2 distance (0..4) of every pair of rows of `unit[n, D]` -> [pairs]."""
    return _over_pairs(lambda a, b: np.square(a - b).sum(axis=1), unit, first, second)


def cosine_blocks(probe: np.ndarray, gallery: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """All cosines of unit rows, some probes at a time -> (slice of probes, [probes, gallery])."""
    size = max(1, BLOCK * 256 // len(gallery))  # 2 Mi cosines: 16 MiB
    for start in range(0, len(probe), size):
        part = slice(start, start + size)
        yield part, probe[part] @ gallery.T


def _over_pairs(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    unit: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    result = np.empty(len(first))
    for start in range(0, len(first), BLOCK):
        part = slice(start, start + BLOCK)
        result[part] = measure(unit[first[part]], unit[second[part]])
    return result


def _used(numbers: np.ndarray, rows: int) -> np.ndarray:
    """Which of `rows` rows occur in `numbers`, ascending; sorts nothing."""
    return np.flatnonzero(np.bincount(numbers, minlength=rows)) if len(numbers) else numbers


def _from_products(
    unit: np.ndarray, rows: np.ndarray, columns: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    place = np.empty(len(unit), np.int64)
    place[columns] = np.arange(len(columns))
    order = np.argsort(first)
    ends = np.searchsorted(first[order], rows, side="right")
    result = np.empty(len(first))
    for part, cosines in cosine_blocks(unit[rows], unit[columns]):
        begin = ends[part.start - 1] if part.start else 0
        pairs = order[begin : ends[part][-1]]
        row = np.searchsorted(rows[part], first[pairs])
        result[pairs] = cosines[row, place[second[pairs]]]
    return np.round(result, 12)
