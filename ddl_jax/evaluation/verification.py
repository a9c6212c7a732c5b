"""1:1 verification: k-fold accuracy, TAR at a FAR, and template features (IJB)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import BLOCK, check_finite, pair_distances, unit_rows

# The field's grid of squared L2 distances, as LFW's and insightface's verification use it.
GRID = np.arange(0, 4, 0.01)


def verification_accuracy(
    embeddings: np.ndarray, issame: np.ndarray, *, folds: int | np.ndarray = 10
) -> dict[str, float | np.ndarray]:
    """k-fold accuracy of "same person" where the squared L2 distance is below a threshold.

    The threshold of a fold is the one with the best accuracy on all other folds, the smallest
    of equals, on the grid 0, .01, ..., 3.99. For unit rows distance = 2 - 2 cosine.

    Args:
        embeddings: `[2N, D]`, pair i is rows 2i and 2i+1; normalised here, a flip sum included.
        issame: `[N]` bool.
        folds: a number of contiguous, unshuffled folds (scikit-learn's KFold, as insightface),
            or the fold of every pair `[N]` where the protocol publishes them.

    Returns:
        `accuracy` (mean over folds), `accuracy_std` (population, over folds),
        `fold_accuracies` and `thresholds` (cosine: accept above it) in the order of folds.

    Raises:
        ValueError: shapes that do not agree, one kind of pair only, fewer than two folds, fewer
            pairs than folds, an embedding that is not finite.

    Computed in float64; insightface stays in the dtype of its embeddings, which can move a pair
    that lies on a grid point.
    """
    return distance_accuracy(_distances(embeddings, issame), issame, folds=folds)


def verification_decisions(
    embeddings: np.ndarray, issame: np.ndarray, *, folds: int | np.ndarray = 10
) -> np.ndarray:
    """Which pairs `[N]` `verification_accuracy` decides rightly: what `mcnemar` compares."""
    return decided_rightly(_distances(embeddings, issame), issame, folds=folds)


def decided_rightly(
    distances: np.ndarray, issame: np.ndarray, *, folds: int | np.ndarray = 10
) -> np.ndarray:
    """`verification_decisions` of squared L2 distances `[N]` of unit rows."""
    issame = np.asarray(issame, bool)
    fold, _, _, best = _thresholds(distances, issame, folds)
    return (distances < GRID[best][fold]) == issame


def distance_accuracy(
    distances: np.ndarray, issame: np.ndarray, *, folds: int | np.ndarray = 10
) -> dict[str, float | np.ndarray]:
    """`verification_accuracy` of squared L2 distances `[N]` of unit rows."""
    _, sizes, correct, best = _thresholds(distances, np.asarray(issame, bool), folds)
    accuracies = correct[np.arange(len(sizes)), best] / sizes
    return {
        "accuracy": float(np.mean(accuracies)),
        "accuracy_std": float(np.std(accuracies)),
        "fold_accuracies": accuracies,
        "thresholds": 1 - GRID[best] / 2,
    }


def tar_at_far(
    scores: np.ndarray, genuine: np.ndarray, fars: Sequence[float], *, rule: str = "at_most"
) -> np.ndarray:
    """True accept rates at the false accept rates `fars`.

    Args:
        scores: `[n]`, larger = more alike.
        genuine: `[n]` bool, same person.
        fars: targets in 0..1.
        rule: "at_most" takes the largest TAR among thresholds with FAR <= target. "nearest" is
            insightface's IJB rule: the TAR where FAR is nearest to the target, be it above. With
            few impostors it reports a better number for a FAR that was not met.

    Returns:
        `[len(fars)]`. A target below 1 / impostors is answered at FAR 0 by "at_most": say how
        many impostors there were when you report it.

    Raises:
        ValueError: no genuine or no impostor score, a score not finite, a FAR outside 0..1.
    """
    scores, genuine = np.asarray(scores), np.asarray(genuine, bool)
    if scores.ndim != 1 or scores.shape != genuine.shape:
        raise ValueError(f"scores {scores.shape} and genuine {genuine.shape} must both be [n]")
    outside = [far for far in fars if not 0 <= far <= 1]
    if outside:
        raise ValueError(f"FAR {outside[0]} is not a share: give values from 0 to 1")
    curve = RocCurve.from_scores(scores[genuine], [scores[~genuine]])
    if rule == "at_most":
        return curve.tar_at_far(fars)
    if rule == "nearest":
        return _nearest(scores, genuine, fars)
    raise ValueError(f"rule {rule!r} is unknown: give 'at_most' or 'nearest'")


def template_features(
    features: np.ndarray, templates: np.ndarray, medias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One feature for each template of IJB: mean over each media, sum over medias, length 1.

    Frames of one video thus weigh as much as one photograph.

    Args:
        features: `[n, D]`, as the network gives them; their norms weigh inside a template.
        templates, medias: `[n]`; a media number may come again in another template.

    Returns:
        `(features[T, D]` of length 1, `template_ids[T]` ascending).

    Raises:
        ValueError: lengths that do not agree, no image, a feature that is not finite.
    """
    features = np.asarray(features)
    if not len(features) == len(templates) == len(medias):
        raise ValueError(
            f"{len(features)} features, {len(templates)} templates and {len(medias)} medias: "
            "give one of each for every image"
        )
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"features have shape {features.shape}: [n, D] with n > 0 are needed")
    template_ids, template = np.unique(templates, return_inverse=True)
    _, media = np.unique(medias, return_inverse=True)
    # A media of two templates counts once in each.
    _, group, size = np.unique(
        template * (media.max() + 1) + media, return_inverse=True, return_counts=True
    )
    weight = 1 / size[group]
    order = np.argsort(template, kind="stable")
    sums = np.zeros((len(template_ids), features.shape[1]))
    for start in range(0, len(order), BLOCK):  # float64 of some rows, never of all
        rows = order[start : start + BLOCK]
        block = features[rows].astype(np.float64)
        check_finite(block, rows)
        begins = np.flatnonzero(np.diff(template[rows], prepend=-1))
        sums[template[rows[begins]]] += np.add.reduceat(block * weight[rows, None], begins)
    return unit_rows(sums), template_ids


