"""1:N closed-set identification: the rank of the right identity in a gallery."""

from __future__ import annotations

import numpy as np

from ddl_jax.evaluation.similarity import cosine_blocks, unit_rows

# Equal vectors can differ by rounding after a blocked matrix product: nearer than this is a tie.
TIE = 1e-12


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
    """Rank `[P]`, from 1, of the best gallery row of the probe's identity among all rows."""
    probe, gallery = unit_rows(probe), unit_rows(gallery)
    probe_ids, gallery_ids = np.asarray(probe_ids), np.asarray(gallery_ids)
    _check(probe, probe_ids, gallery, gallery_ids)
    ranks = np.empty(len(probe), np.int64)
    for part, cosines in cosine_blocks(probe, gallery):
        mine = probe_ids[part, None] == gallery_ids
        best = np.max(cosines, axis=1, where=mine, initial=-np.inf, keepdims=True)
        # Rows of the same identity never stand before its best row: only others are counted.
        ranks[part] = 1 + np.sum(~mine & (cosines >= best - TIE), axis=1)
    return ranks


def _check(
    probe: np.ndarray, probe_ids: np.ndarray, gallery: np.ndarray, gallery_ids: np.ndarray
) -> None:
    for name, rows, ids in (("probe", probe, probe_ids), ("gallery", gallery, gallery_ids)):
        if len(rows) == 0 or ids.shape != (len(rows),):
            raise ValueError(f"{name}: {len(rows)} rows and ids of shape {ids.shape}: one id a row")
    unknown = np.setdiff1d(probe_ids, gallery_ids)
    if len(unknown):
        raise ValueError(
            f"probe identity {unknown[0]} has no gallery entry ({len(unknown)} such identities): "
            "add one, or leave its probes out (closed set)"
        )
