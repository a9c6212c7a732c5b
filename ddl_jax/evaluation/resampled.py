"""The measures of pairs on bootstrap samples: `[S + 1]` values for each, the data's own first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddl_jax.evaluation.bootstrap import PairSamples
from ddl_jax.evaluation.roc import areas, corners, equal_error_rates, finite_scores, overlaps
from ddl_jax.evaluation.verification import GRID, best_of_others, check_both_kinds, fold_of_pairs


def verification_samples(
    scores: np.ndarray, genuine: np.ndarray, samples: PairSamples, fars: Sequence[float]
) -> dict[str, np.ndarray]:
    """`tar_at_far_*`, `eer`, `auc`, `overlap`, `separation`, `d_prime` -> arrays `[S + 1]`.

    Each is what the functions without weights say of a sample: the largest TAR with FAR <= target;
    EER and area of the curve whose corners are joined by lines; E[S+] - E[S-] and d-prime. NaN
    where a sample drew no genuine or no impostor pair.

    Args:
        scores: `[N]`, larger = more alike.
        genuine: `[N]` bool.
        samples: of the same N pairs.
        fars: targets; whether there are impostors enough for one says `RocCurve.is_measured`.
    """
    scores, genuine = finite_scores(scores, "pair"), np.asarray(genuine, bool)
    if not scores.shape == genuine.shape == samples.first.shape:
        raise ValueError(
            f"scores {scores.shape}, genuine {genuine.shape} and samples of "
            f"{len(samples.first)} pairs: give one of each for every pair"
        )
    check_both_kinds(genuine)
    order = np.argsort(-scores, kind="stable")
    own, other = order[genuine[order]], order[~genuine[order]]  # falling, as thresholds
    parts = [
        _measures(scores[own], scores[other], w_own, w_other, fars)
        for w_own, w_other in zip(*_together(samples, own, other))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def accuracy_samples(
    distances: np.ndarray,
    genuine: np.ndarray,
    samples: PairSamples,
    *,
    folds: int | np.ndarray = 10,
) -> np.ndarray:
    """`verification_accuracy` -> `[S + 1]`, its thresholds chosen anew in every sample.

    Folds keep their pairs; one that no drawn pair is in is left out of its sample's mean.

    Args:
        distances: `[N]` squared L2 distances of unit rows (2 - 2 cosine).
        genuine: `[N]` bool.
        samples: of the same N pairs.
        folds: as `verification_accuracy`.
    """
    genuine = np.asarray(genuine, bool)
    fold, sizes = fold_of_pairs(folds, len(genuine))
    check_both_kinds(genuine)
    # "Same" is distance < threshold: a pair is accepted from its own cell of the grid on.
    cell = np.searchsorted(GRID, distances, side="right") + fold * (len(GRID) + 1)
    cells = len(sizes) * (len(GRID) + 1)
    sign = np.where(genuine, 1.0, -1.0)
    found = []
    for block in samples.blocks():
        for weights in block:
            steps = np.bincount(cell, weights * sign, minlength=cells).reshape(len(sizes), -1)
            rejected = np.bincount(fold, weights * ~genuine, minlength=len(sizes))
            size = np.bincount(fold, weights, minlength=len(sizes))
            correct = np.cumsum(steps, axis=1)[:, :-1] + rejected[:, None]
            drawn = size > 0
            right = correct[np.arange(len(sizes)), best_of_others(correct)]
            found.append(np.mean(right[drawn] / size[drawn]) if drawn.sum() > 1 else np.nan)
    return np.array(found)


def _together(samples: PairSamples, own: np.ndarray, other: np.ndarray):
    """Weights of the genuine and of the impostor pairs, for the same samples at a time."""
    both = samples.part(np.concatenate([own, other])).blocks()
    halves = ((block[:, : len(own)], block[:, len(own) :]) for block in both)
    return zip(*halves)


def _measures(
    genuine: np.ndarray,
    impostor: np.ndarray,
    w_genuine: np.ndarray,
    w_impostor: np.ndarray,
    fars: Sequence[float],
) -> dict[str, np.ndarray]:
    """Of scores `[G]`, `[I]`, falling, with weights `[s, G]`, `[s, I]` -> `[s]` each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        far, tar = _curves(genuine, impostor, w_genuine, w_impostor)
        means, variances = zip(_moments(genuine, w_genuine), _moments(impostor, w_impostor))
        separation, spread = means[0] - means[1], np.sqrt(sum(variances) / 2)
        found = {
            "eer": equal_error_rates(far, tar),
            "auc": areas(far, tar),
            "overlap": overlaps(far, tar),
            "separation": separation,
            "d_prime": np.where(spread > 0, separation / spread, np.nan),
        }
    last = np.stack([np.searchsorted(row, fars, side="right") - 1 for row in far])
    reached = np.take_along_axis(tar, np.maximum(last, 0), 1)  # of a curve of NaN: NaN
    return found | {f"tar_at_far_{target:g}": reached[:, i] for i, target in enumerate(fars)}


def _curves(
    genuine: np.ndarray, impostor: np.ndarray, w_genuine: np.ndarray, w_impostor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """FAR and TAR `[s, corners]` at the corners of `RocCurve`."""
    ends = np.flatnonzero(np.append(genuine[1:] < genuine[:-1], True))  # of runs of equals
    accepted, falsely = (
        np.pad(np.cumsum(weights, axis=1), ((0, 0), (1, 0))) for weights in (w_genuine, w_impostor)
    )
    reached, passed = (
        falsely[:, np.searchsorted(-impostor, -genuine[ends], side=side)]
        for side in ("right", "left")
    )
    after = accepted[:, ends + 1]
    before = np.pad(after[:, :-1], ((0, 0), (1, 0)))
    far = corners(np.zeros_like(passed[:, 0]), passed, reached, falsely[:, -1])
    tar = corners(np.zeros_like(before[:, 0]), before, after, accepted[:, -1])
    return far / falsely[:, -1:], tar / accepted[:, -1:]


def _moments(scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance `[s]` of scores `[n]` with weights `[s, n]`."""
    center = np.mean(scores)
    total = np.sum(weights, axis=1)
    mean = weights @ (scores - center) / total
    return center + mean, weights @ np.square(scores - center) / total - mean**2