def fold_of_pairs(folds: int | np.ndarray, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """(fold of every pair `[N]`, 0..F-1 in the order of their names; pairs of every fold `[F]`)."""
    if np.ndim(folds) == 0:
        if not 2 <= folds <= pairs:
            raise ValueError(f"folds={folds} of {pairs} pairs: give 2 to {pairs}")
        # KFold's own rule: the first pairs % folds folds hold one pair more.
        sizes = pairs // folds + (np.arange(folds) < pairs % folds)
        return np.repeat(np.arange(folds), sizes), sizes
    if np.shape(folds) != (pairs,):
        raise ValueError(
            f"folds have shape {np.shape(folds)} for {pairs} pairs: give one for each pair"
        )
    _, fold, sizes = np.unique(folds, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError("all pairs are in one fold: a threshold needs at least one other fold")
    return fold, sizes


def best_of_others(correct: np.ndarray) -> np.ndarray:
    """For each fold the threshold with the most right decisions `[..., F, T]` on all others."""
    return np.argmax(correct.sum(axis=-2, keepdims=True) - correct, axis=-1)  # first of equals


def check_both_kinds(same: np.ndarray) -> None:
    """Raises ValueError where all pairs are of one kind."""
    if same.all() or not same.any():
        raise ValueError(f"{np.sum(same)} of {len(same)} pairs are genuine: both kinds are needed")


def _distances(embeddings: np.ndarray, issame: np.ndarray) -> np.ndarray:
    unit = unit_rows(embeddings)
    if len(unit) != 2 * len(issame):
        raise ValueError(f"{len(unit)} embeddings for {len(issame)} pairs: give two for each pair")
    first = np.arange(0, len(unit), 2)
    return pair_distances(unit, first, first + 1)


def _thresholds(
    distances: np.ndarray, issame: np.ndarray, folds: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(fold of every pair, sizes of the folds `[F]`, right decisions `[F, T]`, best of T `[F]`)."""
    fold, sizes = fold_of_pairs(folds, len(issame))
    check_both_kinds(issame)
    parts = [fold == number for number in range(len(sizes))]
    correct = np.stack([_correct(distances[part], issame[part]) for part in parts])
    return fold, sizes, correct, best_of_others(correct)


def _correct(distances: np.ndarray, issame: np.ndarray) -> np.ndarray:
    """Number of right decisions at every threshold of the grid; "same" is distance < threshold."""
    accepted = np.searchsorted(np.sort(distances[issame]), GRID, side="left")
    wrongly = np.searchsorted(np.sort(distances[~issame]), GRID, side="left")
    return accepted + np.sum(~issame) - wrongly


def _nearest(scores: np.ndarray, genuine: np.ndarray, fars: Sequence[float]) -> np.ndarray:
    from sklearn import metrics  # slow to import, and training needs none of it

    far, tar, _ = metrics.roc_curve(genuine, scores)
    # Reversed, as there: of corners with the same FAR the one with the largest TAR comes first.
    far, tar = far[::-1], tar[::-1]
    return np.array([tar[np.argmin(np.abs(far - target))] for target in fars])
