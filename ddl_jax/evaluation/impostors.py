"""Impostor pairs in such numbers as error bars need, of as many as a benchmark has."""

from __future__ import annotations

import numpy as np

MOST = 20_000  # pairs that are all kept
WHOLE = 4096  # of more than MOST, so many of the best are kept one by one


class ImpostorPairs:
    """Impostor pairs, added block by block: all of them up to 20,000.

    Of more, the 4,096 with the highest scores are kept, and below these one of every few: of rank r
    one of r / 4,096, which stands for its neighbours: 600 million pairs become 53,000. A FAR on the
    data is exact within a ratio of 1 / 4,096. On a bootstrap sample, where one pair's weight stands
    for its neighbours', it is within 3 %, which widens an interval of a TAR hardly.
    """

    def __init__(self):
        self.scores = np.empty(0)
        self.first = self.second = self.repeats = np.empty(0, np.int64)

    def add(self, scores: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
        """Adds pairs `[n]` of the people or other units `first` and `second`, whole numbers."""
        ones = np.ones(len(scores), np.int64)
        self.scores = np.concatenate([self.scores, scores])
        self.first = np.concatenate([self.first, first])
        self.second = np.concatenate([self.second, second])
        self.repeats = np.concatenate([self.repeats, ones])
        if len(self.scores) > MOST:
            self._thin()

    def with_genuine(
        self, scores: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`(scores, first, second, repeats)` of these genuine pairs, and of the impostors behind.

        `repeats` says how many pairs each stands for; a genuine one for itself.
        """
        return (
            np.concatenate([scores, self.scores]),
            np.concatenate([first, self.first]),
            np.concatenate([second, self.second]),
            np.concatenate([np.ones(len(scores), np.int64), self.repeats]),
        )

    def _thin(self) -> None:
        order = np.argsort(-self.scores)
        rank = np.cumsum(self.repeats[order])  # among all pairs so far
        cell = np.where(rank <= WHOLE, rank, WHOLE * (1 + np.log(np.maximum(rank, 1) / WHOLE)))
        starts = np.flatnonzero(np.diff(cell.astype(np.int64), prepend=-1))
        ends = np.append(starts[1:], len(order))
        repeats = np.add.reduceat(self.repeats[order], starts)
        middle = order[(starts + ends - 1) // 2]
        self.scores, self.first, self.second = (
            each[middle] for each in (self.scores, self.first, self.second)
        )
        self.repeats = repeats
