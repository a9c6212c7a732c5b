"""Closed-set identification as a result: ranks, and the cosines behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ddl_jax.evaluation.bootstrap import PairSamples, identity_samples, share_samples
from ddl_jax.evaluation.evidence import pair_evidence, people_or_pairs
from ddl_jax.evaluation.hardest import hardest_pairs
from ddl_jax.evaluation.identification import identification_ranks
from ddl_jax.evaluation.impostors import ImpostorPairs
from ddl_jax.evaluation.result import (
    FARS,
    ProtocolResult,
    roc_metrics,
    separation_metrics,
    with_bounds,
)
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import (
    MOST_SHOWN,
    Similarities,
    cosine_blocks,
    pair_cosines,
    same_identity_pairs,
    thinned,
    unit_rows,
)


def closed_set(
    probe: np.ndarray,
    probe_ids: np.ndarray,
    gallery: np.ndarray,
    gallery_ids: np.ndarray,
    *,
    ks: Sequence[int],
    fars: Sequence[float] = FARS,
    samples: int = 1000,
    images: np.ndarray | None = None,
) -> ProtocolResult:
    """Rank-k, and TAR@FAR, EER and separation over all cosines of a probe and a gallery row.

    All with bounds over people: for ranks those of the probes are resampled, for cosines those of
    either side but distractors, who stay.

    Args:
        probe, gallery: `[P, D]`, `[G, D]`; normalised here.
        probe_ids, gallery_ids: `[P]`, `[G]` whole numbers; a gallery row of an identity that no
            probe has is a distractor.
        ks: the ranks to report.
        fars: targets of TAR@FAR.
        samples: of the bootstrap.
        images: `[P + G]` the number of an image of every probe, then of every gallery row, for the
            hardest pairs; as they stand unless it is given.

    Raises:
        ValueError: shapes that do not agree, a probe whose identity is not in the gallery,
            embeddings that are not finite.
    """
    sides = _Sides(
        unit_rows(probe), np.asarray(probe_ids), unit_rows(gallery), np.asarray(gallery_ids)
    )
    ranks = identification_ranks(probe, sides.probe_ids, gallery, sides.gallery_ids)
    mates = same_identity_pairs(sides.probe_ids, sides.gallery_ids)
    genuine = sides.cosines(*mates)
    roc, kept = _roc(sides, genuine)
    similarities = _similarities(sides, genuine, roc.impostor_count)
    people = _People.of(sides.probe_ids, samples)
    metrics = {
        "probes": len(sides.probe),
        "gallery": len(sides.gallery),
        "identities": len(people.ids),
        **{f"rank_{k}": float(np.mean(ranks <= k)) for k in ks},
        **roc_metrics(roc, fars),
        **separation_metrics(similarities),
    }
    scores, *rows, repeats = kept.with_genuine(genuine, *mates)
    is_genuine = np.arange(len(scores)) < len(genuine)
    pairs = people.of_pairs(rows[0], sides.gallery_ids[rows[1]], repeats)
    rests_on = people_or_pairs(len(people.ids), len(scores))
    evidence = pair_evidence(scores, is_genuine, pairs, fars, rests_on=rests_on)
    for k in ks:
        evidence.drawn[f"rank_{k}"] = share_samples(ranks <= k, people.who, people.counts)
        evidence.right[f"rank_{k}"] = ranks <= k
    first, second = rows[0], len(sides.probe) + rows[1]
    if images is not None:
        first, second = np.asarray(images)[first], np.asarray(images)[second]
    hardest = hardest_pairs(scores, is_genuine, first, second)
    metrics = with_bounds(metrics, evidence.drawn)
    return ProtocolResult(metrics, similarities, roc, evidence, hardest)


class _Sides(NamedTuple):
    """Probes and gallery, their rows of length 1."""

    probe: np.ndarray
    probe_ids: np.ndarray
    gallery: np.ndarray
    gallery_ids: np.ndarray

    def cosines(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Of probes and gallery rows."""
        return pair_cosines(
            np.concatenate([self.probe, self.gallery]), rows, len(self.probe) + columns
        )


class _People(NamedTuple):
    """Those of the probes, who are resampled."""

    ids: np.ndarray  # [I], ascending
    who: np.ndarray  # [P], of the probes
    counts: np.ndarray  # [S + 1, I]

    @classmethod
    def of(cls, probe_ids: np.ndarray, samples: int) -> _People:
        ids, who = np.unique(probe_ids, return_inverse=True)
        return cls(ids, who, identity_samples(len(ids), samples))

    def of_pairs(
        self, probes: np.ndarray, gallery_ids: np.ndarray, repeats: np.ndarray
    ) -> PairSamples:
        """Of pairs of a probe, by number, and a gallery row, by its identity."""
        place = np.minimum(np.searchsorted(self.ids, gallery_ids), len(self.ids) - 1)
        # A distractor, the last, counts once in every sample.
        whose = np.where(self.ids[place] == gallery_ids, place, len(self.ids))
        counts = np.pad(self.counts, ((0, 0), (0, 1)), constant_values=1)
        return PairSamples(counts, self.who[probes], whose, repeats)


def _roc(sides: _Sides, genuine: np.ndarray) -> tuple[RocCurve, ImpostorPairs]:
    """Of all cosines, and the impostor pairs that stand for all, by rows of either side."""
    kept = ImpostorPairs()

    def impostors() -> Iterator[np.ndarray]:
        for part, cosines in cosine_blocks(sides.probe, sides.gallery):
            row, column = np.nonzero(sides.probe_ids[part, None] != sides.gallery_ids)
            scores = cosines[row, column]
            kept.add(scores, part.start + row, column)
            yield scores

    return RocCurve.from_scores(genuine, impostors()), kept


def _similarities(sides: _Sides, genuine: np.ndarray, impostors: int) -> Similarities:
    """Moments of all cosines, and some of them.

    The sum of all cosines is the product of the sums of all rows, and that of their squares that of
    the matrices of second moments.
    """
    probe, gallery = sides.probe, sides.gallery
    total = float(probe.sum(axis=0) @ gallery.sum(axis=0)) - float(np.sum(genuine))
    squares = float(np.sum((probe.T @ probe) * (gallery.T @ gallery))) - float(genuine @ genuine)
    mean = total / impostors
    return Similarities(
        positive=thinned(genuine),
        negative=_some_impostors(sides),
        positive_mean=float(np.mean(genuine)),
        negative_mean=mean,
        positive_std=float(np.std(genuine)),
        negative_std=float(np.sqrt(max(squares / impostors - mean**2, 0.0))),
    )


def _some_impostors(sides: _Sides) -> np.ndarray:
    probe, probe_ids, gallery, gallery_ids = sides
    if len(probe) * len(gallery) <= MOST_SHOWN:
        return (probe @ gallery.T)[probe_ids[:, None] != gallery_ids]
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, [[len(probe)], [len(gallery)]], (2, MOST_SHOWN))
    other = probe_ids[rows] != gallery_ids[columns]
    return sides.cosines(rows[other], columns[other])
