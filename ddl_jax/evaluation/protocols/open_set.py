"""Open-set identification (IJB's 1:N): probes of people who may not be in the gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddl_jax.evaluation.identification import identification_ranks
from ddl_jax.evaluation.similarity import cosine_blocks, unit_rows

FPIRS = (1e-2, 1e-1)


def open_set_metrics(
    probe: np.ndarray,
    probe_ids: np.ndarray,
    gallery: np.ndarray,
    gallery_ids: np.ndarray,
    *,
    ks: Sequence[int] = (1, 5, 10),
    fpirs: Sequence[float] = FPIRS,
) -> dict[str, float]:
    """Rank-k of the probes that are in the gallery, and TPIR at FPIR.

    FPIR(t) is the share of probes from outside the gallery whose best cosine reaches t; TPIR(t) the
    share of those inside whose own gallery row is the best of all and reaches t. TPIR is the
    largest at any threshold with FPIR <= target; NaN where target * probes outside < 1.

    Args:
        probe, gallery: `[P, D]`, `[G, D]`; normalised here.
        probe_ids, gallery_ids: `[P]`, `[G]`, each gallery identity once.
        ks, fpirs: what to report.

    Raises:
        ValueError: shapes that do not agree, no probe inside the gallery, an identity that is in it
            twice, embeddings that are not finite.
    """
    probe_ids, gallery_ids = np.asarray(probe_ids), np.asarray(gallery_ids)
    probe, gallery = unit_rows(probe), unit_rows(gallery)
    if len(np.unique(gallery_ids)) != len(gallery_ids):
        raise ValueError("an identity is in the gallery twice: merge its templates")
    inside = np.isin(probe_ids, gallery_ids)
    if not inside.any():
        raise ValueError(f"none of {len(probe)} probes is of a person in the gallery")
    ranks = identification_ranks(probe[inside], probe_ids[inside], gallery, gallery_ids)
    best = np.concatenate([c.max(axis=1) for _, c in cosine_blocks(probe, gallery)])
    # Of a recognized probe the best cosine is the own one.
    recognized = np.sort(best[inside][ranks == 1])
    outside = np.sort(best[~inside])[::-1]
    metrics = {
        "probes_inside": int(inside.sum()),
        "probes_outside": int(len(outside)),
        "gallery": len(gallery),
        **{f"rank_{k}": float(np.mean(ranks <= k)) for k in ks},
    }
    for fpir in fpirs:
        allowed = int(np.floor(fpir * len(outside) + 1e-9))  # .1 * 30 is a little more than 3
        tpir = np.nan
        if allowed:
            # So many may reach the threshold: it lies above the next one.
            limit = outside[allowed] if allowed < len(outside) else -np.inf
            tpir = (len(recognized) - np.searchsorted(recognized, limit, "right")) / len(ranks)
        metrics[f"tpir_at_fpir_{fpir:g}"] = float(tpir)
    return metrics
