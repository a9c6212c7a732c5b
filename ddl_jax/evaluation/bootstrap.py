"""Error bars: bootstrap samples of people, and of pairs by the people in them.

Pairs that share a person are not independent, so people are resampled, not pairs. A sample draws
as many identities as there are, with replacement, and identity i comes w_i times (a multinomial
count). A genuine pair of i then counts w_i times and an impostor pair of i and j w_i w_j times:
both its people are resampled, and copies of one person are never each other's impostors. This is
Owen's pigeonhole bootstrap (Annals of Applied Statistics 1, 2007) on the pairs that were compared,
the vertex bootstrap of Snijders and Borgatti (Connections 22, 1999) without imputed pairs. It
covers what people have in common and errs to the wide side where a pair depends on nothing but
itself: there the variance is up to three times too large.

Whatever is measured on samples is an array `[S + 1]`: the value of the data as they are, then S
bootstrap values. Two models measured on the *same* samples are compared by subtraction.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import special

_WEIGHTS_AT_ONCE = 300_000  # 2.4 MB an array, which stays in a processor's cache
_LEAST_KNOWN = 0.95
_LEAST_DEVIATION = 1e-3  # of a difference, in its own size; below it is rounding
_MOST_UNITS = 20_000  # of a list that does not say who is who
_MOST_KEPT = 40_000_000  # counts of a byte, of samples that are kept to be drawn once


class Interval(NamedTuple):
    """A value and the middle `level` of its bootstrap values; NaN is "too little data to say"."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """An interval of a difference, and the two-sided p-value of "there is none"."""

    value: float
    low: float
    high: float
    p_value: float


def identity_samples(identities: int, samples: int = 1000, *, seed: int = 0) -> np.ndarray:
    """Bootstrap counts `[samples + 1, identities]`; row 0 is the data as they are, all ones."""
    if identities < 1 or samples < 1:
        raise ValueError(f"{samples} samples of {identities} identities: give 1 or more of both")
    draw = _drawn_once if identities * samples <= _MOST_KEPT else _drawn
    drawn = draw(identities, samples, seed).astype(np.int64)
    return np.concatenate([np.ones((1, identities), np.int64), drawn])


def _drawn(identities: int, samples: int, seed: int) -> np.ndarray:
    shares = np.full(identities, 1 / identities)
    drawn = np.random.default_rng(seed).multinomial(identities, shares, samples)
    return drawn.astype(np.uint8 if drawn.max() < 256 else np.int64)


_drawn_once = functools.lru_cache(maxsize=16)(_drawn)  # a run's evaluations draw the same ones


def interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """The percentile interval of bootstrap values `[S + 1]`.

    A sample may leave a value undefined (NaN: it drew no genuine pair); bounds are NaN where more
    than 1 of 20 samples does, or where the value itself is. They are NaN too where all samples are
    alike: a bootstrap of 100 % is 100 %, and says nothing about how far below the truth may be.
    """
    varies = np.any(values != values[0])
    low, high = _bounds(values, level) if varies else (np.nan, np.nan)
    return Interval(float(values[0]), low, high)


def difference(ours: np.ndarray, theirs: np.ndarray, level: float = 0.95) -> Difference:
    """`ours - theirs`, two models measured on the same samples `[S + 1]`: the paired bootstrap.

    `p_value` is twice the smaller share of samples on either side of 0, each with the data
    themselves counted in. Where no sample is on the other side, which says below 2 / (S + 1) and no
    more, it is that of the normal tail of the difference over its deviation in the samples, if that
    is smaller: a correction for many comparisons needs to know how much.
    """
    if np.shape(ours) != np.shape(theirs):
        raise ValueError(
            f"{np.shape(ours)} and {np.shape(theirs)} values: measure both on the same samples"
        )
    values = np.subtract(ours, theirs)
    low, high = _bounds(values, level)
    if np.isnan(low):
        return Difference(float(values[0]), low, high, np.nan)
    drawn = values[1:][np.isfinite(values[1:])]
    tail = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    p_value = min(1, 2 * (1 + tail) / (1 + len(drawn)))
    if tail == 0:
        p_value = min(p_value, _normal_tail(values[0] * np.sign(drawn[0]), np.std(drawn)))
    return Difference(float(values[0]), low, high, float(p_value))


def share_samples(hits: np.ndarray, identities: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Share of hits, e.g. `ranks <= k`, in every sample -> `[S + 1]`.

    The people of the probes are resampled. What a probe was compared with, the gallery, stays
    whole: a gallery of resampled people has fewer different ones, and its rank-1 is higher.

    Args:
        hits: `[P]` bool, or any value of a probe whose mean is wanted.
        identities: `[P]`, 0..I-1.
        counts: `[S + 1, I]` of `identity_samples`.
    """
    hits, identities = np.asarray(hits, float), np.asarray(identities)
    if hits.shape != identities.shape or hits.ndim != 1:
        raise ValueError(f"hits {hits.shape} and identities {identities.shape} must both be [P]")
    people = counts.shape[1]
    total = np.bincount(identities, hits, minlength=people)
    size = np.bincount(identities, minlength=people)
    with np.errstate(invalid="ignore"):  # a sample without any probe is undefined: NaN
        return (counts @ total) / (counts @ size)


