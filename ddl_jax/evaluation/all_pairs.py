"""Verification and identification over all pairs of a set of images, with bootstrap weights.

Pairs that share a person are not independent, so intervals come from resampling *identities*: a
sample draws as many identities as there are, with replacement, and a pair counts as often as its
people were drawn. A sample is a row of weights w: a genuine pair of identity i counts w_i times, an
impostor pair of i and j w_i w_j times (copies of one person are never each other's impostors).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ddl_jax.evaluation.identification import TIE
from ddl_jax.evaluation.roc import equal_error_rates
from ddl_jax.evaluation.similarity import unit_rows

_SAMPLES_AT_ONCE = 64  # of 100,000 pairs: 50 MB an array


def identity_samples(identities: int, samples: int, *, seed: int = 0) -> np.ndarray:
    """Bootstrap weights `[samples + 1, identities]`; row 0 is the data as they are, all ones."""
    drawn = np.random.default_rng(seed).multinomial(
        identities, np.full(identities, 1 / identities), samples
    )
    return np.concatenate([np.ones((1, identities), np.int64), drawn])


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of bootstrap values `[samples + 1]`, of which the first does not count."""
    low, high = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class AllPairs:
    """Cosines of all pairs of two groups of images, or of one group with itself.

    Attributes:
      scores: `[n]` cosines, falling.
      first, second: `[n]` identities of the pairs, 0..I-1.
    """

    scores: np.ndarray
    first: np.ndarray
    second: np.ndarray

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
          identities: `[m]` whole numbers.
          rows, others: numbers of images.
        """
        unit = unit_rows(embeddings)
        if others is None:
            a, b = np.triu_indices(len(rows), 1)
            cosines, others = unit[rows] @ unit[rows].T, rows
            scores = cosines[a, b]
        else:
            a, b = (index.ravel() for index in np.indices((len(rows), len(others))))
            scores = (unit[rows] @ unit[others].T).ravel()
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], identities[rows[a[order]]], identities[others[b[order]]])

    def metrics(self, weights: np.ndarray, fars: Sequence[float]) -> dict[str, np.ndarray]:
        """`tar_at_far_*`, `eer`, `separation` for every row of weights -> arrays `[S]`.

        TAR is the largest at any threshold with FAR <= target; EER is FAR where FAR = 1 - TAR, on a
        curve whose corners are joined by lines; separation is E[S+] - E[S-].
        """
        parts = [
            self._metrics(weights[start : start + _SAMPLES_AT_ONCE].astype(np.float64), fars)
            for start in range(0, len(weights), _SAMPLES_AT_ONCE)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _metrics(self, weights: np.ndarray, fars: Sequence[float]) -> dict[str, np.ndarray]:
        genuine = self.first == self.second
        pairs = weights[:, self.first] * np.where(genuine, 1.0, weights[:, self.second])
        own, other = np.where(genuine, pairs, 0.0), np.where(genuine, 0.0, pairs)
        means = [np.sum(part * self.scores, axis=1) / np.sum(part, axis=1) for part in (own, other)]
        # A threshold passes equal scores together: rates exist where the next score is lower.
        ends = np.append(self.scores[1:] < self.scores[:-1], True)
        tar, far = (
            np.pad(part, ((0, 0), (1, 0)))
            for part in (_rates(own)[:, ends], _rates(other)[:, ends])
        )
        found = {"separation": means[0] - means[1], "eer": equal_error_rates(far, tar)}
        for target in fars:
            last = np.sum(far <= target, axis=1) - 1
            found[f"tar_at_far_{target:g}"] = np.take_along_axis(tar, last[:, None], 1)[:, 0]
        return found


def _rates(part: np.ndarray) -> np.ndarray:
    sums = np.cumsum(part, axis=1)
    return sums / sums[:, -1:]


def rank_one(
    embeddings: np.ndarray,
    identities: np.ndarray,
    probes: np.ndarray,
    gallery: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Share of probes more similar to their own gallery image than to any other's -> `[S]`.

    Args:
      embeddings: `[m, D]`, normalised here.
      identities: `[m]`, 0..I-1.
      probes: numbers of images.
      gallery: `[I]` the image of each identity, in order.
      weights: `[S, I]`; the gallery of a sample holds the identities it has drawn.
    """
    unit = unit_rows(embeddings)
    cosines, identity = unit[probes] @ unit[gallery].T, identities[probes]
    own = cosines[np.arange(len(probes)), identity]
    beats = cosines >= own[:, None] - TIE  # a tie is not a recognition
    beats[np.arange(len(probes)), identity] = False
    # How many of those that beat the own image each sample's gallery has.
    beaten = (weights > 0).astype(np.float64) @ beats.T.astype(np.float64) > 0
    counts = weights[:, identity]
    return np.sum(counts * ~beaten, axis=1) / np.sum(counts, axis=1)
