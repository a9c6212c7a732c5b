"""The exact ROC curve of genuine and impostor scores, from impostors that come in blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

# Fewer errors than this say too little about a rate: the rule of 30, see `RocCurve.is_measured`.
LEAST_ERRORS = 30


@dataclasses.dataclass(frozen=True)
class RocCurve:
    """Corners of the curve from (FAR, TAR) = (0, 0) to (1, 1), thresholds falling.

    FAR(t) = share of impostors accepted and TAR(t) = share of genuine accepted at threshold t.
    TAR only moves where a threshold passes a genuine score, so two corners for each distinct
    genuine score (it is still rejected; it is accepted) describe the whole curve, however many
    impostors there are. `thresholds[i]` is the lowest genuine score that corner i accepts
    ("accept where score >= threshold"; infinite where it accepts none).
    """

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray
    genuine_count: int
    impostor_count: int

    @classmethod
    def from_scores(cls, genuine: np.ndarray, impostors: Iterable[np.ndarray]) -> RocCurve:
        """The curve of `genuine[G]` against the scores of all blocks of `impostors` together.

        Memory is O(G + the largest block). Raises ValueError for no genuine score, no impostor
        score, or a score which is not finite.
        """
        levels, repeats = np.unique(finite_scores(genuine, "genuine"), return_counts=True)
        reached = np.zeros(len(levels), np.int64)  # impostors >= level
        passed = np.zeros(len(levels), np.int64)  # impostors > level
        count = 0
        for block in impostors:
            block = np.sort(finite_scores(block, "impostor"), axis=None)
            reached += len(block) - np.searchsorted(block, levels, side="left")
            passed += len(block) - np.searchsorted(block, levels, side="right")
            count += len(block)
        if len(levels) == 0 or count == 0:
            raise ValueError(
                f"{len(genuine)} genuine and {count} impostor scores: a TAR at a FAR needs both"
            )
        levels, repeats = levels[::-1], repeats[::-1]  # thresholds fall along the curve
        accepted = np.cumsum(repeats)
        higher = np.concatenate([[np.inf], levels[:-1]])
        return cls(
            far=corners(0, passed[::-1], reached[::-1], count) / count,
            tar=corners(0, accepted - repeats, accepted, accepted[-1]) / accepted[-1],
            thresholds=corners(np.inf, higher, levels, levels[-1]),
            genuine_count=int(accepted[-1]),
            impostor_count=count,
        )

    def tar_at_far(self, fars: Sequence[float]) -> np.ndarray:
        """The largest TAR among thresholds with FAR <= target, for every target of `fars`."""
        return self.tar[self._corner(fars)]

    def threshold_at_far(self, fars: Sequence[float]) -> np.ndarray:
        """The threshold of `tar_at_far`: accept where score >= threshold."""
        return self.thresholds[self._corner(fars)]

    def equal_error_rate(self) -> float:
        """The FAR where the curve, corners joined by lines, has FAR = 1 - TAR."""
        return float(equal_error_rates(self.far, self.tar))

    def far_at_far(self, fars: Sequence[float]) -> np.ndarray:
        """The FAR at `threshold_at_far`; times `impostor_count`: the false accepts behind a TAR."""
        corner = self._corner(fars)
        return self.far[corner - corner % 2]  # odd corners lie on the way to the next threshold

    def is_measured(self, fars: Sequence[float]) -> np.ndarray:
        """Whether the impostors are enough to speak of a FAR: 30 false accepts or more.

        The rule of 30 (Doddington et al., 2000; ISO/IEC 19795-1): with 30 independent errors the
        true rate is within 30 % of the measured one, 90 times of 100. Impostor pairs that share
        people are less than independent: an interval over identities says how much less.
        """
        return is_enough(fars, self.impostor_count)

    def area(self) -> float:
        """Area under the curve: P(genuine > impostor), ties counting half."""
        return float(areas(self.far, self.tar))

    def overlap(self) -> float:
        """min over thresholds of FAR + 1 - TAR, 0 (apart) to 1 (alike).

        The area that two densities share if they cross once, found without histogram bins.
        """
        return float(overlaps(self.far, self.tar))

    def _corner(self, fars: Sequence[float]) -> np.ndarray:
        # FAR and TAR both rise along the corners: the last corner allowed is the best one.
        return np.searchsorted(self.far, np.asarray(fars, float), side="right") - 1


def equal_error_rates(far: np.ndarray, tar: np.ndarray) -> np.ndarray:
    """FAR where FAR = 1 - TAR, on curves `[..., n]`, corners joined by lines -> `[...]`."""
    excess = far - (1 - tar)  # rises from -1 to 1
    after = np.argmax(excess >= 0, axis=-1)[..., None]
    low, high = (np.take_along_axis(excess, i, -1)[..., 0] for i in (after - 1, after))
    start, end = (np.take_along_axis(far, i, -1)[..., 0] for i in (after - 1, after))
    return start - low / (high - low) * (end - start)


def areas(far: np.ndarray, tar: np.ndarray) -> np.ndarray:
    """Areas under curves `[..., n]`, corners joined by lines -> `[...]`."""
    return np.trapezoid(tar, far, axis=-1)


def overlaps(far: np.ndarray, tar: np.ndarray) -> np.ndarray:
    """Smallest FAR + 1 - TAR of curves `[..., n]` -> `[...]`."""
    return 1 - np.max(tar - far, axis=-1)


def is_enough(rates: Sequence[float], comparisons: int) -> np.ndarray:
    """Whether `rates` of so many comparisons are errors enough to speak of (30)."""
    return np.asarray(rates, float) * comparisons >= LEAST_ERRORS - 1e-9  # 1e-9: products round


def corners(
    start: float | np.ndarray, before: np.ndarray, after: np.ndarray, end: float | np.ndarray
) -> np.ndarray:
    """Two corners for each level, `before` and `after` `[..., L]`, between `start` and `end`."""
    middle = np.stack([before, after], axis=-1).reshape(*before.shape[:-1], -1)
    ends = (np.broadcast_to(value, before.shape[:-1])[..., None] for value in (start, end))
    first, last = ends
    return np.concatenate([first, middle, last], axis=-1)


def finite_scores(scores: np.ndarray, name: str) -> np.ndarray:
    """Scores in float64, or a ValueError that names them."""
    scores = np.asarray(scores, np.float64)
    if not np.isfinite(scores).all():
        raise ValueError(f"{name} scores: {np.sum(~np.isfinite(scores))} are not finite numbers")
    return scores
