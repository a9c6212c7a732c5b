"""Verification of a given list of pairs, as CFP, LFW and others publish them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from etils import epath

from ddl_jax.data.table import read_table
from ddl_jax.errors import UserError
from ddl_jax.evaluation.bootstrap import PairSamples
from ddl_jax.evaluation.evidence import pair_evidence, people_or_pairs
from ddl_jax.evaluation.hardest import hardest_pairs
from ddl_jax.evaluation.resampled import accuracy_samples
from ddl_jax.evaluation.result import (
    FARS,
    ProtocolResult,
    accuracy_metrics,
    roc_metrics,
    separation_metrics,
    with_bounds,
)
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities, pair_cosines, pair_distances, unit_rows
from ddl_jax.evaluation.verification import (
    check_both_kinds,
    decided_rightly,
    distance_accuracy,
)


def pairs_protocol(
    embeddings: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    same: np.ndarray,
    *,
    fold: np.ndarray | None = None,
    identities: np.ndarray | None = None,
    samples: int = 1000,
    seed: int = 0,
    fars: Sequence[float] = FARS,
) -> ProtocolResult:
    """Accuracy over folds, TAR@FAR, EER, AUC and separation of pairs of images.

    Args:
        embeddings: `[n, D]`, normalised here.
        first, second: `[N]` rows of embeddings.
        same: `[N]` bool.
        fold: `[N]` published folds; None means ten contiguous ones.
        identities: `[n]` who is on each image: the bounds `*_low` and `*_high` of all these are
            95 % over identities; None: over pairs, too narrow where people come in several.
        samples, seed: of the bootstrap.
        fars: targets of TAR@FAR, over all pairs together.

    Raises:
        ValueError: lists that do not agree, one kind of pair only, embeddings not finite,
            identities that contradict `same`.
    """
    first, second, same = _checked(first, second, same)
    unit = unit_rows(embeddings)
    distances, folds = pair_distances(unit, first, second), 10 if fold is None else fold
    accuracy = distance_accuracy(distances, same, folds=folds)
    cosines = pair_cosines(unit, first, second)
    similarities = Similarities(cosines[same], cosines[~same])
    roc = RocCurve.from_scores(cosines[same], [cosines[~same]])
    metrics = {
        "pairs": len(same),
        **accuracy_metrics(accuracy),
        **roc_metrics(roc, fars),
        **separation_metrics(similarities),
    }
    if identities is None:
        pairs = PairSamples.of_pairs(len(same), samples=samples, seed=seed)
    else:
        pairs = _resampled(np.asarray(identities), len(unit), first, second, same, samples, seed)
    people = None if identities is None else pairs.counts.shape[1]
    rests_on = people_or_pairs(people, len(same))
    evidence = pair_evidence(cosines, same, pairs, fars, rests_on=rests_on)
    evidence.drawn["accuracy"] = accuracy_samples(distances, same, pairs, folds=folds)
    evidence.right["accuracy"] = decided_rightly(distances, same, folds=folds)
    hardest = hardest_pairs(cosines, same, first, second)
    metrics = with_bounds(metrics, evidence.drawn)
    return ProtocolResult(metrics, similarities, roc, evidence, hardest)


def _checked(
    first: np.ndarray, second: np.ndarray, same: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second, same = np.asarray(first), np.asarray(second), np.asarray(same, bool)
    if not len(first) == len(second) == len(same):
        raise ValueError(
            f"{len(first)} first, {len(second)} second and {len(same)} same: give as many of each"
        )
    check_both_kinds(same)
    return first, second, same


def _resampled(
    identities: np.ndarray,
    images: int,
    first: np.ndarray,
    second: np.ndarray,
    same: np.ndarray,
    samples: int,
    seed: int,
) -> PairSamples:
    if identities.shape != (images,):
        raise ValueError(f"identities {identities.shape} of {images} images: give one for each")
    first, second = identities[first], identities[second]
    wrong = np.flatnonzero((first == second) != same)
    if len(wrong):
        i = wrong[0]
        raise ValueError(
            f"pair {i} is of identities {first[i]} and {second[i]}, but same is {same[i]:d} "
            f"({len(wrong)} such pairs)"
        )
    return PairSamples.of_identities(first, second, samples=samples, seed=seed)


@dataclasses.dataclass(frozen=True)
class PairsList:
    """A file of pairs: image paths, `same[N]`, `fold[N]` or None, and the place of every pair."""

    path: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    same: np.ndarray
    fold: np.ndarray | None
    lines: tuple[str, ...]

    @property
    def images(self) -> tuple[str, ...]:
        """Every image once, sorted."""
        return tuple(sorted({*self.first, *self.second}))

    def rows(self, images: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Where the pairs' images are in `images` -> (first[N], second[N]); else a UserError."""
        row = {image: i for i, image in enumerate(images)}
        for pair in zip(self.lines, self.first, self.second):
            for image in pair[1:]:
                if image not in row:
                    raise UserError(
                        f"{pair[0]}: there is no image {image!r}: "
                        "paths are relative to the image folder"
                    )
        return np.array([row[i] for i in self.first]), np.array([row[i] for i in self.second])


def read_pairs(path: epath.PathLike) -> PairsList:
    """Reads a CSV file with the columns `first,second,same` and, if folds are given, `fold`.

    `first` and `second` are paths relative to the image folder, `same` is 1 or 0, `fold` a whole
    number; other columns are not looked at. Blank lines are skipped. Raises UserError, with the
    line, for anything else.
    """
    path = epath.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of pairs: give a CSV with fold,first,second,same")
    pairs, lines, has_folds = [], [], False
    for where, row in read_table(path, ("first", "second", "same")):
        has_folds = "fold" in row
        pairs.append(_pair(row, where))
        lines.append(where)
    folds = {pair["fold"] for pair in pairs}
    if len(pairs) < 10 or (has_folds and len(folds) < 2):
        found = f"{len(pairs)} pairs" + (f" in {len(folds)} folds" if has_folds else "")
        raise UserError(
            f"{path}: {found}: give at least 10 pairs, and in a column fold, if there is one, at "
            "least 2 folds"
        )
    if len({pair["same"] for pair in pairs}) < 2:
        raise UserError(f"{path}: same is {pairs[0]['same']:d} on every line: add the other kind")
    return PairsList(
        path=str(path),
        first=tuple(pair["first"] for pair in pairs),
        second=tuple(pair["second"] for pair in pairs),
        same=np.array([pair["same"] for pair in pairs]),
        fold=np.array([pair["fold"] for pair in pairs]) if has_folds else None,
        lines=tuple(lines),
    )


def _pair(row: dict[str, str], place: str) -> dict[str, object]:
    row = {name: value.strip() for name, value in row.items()}
    if row["same"] not in ("0", "1"):
        raise UserError(f"{place}: same is {row['same']!r}: write 1 (same person) or 0")
    if not row.get("fold", "0").isdecimal():
        raise UserError(f"{place}: fold is {row['fold']!r}: write a whole number")
    for name in ("first", "second"):
        if not row[name] or row[name].startswith("/") or ".." in row[name].split("/"):
            raise UserError(
                f"{place}: {name} is {row[name]!r}: write a path relative to the image folder"
            )
    if row["first"] == row["second"]:
        raise UserError(f"{place}: {row['first']!r} is paired with itself: name two images")
    return {
        "first": row["first"],
        "second": row["second"],
        "same": row["same"] == "1",
        "fold": int(row.get("fold", "0")),
    }
