"""Closed-set identification as a result: ranks, and the cosines behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ddl_jax.evaluation.bootstrap import PairSamples, identity_samples, share_samples
from ddl_jax.evaluation.evidence import Evidence, pair_evidence, people_or_pairs
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
    probe_ids, gallery_ids = np.asarray(probe_ids), np.asarray(gallery_ids)
    ranks = identification_ranks(probe, probe_ids, gallery, gallery_ids)
    probe, gallery = unit_rows(probe), unit_rows(gallery)
    mates = same_identity_pairs(probe_ids, gallery_ids)
    genuine = pair_cosines(np.concatenate([probe, gallery]), mates[0], len(probe) + mates[1])
    kept = ImpostorPairs()  # by rows of either side

    def impostors() -> Iterator[np.ndarray]:
        for part, cosines in cosine_blocks(probe, gallery):
            row, column = np.nonzero(probe_ids[part, None] != gallery_ids)
            scores = cosines[row, column]
            kept.add(scores, part.start + row, column)
            yield scores

    roc = RocCurve.from_scores(genuine, impostors())
    # The sum of all cosines is the product of the sums of all rows, and that of their squares that
    # of the matrices of second moments.
    total = float(probe.sum(axis=0) @ gallery.sum(axis=0)) - float(np.sum(genuine))
    squares = float(np.sum((probe.T @ probe) * (gallery.T @ gallery))) - float(genuine @ genuine)
    mean = total / roc.impostor_count
    similarities = Similarities(
        positive=thinned(genuine),
        negative=_some_impostors(probe, probe_ids, gallery, gallery_ids),
        positive_mean=float(np.mean(genuine)),
        negative_mean=mean,
        positive_std=float(np.std(genuine)),
        negative_std=float(np.sqrt(max(squares / roc.impostor_count - mean**2, 0.0))),
    )
    metrics = {
        "probes": len(probe),
        "gallery": len(gallery),
        "identities": len(np.unique(probe_ids)),
        **{f"rank_{k}": float(np.mean(ranks <= k)) for k in ks},
        **roc_metrics(roc, fars),
        **separation_metrics(similarities),
    }
    images = np.arange(len(probe) + len(gallery)) if images is None else np.asarray(images)
    scores, *rows, repeats = kept.with_genuine(genuine, *mates)
    is_genuine = np.arange(len(scores)) < len(genuine)
    evidence = _evidence(
        *(scores, is_genuine, rows, repeats, ranks, probe_ids, gallery_ids),
        *(ks, fars, samples),
    )
    return ProtocolResult(
        with_bounds(metrics, evidence.drawn),
        similarities,
        roc,
        evidence,
        hardest_pairs(scores, is_genuine, images[rows[0]], images[len(probe) + rows[1]]),
    )


def _evidence(
    scores: np.ndarray,
    genuine: np.ndarray,
    rows: Sequence[np.ndarray],
    repeats: np.ndarray,
    ranks: np.ndarray,
    probe_ids: np.ndarray,
    gallery_ids: np.ndarray,
    ks: Sequence[int],
    fars: Sequence[float],
    samples: int,
) -> Evidence:
    people, who = np.unique(probe_ids, return_inverse=True)
    place = np.minimum(np.searchsorted(people, gallery_ids), len(people) - 1)
    whose = np.where(people[place] == gallery_ids, place, len(people))  # a distractor: the last
    counts = identity_samples(len(people), samples)
    once = np.ones((len(counts), 1), counts.dtype)
    pairs = PairSamples(
        np.concatenate([counts, once], axis=1),
        who[rows[0]],
        whose[rows[1]],
        repeats,
    )
    rests_on = people_or_pairs(len(people), len(scores))
    evidence = pair_evidence(scores, genuine, pairs, fars, rests_on=rests_on)
    for k in ks:
        evidence.drawn[f"rank_{k}"] = share_samples(ranks <= k, who, counts)
        evidence.right[f"rank_{k}"] = ranks <= k
    return evidence


def _some_impostors(
    probe: np.ndarray, probe_ids: np.ndarray, gallery: np.ndarray, gallery_ids: np.ndarray
) -> np.ndarray:
    if len(probe) * len(gallery) <= MOST_SHOWN:
        return (probe @ gallery.T)[probe_ids[:, None] != gallery_ids]
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, [[len(probe)], [len(gallery)]], (2, MOST_SHOWN))
    other = probe_ids[rows] != gallery_ids[columns]
    both = np.concatenate([probe, gallery])
    return pair_cosines(both, rows[other], len(probe) + columns[other])
