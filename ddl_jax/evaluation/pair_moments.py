"""Means and variances of the cosines of all pairs of two groups of images, also in samples.

Impostor pairs, which are the product of the groups, are never formed. A sum of cosines is the dot
product of two sums of rows, a sum of their squares that of two Gram matrices; what the pairs of one
identity add to either is taken away.

In a bootstrap sample the means are exact, and so is the variance of the genuine pairs. That of the
impostor pairs would need the squares of every pair of identities; it is taken as what each identity
of either side adds to it, over all its pairs: the first order in the counts. What is of the pair
alone then has twice its variance, not three times as in samples of every pair.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from ddl_jax.evaluation.similarity import BLOCK


class Moments(NamedTuple):
    """Mean and variance of every bootstrap sample, `[S + 1]`; NaN of one without a pair."""

    mean: np.ndarray
    variance: np.ndarray


class Images(NamedTuple):
    """A group of images: rows of length 1 `[n, D]`, and identities `[n]`, 0..I-1."""

    rows: np.ndarray
    identity: np.ndarray


def genuine_moments(cosines: np.ndarray, identity: np.ndarray, counts: np.ndarray) -> Moments:
    """Of genuine pairs, whose `identity` is `[m]`; `counts[S + 1, I]` of `identity_samples`."""
    weights, people = counts.astype(np.float64), counts.shape[1]
    center = np.mean(cosines)
    size = weights @ np.bincount(identity, minlength=people)
    mean, square = (
        quotient(weights @ np.bincount(identity, each, minlength=people), size)
        for each in (cosines - center, (cosines - center) ** 2)
    )
    return Moments(center + mean, np.maximum(square - mean**2, 0))


class _Totals(NamedTuple):
    """Sums over each identity of one of the groups."""

    size: np.ndarray  # [I] images
    rows: np.ndarray  # [I, D]
    squares: np.ndarray  # [I] of (cosine - mean) of their impostor pairs


@dataclasses.dataclass(frozen=True)
class ImpostorMoments:
    """Of all pairs of an image of either group, but for those of one identity.

    Attributes:
        mean, variance: over all pairs.
    """

    mean: float
    variance: float
    _groups: tuple[_Totals, _Totals]

    @classmethod
    def of(
        cls, ours: Images, others: Images, people: int, own: np.ndarray, own_identity: np.ndarray
    ) -> ImpostorMoments:
        """Takes the cosines and identities of all pairs of one identity, `own[m]`, too."""
        groups = [
            (np.bincount(group.identity, minlength=people), _summed(group, people))
            for group in (ours, others)
        ]
        (size, rows), (other_size, other_rows) = groups
        count = len(ours.rows) * len(others.rows) - size @ other_size
        total = rows.sum(axis=0) @ other_rows.sum(axis=0) - np.sum(rows * other_rows)
        mean = total / count
        of_own = np.bincount(own_identity, (own - mean) ** 2, minlength=people)
        squares = [
            np.bincount(one.identity, _squares(one.rows, other.rows, mean), minlength=people)
            for one, other in ((ours, others), (others, ours))
        ]
        totals = tuple(_Totals(*group, all_ - of_own) for group, all_ in zip(groups, squares))
        variance = max(0.0, np.sum(totals[0].squares) / count)
        return cls(float(mean), float(variance), totals)

    def samples(self, counts: np.ndarray) -> Moments:
        """Of bootstrap samples, `counts[S + 1, I]` of `identity_samples`."""
        ours, others = self._groups
        weights = counts.astype(np.float64)
        size, other_size = weights @ ours.size, weights @ others.size
        twice = np.square(weights)
        # Pairs of i and j count w_i w_j times: all of them, less those of one identity.
        total = np.einsum("sd,sd->s", weights @ ours.rows, weights @ others.rows)
        total -= twice @ np.sum(ours.rows * others.rows, axis=1)
        mean = quotient(total, size * other_size - twice @ (ours.size * others.size))
        square = np.full(len(weights), self.variance)
        pairs = np.sum(ours.size) * np.sum(others.size) - ours.size @ others.size
        for group, other in ((ours, others), (others, ours)):
            expected = self.variance * group.size * (np.sum(other.size) - other.size)
            share = quotient(weights @ (group.squares - expected), weights @ group.size)
            square += share * np.sum(group.size) / pairs
        return Moments(mean, np.maximum(square - (mean - self.mean) ** 2, 0))


def quotient(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means; NaN, whatever rounding left of the sum, of a sample without a pair."""
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _summed(images: Images, people: int) -> np.ndarray:
    sums = np.zeros((people, images.rows.shape[1]))
    np.add.at(sums, images.identity, images.rows)
    return sums


def _squares(rows: np.ndarray, others: np.ndarray, mean: float) -> np.ndarray:
    """The sum of (cosine - mean)^2 of each row with all others `[n]`."""
    gram, total = others.T @ others, others.sum(axis=0)
    found = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        found[start : start + BLOCK] = np.sum((part @ gram - 2 * mean * total) * part, axis=1)
    return found + mean**2 * len(others)
