"""Means of cosines over all pairs of images, from sums by identity: no pair is ever formed.

A sum of cosines of unit rows is the dot product of the rows' sums, so a million images cost as much
as their identities, in a bootstrap too.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class PairSums:
    """Pairs of an image of one group with one of another, or of two different images of one.

    Attributes:
      ours, others: `[I, D]` sums of the unit rows of each identity; the same array for one group.
      our_count, other_count: `[I]` images.
      squares: `[I]` what each image of one group adds when paired with itself; 0 for two groups.
    """

    ours: np.ndarray
    others: np.ndarray
    our_count: np.ndarray
    other_count: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(
        cls,
        unit: np.ndarray,
        identity: np.ndarray,
        rows: np.ndarray,
        others: np.ndarray | None = None,
    ) -> PairSums:
        """Sums of unit rows `[m, D]` of identities 0..I-1 `[m]`.

        Args:
          unit, identity: of all images.
          rows, others: numbers of images, no image in both; None for pairs of two of `rows`.
        """
        identities = int(identity.max()) + 1
        ours, our_count = _sums(unit, identity, rows, identities)
        if others is not None:
            other, other_count = _sums(unit, identity, others, identities)
            return cls(ours, other, our_count, other_count, np.zeros(identities))
        squares = np.bincount(
            identity[rows], np.einsum("nd,nd->n", unit[rows], unit[rows]), minlength=identities
        )
        return cls(ours, ours, our_count, our_count, squares)

    def means(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """E[S+] and E[S-] for every row of bootstrap weights -> `(positive[S], negative[S])`.

        A pair of identity i counts w_i times, one of i and j w_i w_j times, as in `all_pairs`. NaN
        where a sample has no such pair.

        Args:
          weights: `[S, I]` whole numbers; None for one row of ones, the data as they are.
        """
        w = np.ones((1, len(self.ours))) if weights is None else np.asarray(weights, np.float64)
        own = np.einsum("id,id->i", self.ours, self.others)
        own_pairs = self.our_count * self.other_count
        alone = self.our_count if self.others is self.ours else 0  # an image with itself
        positive = _ratio(w @ (own - self.squares), w @ (own_pairs - alone))
        total = np.einsum("sd,sd->s", w @ self.ours, w @ self.others)
        pairs = (w @ self.our_count) * (w @ self.other_count)
        return positive, _ratio(total - w**2 @ own, pairs - w**2 @ own_pairs)


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """NaN where nothing was counted: the total is then but rounding."""
    return np.where(count > 0, total, np.nan) / np.where(count > 0, count, 1)


def _sums(
    unit: np.ndarray, identity: np.ndarray, rows: np.ndarray, identities: int
) -> tuple[np.ndarray, np.ndarray]:
    sums = np.zeros((identities, unit.shape[1]))
    np.add.at(sums, identity[rows], unit[rows])
    return sums, np.bincount(identity[rows], minlength=identities).astype(np.float64)
