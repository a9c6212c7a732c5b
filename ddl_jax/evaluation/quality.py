"""What one threshold means for good and for bad images: rates by bins of quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ddl_jax.evaluation.roc import LEAST_ERRORS, RocCurve
from ddl_jax.evaluation.verification import check_both_kinds


class BinRates(NamedTuple):
    """Pairs of quality low <= q < high: what a threshold accepts of them, and how many there are.

    A rate of fewer than 30 comparisons is NaN.
    """

    low: float
    high: float
    tar: float
    far: float
    genuine: int
    impostors: int


def rates_by_quality(
    scores: np.ndarray,
    genuine: np.ndarray,
    quality: np.ndarray,
    edges: Sequence[float],
    *,
    far: float,
) -> list[BinRates]:
    """TAR and FAR of every bin at the threshold that has FAR <= `far` over all pairs together.

    A system has one threshold, so a bin's FAR is its own finding: bad images that look alike show
    as a FAR above the target there.

    Args:
        scores: `[N]`, larger = more alike.
        genuine: `[N]` bool.
        quality: `[N]` of the pair, in any unit: usually the lower one of its two images.
        edges: rising; bin i is edges[i] <= quality < edges[i + 1]. The first may be -inf, the last
            inf; `np.quantile(quality, [...])` gives bins of equal size.
        far: the target.

    Raises:
        ValueError: arrays that do not agree, one kind of pair only, a NaN, edges that do not rise,
            a quality outside of them, a target of fewer than 30 false accepts.
    """
    scores, genuine = np.asarray(scores, np.float64), np.asarray(genuine, bool)
    quality, edges = np.asarray(quality, np.float64), np.asarray(edges, np.float64)
    if not scores.shape == genuine.shape == quality.shape or scores.ndim != 1:
        raise ValueError(
            f"scores {scores.shape}, genuine {genuine.shape} and quality {quality.shape} must all "
            "be [N]"
        )
    if len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ValueError(f"edges {edges.tolist()} must rise: give two or more")
    inside = (quality >= edges[0]) & (quality < edges[-1])
    if not inside.all():
        raise ValueError(
            f"quality {quality[np.argmin(inside)]} of pair {np.argmin(inside)} is in no bin "
            f"({np.sum(~inside)} such pairs): edges go from {edges[0]} to below {edges[-1]}"
        )
    check_both_kinds(genuine)
    curve = RocCurve.from_scores(scores[genuine], [scores[~genuine]])
    if not curve.is_measured([far])[0]:
        raise ValueError(
            f"FAR {far:g} of {curve.impostor_count} impostor pairs is less than {LEAST_ERRORS} "
            "false accepts: too few to set a threshold by"
        )
    accepted = scores >= curve.threshold_at_far([far])[0]
    number = np.searchsorted(edges, quality, side="right") - 1
    bins = len(edges) - 1
    (tar, genuines), (fars, impostors) = (
        _rates(accepted[kind], number[kind], bins) for kind in (genuine, ~genuine)
    )
    columns = (edges[:-1], edges[1:], tar, fars, genuines, impostors)
    return [BinRates(*row) for row in zip(*(column.tolist() for column in columns))]


def _rates(accepted: np.ndarray, number: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares accepted in every bin, and the counts they are of."""
    counts = np.bincount(number, minlength=bins)
    hits = np.bincount(number, accepted, minlength=bins)
    return np.where(counts >= LEAST_ERRORS, hits / np.maximum(counts, 1), np.nan), counts
