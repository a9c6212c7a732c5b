"""Closed-set identification as a result: ranks, and the cosines behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ddl_jax.evaluation.identification import identification_ranks
from ddl_jax.evaluation.result import FARS, ProtocolResult, roc_metrics, separation_metrics
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import (
    MOST_SHOWN,
    Similarities,
    cosine_blocks,
    pair_cosines,
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
) -> ProtocolResult:
    """Rank-k, and TAR@FAR, EER and separation over all cosines of a probe and a gallery row.

    Args:
        probe, gallery: `[P, D]`, `[G, D]`; normalised here.
        probe_ids, gallery_ids: `[P]`, `[G]` whole numbers; a gallery row of an identity that no
            probe has is a distractor.
        ks: the ranks to report.
        fars: targets of TAR@FAR.

    Raises:
        ValueError: shapes that do not agree, a probe whose identity is not in the gallery,
            embeddings that are not finite.
    """
    probe_ids, gallery_ids = np.asarray(probe_ids), np.asarray(gallery_ids)
    ranks = identification_ranks(probe, probe_ids, gallery, gallery_ids)
    probe, gallery = unit_rows(probe), unit_rows(gallery)
    genuine = _genuine(probe, probe_ids, gallery, gallery_ids)

    def impostors() -> Iterator[np.ndarray]:
        for part, cosines in cosine_blocks(probe, gallery):
            yield cosines[probe_ids[part, None] != gallery_ids]

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
    return ProtocolResult(metrics, similarities, roc)


def _genuine(
    probe: np.ndarray, probe_ids: np.ndarray, gallery: np.ndarray, gallery_ids: np.ndarray
) -> np.ndarray:
    order = np.argsort(gallery_ids, kind="stable")
    starts = np.searchsorted(gallery_ids[order], probe_ids, side="left")
    counts = np.searchsorted(gallery_ids[order], probe_ids, side="right") - starts
    rows = np.repeat(np.arange(len(probe)), counts)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    matches = order[np.repeat(starts, counts) + step]
    both = np.concatenate([probe, gallery])
    return pair_cosines(both, rows, len(probe) + matches)


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
