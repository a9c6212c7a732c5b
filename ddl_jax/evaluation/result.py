"""What a protocol gives back: metrics, similarities for pictures, and the ROC curve."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ddl_jax.evaluation.bootstrap import interval
from ddl_jax.evaluation.evidence import Evidence
from ddl_jax.evaluation.hardest import FacePair, HardPair
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities

FARS = (1e-2, 1e-3)


@dataclasses.dataclass(frozen=True)
class ProtocolResult:
    """One protocol on one set of images.

    `metrics` holds shares (0..1), cosines and counts by name; NaN stands for "too little data to
    say" and becomes null in results.json. `similarities` may be a sample; metrics never are.
    `evidence` is what bounds and comparisons rest on, `hardest` numbers of the images of the worst
    pairs, `faces` some of these if a report may show them. A summary of other results has metrics
    and perhaps evidence.
    """

    metrics: Mapping[str, float]
    similarities: Similarities | None = None
    roc: RocCurve | None = None
    evidence: Evidence | None = None
    hardest: Sequence[HardPair] = ()
    faces: Sequence[FacePair] = ()


def roc_metrics(roc: RocCurve, fars: Sequence[float]) -> dict[str, float]:
    """EER, AUC, overlap; at each FAR the TAR, its threshold (cosine) and its false accepts.

    A target that allows fewer than 30 false accepts is not measured (`RocCurve.is_measured`): its
    TAR and threshold are NaN, "insufficient data" in tables. `tar_at_far` answers it all the same.
    An infinite threshold (nothing accepted) is NaN too.
    """
    values = {
        "genuine": roc.genuine_count,
        "impostors": roc.impostor_count,
        "eer": roc.equal_error_rate(),
        "auc": roc.area(),
        "overlap": roc.overlap(),
    }
    points = zip(fars, roc.tar_at_far(fars), roc.threshold_at_far(fars), roc.far_at_far(fars))
    for (far, tar, threshold, reached), measured in zip(points, roc.is_measured(fars)):
        values[f"tar_at_far_{far:g}"] = float(tar) if measured else np.nan
        finite = measured and np.isfinite(threshold)
        values[f"threshold_at_far_{far:g}"] = float(threshold) if finite else np.nan
        values[f"false_accepts_at_far_{far:g}"] = round(reached * roc.impostor_count)
    return values


def separation_metrics(similarities: Similarities) -> dict[str, float]:
    """E[S+], E[S-] and their difference (cosines), as in Fig. 1 of the DDL paper; d-prime."""
    return {
        "positive_mean": similarities.positive_mean,
        "negative_mean": similarities.negative_mean,
        "separation": similarities.separation,
        "d_prime": similarities.d_prime,
    }


def accuracy_metrics(accuracy: Mapping[str, float | np.ndarray]) -> dict[str, float]:
    """The scalars of `verification_accuracy`; `threshold` (cosine) is the mean over folds."""
    return {
        "accuracy": accuracy["accuracy"],
        "accuracy_std": accuracy["accuracy_std"],
        "threshold": float(np.mean(accuracy["thresholds"])),
    }


def with_bounds(metrics: Mapping[str, float], values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The metrics with NAME_low and NAME_high, the 95 % interval of bootstrap values `[S + 1]`.

    What is "too little data to say" has no bounds either.
    """
    found = dict(metrics)
    for name, drawn in values.items():
        _, low, high = interval(drawn)
        known = np.isfinite(metrics[name])
        found |= {
            f"{name}_low": low if known else np.nan,
            f"{name}_high": high if known else np.nan,
        }
    return found


def results_of(prefix: str, domains: Mapping[str, ProtocolResult]) -> dict[str, dict[str, float]]:
    """`{domain: result}` as `{"prefix/domain": metrics}`, the form of results.json."""
    return {f"{prefix}/{name}": dict(result.metrics) for name, result in domains.items()}
