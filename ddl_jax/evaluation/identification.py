"""1:N identification: ranks in a gallery, and open-set rates, where not everybody is in it.

IJB-B and IJB-C have two galleries of different people. A probe is searched in both; it is mated in
one and non-mated in the other, and the rates of the two are averaged: give the two results of
`search_gallery` as a list wherever `Searches` stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddl_jax.evaluation.bootstrap import PairSamples, identity_samples, share_samples
from ddl_jax.evaluation.evidence import Evidence, people_or_pairs
from ddl_jax.evaluation.gallery_search import Search, search_gallery
from ddl_jax.evaluation.resampled import verification_samples
from ddl_jax.evaluation.roc import RocCurve, is_enough
from ddl_jax.evaluation.similarity import cosine_blocks, unit_rows

Searches = Search | Sequence[Search]


def identification_rank(
    probe: np.ndarray,
    probe_ids: np.ndarray,
    gallery: np.ndarray,
    gallery_ids: np.ndarray,
    *,
    k: int = 1,
) -> float:
    """Share of probes with their identity among the k most similar (cosine) gallery rows.

    Args:
        probe, gallery: `[P, D]`, `[G, D]`; normalised here.
        probe_ids, gallery_ids: `[P]`, `[G]`; the gallery may hold an identity more than once.
        k: 1 or more; with k >= G every probe is a hit.

    Raises:
        ValueError: shapes that do not agree, k < 1, a probe whose identity is not in the gallery.

    A tie with another identity counts against the probe: a network that maps every face to one
    point has rank-1 share 0, not 1, and the order of the gallery never matters.
    """
    if k < 1:
        raise ValueError(f"k={k}: give 1 or more")
    ranks = identification_ranks(probe, probe_ids, gallery, gallery_ids)
    return float(np.mean(ranks <= k))


def identification_ranks(
    probe: np.ndarray, probe_ids: np.ndarray, gallery: np.ndarray, gallery_ids: np.ndarray
) -> np.ndarray:
    """Rank `[P]`, from 1, of the best gallery row of the probe's identity among all rows.

    Rows of the same identity never stand before its best row: only others are counted.
    """
    found = search_gallery(probe, probe_ids, gallery, gallery_ids)
    unknown = np.unique(np.asarray(probe_ids)[~found.mated])
    if len(unknown):
        raise ValueError(
            f"probe identity {unknown[0]} has no gallery entry ({len(unknown)} such identities): "
            "add one, or leave its probes out (closed set)"
        )
    return found.ranks


def cumulative_matches(searches: Searches, most: int) -> np.ndarray:
    """The CMC: shares `[most]` of mated probes of rank 1, <= 2, ..., <= most.

    Raises ValueError where no probe is mated.
    """
    curves = []
    for found in _each(searches):
        if not found.mated.any():
            raise ValueError(
                f"none of {len(found.ranks)} probes is in the gallery: no rank to tell"
            )
        counts = np.bincount(np.minimum(found.ranks[found.mated], most + 1), minlength=most + 2)
        curves.append(np.cumsum(counts)[1 : most + 1] / np.sum(found.mated))
    return np.mean(curves, axis=0)


def tpir_at_fpir(searches: Searches, fpirs: Sequence[float], *, k: int = 1) -> np.ndarray:
    """True positive identification rates at false positive identification rates, open set.

    FPIR(t) is the share of non-mated probes whose most similar gallery row is at least t; TPIR(t)
    the share of mated probes that have their identity within the first k ranks and its cosine at
    least t. As in TAR@FAR the answer is the largest TPIR with FPIR <= target.

    Returns:
        `[len(fpirs)]`; whether the probes are enough for a target says `identification_metrics`.

    Raises:
        ValueError: no mated or no non-mated probe, an FPIR outside 0..1.
    """
    outside = [fpir for fpir in fpirs if not 0 <= fpir <= 1]
    if outside:
        raise ValueError(f"FPIR {outside[0]} is not a share: give values from 0 to 1")
    return np.mean([_open_set(found, fpirs, k) for found in _each(searches)], axis=0)


def joined_gallery_rates(
    probe: np.ndarray,
    probe_ids: np.ndarray,
    gallery: np.ndarray,
    gallery_ids: np.ndarray,
    fpirs: Sequence[float],
) -> np.ndarray:
    """What insightface's and AdaFace's IJB scripts print as TPIR@FPIR, under their own rule.

    Both galleries are joined into one that holds every probe's identity once, so nobody is
    non-mated. The threshold is the ceil(fpir * P)-th highest of *all* cosines to others (several
    may be of one probe), and a probe counts where its own cosine is above it, whatever its rank.
    Not the open-set rate of the IJB protocol, which `tpir_at_fpir` gives: for comparison only.

    Raises:
        ValueError: an identity that is not in the gallery exactly once, an FPIR outside (0, 1].
    """
    outside = [fpir for fpir in fpirs if not 0 < fpir <= 1]
    if outside:
        raise ValueError(f"FPIR {outside[0]}: give shares above 0, at most 1")
    unit, others = unit_rows(probe), unit_rows(gallery)
    mine = np.asarray(probe_ids)[:, None] == np.asarray(gallery_ids)
    if not np.all(mine.sum(axis=1) == 1):
        wrong = np.asarray(probe_ids)[np.argmax(mine.sum(axis=1) != 1)]
        raise ValueError(f"probe identity {wrong} is not in the gallery exactly once")
    needed = [int(np.ceil(fpir * len(unit))) for fpir in fpirs]
    own, highest = np.empty(len(unit)), np.empty(0)
    for part, cosines in cosine_blocks(unit, others):
        own[part] = cosines[mine[part]]
        highest = np.concatenate([highest, cosines[~mine[part]]])
        if len(highest) > max(needed):
            highest = np.partition(highest, -max(needed))[-max(needed) :]
    highest = np.sort(highest)[::-1]
    return np.array([np.mean(own > highest[number - 1]) for number in needed])


def identification_metrics(
    searches: Searches,
    *,
    ranks: Sequence[int] = (1, 5, 10),
    fpirs: Sequence[float] = (1e-1, 1e-2),
) -> dict[str, float]:
    """`rank_*`, `tpir_at_fpir_*` and the numbers of probes behind them, for results.json.

    A target that allows fewer than 30 false positives of a gallery's non-mated probes is NaN,
    "insufficient data"; so are all targets where every probe is mated (closed set).
    """
    each = _each(searches)
    curve = cumulative_matches(each, max(ranks))
    mated = [int(np.sum(found.mated)) for found in each]
    nonmated = [len(found.ranks) - number for found, number in zip(each, mated)]
    values = {"mated": sum(mated), "nonmated": sum(nonmated)}
    values |= {f"rank_{k}": float(curve[k - 1]) for k in ranks}
    measured = [is_enough([fpir], min(nonmated))[0] for fpir in fpirs]
    for fpir, enough in zip(fpirs, measured):
        rate = tpir_at_fpir(each, [fpir])[0] if enough else np.nan
        values[f"tpir_at_fpir_{fpir:g}"] = float(rate)
    return values


def identification_evidence(
    searches: Searches,
    probe_ids: np.ndarray,
    *,
    ranks: Sequence[int] = (1, 5, 10),
    fpirs: Sequence[float] = (1e-1, 1e-2),
    samples: int = 1000,
) -> Evidence:
    """The rates of `identification_metrics` on bootstrap samples of the people of the probes.

    The galleries stay whole. `probe_ids[P]` are the people of the probes of every search.
    """
    each = _each(searches)
    people, who = np.unique(probe_ids, return_inverse=True)
    counts = identity_samples(len(people), samples)
    evidence = Evidence(people_or_pairs(len(people), len(who)), {})
    for k in ranks:
        hits = [found.ranks[found.mated] <= k for found in each]
        drawn = [share_samples(h, who[found.mated], counts) for h, found in zip(hits, each)]
        evidence.drawn[f"rank_{k}"] = np.mean(drawn, axis=0)
        evidence.right[f"rank_{k}"] = np.concatenate(hits)
    if fpirs and all((~found.mated).any() for found in each):
        rates = np.mean([_open_set_samples(found, who, counts, fpirs) for found in each], axis=0)
        for fpir, rate in zip(fpirs, rates.T):
            evidence.drawn[f"tpir_at_fpir_{fpir:g}"] = rate
    return evidence


def _open_set_samples(
    found: Search, who: np.ndarray, counts: np.ndarray, fpirs: Sequence[float]
) -> np.ndarray:
    """TPIR of rank 1 at every FPIR, in every sample `[S + 1, len(fpirs)]`."""
    mated, hits = found.mated, found.ranks == 1
    if not hits.any():
        return np.zeros((len(counts), len(fpirs)))
    scores = np.round(np.concatenate([found.own[hits], found.other[~mated]]), 12)
    probes = np.concatenate([who[hits], who[~mated]])
    drawn = verification_samples(
        scores, np.arange(len(scores)) < np.sum(hits), PairSamples(counts, probes, probes), fpirs
    )
    share = share_samples(hits[mated], who[mated], counts)
    return np.stack([drawn[f"tar_at_far_{fpir:g}"] * share for fpir in fpirs], axis=1)


def _each(searches: Searches) -> Sequence[Search]:
    return [searches] if isinstance(searches, Search) else list(searches)


def _open_set(found: Search, fpirs: Sequence[float], k: int) -> np.ndarray:
    mated = found.mated
    if mated.all() or not mated.any():
        raise ValueError(
            f"{np.sum(mated)} of {len(mated)} probes are in the gallery: an open set needs probes "
            "of both kinds"
        )
    hits = mated & (found.ranks <= k)
    if not hits.any():
        return np.zeros(len(fpirs))
    # Rounded, so that equal vectors tie whichever way their cosine was formed.
    own, other = np.round(found.own[hits], 12), np.round(found.other[~mated], 12)
    curve = RocCurve.from_scores(own, [other])
    return curve.tar_at_far(fpirs) * np.sum(hits) / np.sum(mated)