@dataclasses.dataclass(frozen=True)
class PairSamples:
    """How often each of N pairs counts in each of S bootstrap samples, made some at a time.

    Attributes:
        counts: `[S + 1, U]` how often each unit was drawn; row 0 is ones.
        first, second: `[N]` the units of a pair. A pair within a unit counts as often as the unit,
            a pair of two units as often as both together.
        repeats: `[N]` how many pairs each stands for (`ImpostorPairs`); None: itself alone.
    """

    counts: np.ndarray
    first: np.ndarray
    second: np.ndarray
    repeats: np.ndarray | None = None

    @classmethod
    def of_identities(
        cls, first: np.ndarray, second: np.ndarray, *, samples: int = 1000, seed: int = 0
    ) -> PairSamples:
        """Resamples people: `first[N]`, `second[N]` are the identities of each pair, any labels."""
        first, second = np.asarray(first), np.asarray(second)
        if first.shape != second.shape or first.ndim != 1:
            raise ValueError(f"first {first.shape} and second {second.shape} must both be [N]")
        names, unit = np.unique(np.concatenate([first, second]), return_inverse=True)
        counts = identity_samples(len(names), samples, seed=seed)
        return cls(counts, unit[: len(first)], unit[len(first) :])

    @classmethod
    def of_pairs(cls, pairs: int, *, samples: int = 1000, seed: int = 0) -> PairSamples:
        """Resamples pairs, for a list that does not say who is who: intervals come out too narrow
        where people come in several pairs. Of more than 20,000 some neighbours go together."""
        unit = np.arange(pairs) * min(pairs, _MOST_UNITS) // pairs
        return cls(identity_samples(unit[-1] + 1, samples, seed=seed), unit, unit)

    def blocks(self) -> Iterator[np.ndarray]:
        """Weights `[s, N]` of the next s samples, float64, in order."""
        at_once = max(1, _WEIGHTS_AT_ONCE // max(len(self.first), self.counts.shape[1]))
        within = self.first == self.second
        for start in range(0, len(self.counts), at_once):
            counts = self.counts[start : start + at_once].astype(np.float64)
            weights = counts[:, self.first] * np.where(within, 1.0, counts[:, self.second])
            yield weights if self.repeats is None else weights * self.repeats

    def part(self, chosen: np.ndarray) -> PairSamples:
        """The same samples of the pairs `chosen` (bool or row numbers)."""
        repeats = None if self.repeats is None else self.repeats[chosen]
        return PairSamples(self.counts, self.first[chosen], self.second[chosen], repeats)


def _normal_tail(value: float, deviation: float) -> float:
    """Two-sided; 1 where the samples hardly vary, and so do not say how sure the value is."""
    if deviation <= _LEAST_DEVIATION * abs(value):
        return 1.0
    return float(2 * special.ndtr(-value / deviation))


def _bounds(values: np.ndarray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level={level}: give a share between 0 and 1, e.g. 0.95")
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or len(drawn) < max(1, _LEAST_KNOWN * (len(values) - 1)):
        return np.nan, np.nan
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
