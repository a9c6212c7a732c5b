"""Cosines of all pairs of two groups of images, or of one group with itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ddl_jax.evaluation.similarity import unit_rows


class AllPairs(NamedTuple):
    """`[N]` each: cosines, and the identities of either image."""

    scores: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @property
    def genuine(self) -> np.ndarray:
        return self.first == self.second

    @classmethod
    def of(
        cls,
        embeddings: np.ndarray,
        identities: np.ndarray,
        rows: np.ndarray,
        others: np.ndarray | None = None,
    ) -> AllPairs:
        """Pairs of an image of `rows` with one of `others`, or of two of `rows`, each pair once.

        Args:
            embeddings: `[m, D]`, normalised here.
            identities: `[m]`.
            rows, others: numbers of images.
        """
        unit, who = unit_rows(embeddings), np.asarray(identities)
        if len(unit) != len(who):
            raise ValueError(f"{len(unit)} embeddings and {len(who)} identities: give one each")
        if others is None:
            a, b = np.triu_indices(len(rows), 1)
            others = rows
        else:
            a, b = (index.ravel() for index in np.indices((len(rows), len(others))))
        cosines = unit[rows] @ unit[others].T
        return cls(cosines[a, b], who[rows][a], who[others][b])
