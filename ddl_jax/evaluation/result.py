"""What a protocol gives back: metrics, similarities for pictures, and the ROC curve."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities

FARS = (1e-2, 1e-3)


@dataclasses.dataclass(frozen=True)
class ProtocolResult:
    """One protocol on one set of images.

    `metrics` holds shares (0..1), cosines and counts by name; NaN stands for "too little data to
    say" and becomes null in results.json. `similarities` may be a sample; metrics never are. A
    summary of other results has metrics alone.
    """

    metrics: Mapping[str, float]
    similarities: Similarities | None = None
    roc: RocCurve | None = None


def roc_metrics(roc: RocCurve, fars: Sequence[float]) -> dict[str, float]:
    """TAR and cosine threshold at each FAR, equal error rate, and the counts behind them.

    A FAR below 1 / impostors cannot be measured: its TAR and threshold are NaN, not a number
    made from no false accept at all. An infinite threshold (nothing accepted) is NaN too.
    """
    values = {"genuine": roc.genuine_count, "impostors": roc.impostor_count}
    values["eer"] = roc.equal_error_rate()
    for far, tar, threshold in zip(fars, roc.tar_at_far(fars), roc.threshold_at_far(fars)):
        measurable = far * roc.impostor_count >= 1
        values[f"tar_at_far_{far:g}"] = float(tar) if measurable else np.nan
        values[f"threshold_at_far_{far:g}"] = (
            float(threshold) if measurable and np.isfinite(threshold) else np.nan
        )
    return values


def separation_metrics(similarities: Similarities) -> dict[str, float]:
    """E[S+], E[S-] and their difference (cosines), as in Fig. 1 of the DDL paper."""
    return {
        "positive_mean": similarities.positive_mean,
        "negative_mean": similarities.negative_mean,
        "separation": similarities.separation,
    }


def accuracy_metrics(accuracy: Mapping[str, float | np.ndarray]) -> dict[str, float]:
    """The scalars of `verification_accuracy`; `threshold` (cosine) is the mean over folds."""
    return {
        "accuracy": accuracy["accuracy"],
        "accuracy_std": accuracy["accuracy_std"],
        "threshold": float(np.mean(accuracy["thresholds"])),
    }


def results_of(prefix: str, domains: Mapping[str, ProtocolResult]) -> dict[str, dict[str, float]]:
    """`{domain: result}` as `{"prefix/domain": metrics}`, the form of results.json."""
    return {f"{prefix}/{name}": dict(result.metrics) for name, result in domains.items()}
