"""Cosines and distances between embeddings, in float64 and in blocks of bounded memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

_BLOCK = 8192  # pairs at a time: 2 x 8192 x 512 float64 is 64 MiB


@dataclasses.dataclass(frozen=True)
class Similarities:
    """Cosines of genuine (`positive`) and impostor (`negative`) comparisons of one domain.

    The arrays may be a sample, for pictures; `positive_mean` and `negative_mean` are E[S+] and
    E[S-] over all comparisons, and are taken from the arrays where they are not given.
    """

    positive: np.ndarray
    negative: np.ndarray
    positive_mean: float | None = None
    negative_mean: float | None = None

    def __post_init__(self):
        if len(self.positive) == 0 or len(self.negative) == 0:
            raise ValueError(
                f"{len(self.positive)} positive and {len(self.negative)} negative similarities: "
                "at least one of each is needed"
            )
        if self.positive_mean is None:
            object.__setattr__(self, "positive_mean", float(np.mean(self.positive)))
        if self.negative_mean is None:
            object.__setattr__(self, "negative_mean", float(np.mean(self.negative)))

    @property
    def separation(self) -> float:
        """E[S+] - E[S-], the "expectation margin" of Fig. 1 of the DDL paper."""
        return self.positive_mean - self.negative_mean


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """`embeddings[n, D]` as float64 rows of length 1; a zero row stays zero (cosine 0 to all).

    Raises ValueError for anything but two axes, and for a NaN or an infinity.
    """
    rows = np.asarray(embeddings, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"embeddings have shape {rows.shape}: two axes [n, D] are needed")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"embeddings: row {np.argmin(finite)} is not finite ({np.sum(~finite)} such rows): "
            "find the image or the weights behind it"
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1.0, norms)


def pair_cosines(unit: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of every pair of rows `first[i]`, `second[i]` of `unit[n, D]` -> [pairs]."""
    return _over_pairs(lambda a, b: np.einsum("nd,nd->n", a, b), unit, first, second)


def pair_distances(unit: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Squared L2 distance (0..4) of every pair of rows of `unit[n, D]` -> [pairs]."""
    return _over_pairs(lambda a, b: np.square(a - b).sum(axis=1), unit, first, second)


def cosine_blocks(probe: np.ndarray, gallery: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """All cosines of unit rows, some probes at a time -> (slice of probes, [probes, gallery])."""
    size = max(1, _BLOCK * 256 // len(gallery))  # 2 Mi cosines: 16 MiB
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
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        result[part] = measure(unit[first[part]], unit[second[part]])
    return result
