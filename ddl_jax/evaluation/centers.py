"""Identities by their centres: who is there twice, who is in both of two sets, who has whose image.

The centre of an identity is the mean direction of its unit embeddings. All functions take unit rows
(`unit_rows`) and go through the cosines in blocks: 100,000 centres against as many never need more
than a few MB beside themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ddl_jax.evaluation.similarity import cosine_blocks, unit_rows


class CenterPairs(NamedTuple):
    """Pairs of similar centres, the most similar first: rows of two sets, and their cosines."""

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray


class LabelCheck(NamedTuple):
    """What every image looks like, against what its label says.

    Attributes:
      own: `[n]` cosine with the centre of the *other* images of its identity; NaN without any.
      nearest: `[n]` identity of the nearest other centre.
      other: `[n]` cosine with that centre.
    """

    own: np.ndarray
    nearest: np.ndarray
    other: np.ndarray

    @property
    def margin(self) -> np.ndarray:
        """`[n]` own - other: below 0 an image is nearer to another identity than to its own."""
        return self.own - self.other


# A wrong label turns the margin around: an image lies as far on the other's side as on its own.
# Hard images of the right label lie around 0: a bound near that mirror image keeps them.
_MIRRORED = 0.75
_COLUMNS = 4096  # of a tile: 16 MiB of 512 numbers each
_SURE = 0.05  # of all people, those whose halves may be less alike than what counts as one person


def wrong_label_margin(check: LabelCheck) -> float:
    """The margin below which a label is taken for wrong: -0.75 times the median margin.

    Raises:
      ValueError: the median is not above 0, so that margins say nothing.
    """
    median = float(np.median(check.margin[np.isfinite(check.own)]))
    if not median > 0:
        raise ValueError(
            f"half of the images are nearer to another identity than to their own (median margin "
            f"{median:.3f}): give a network that knows such images"
        )
    return -_MIRRORED * median


def same_person_similarity(unit: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> float:
    """The cosine from which two centres are taken for one person: 95 % of halves have more.

    Raises:
      ValueError: no identity has two images.
    """
    halves = half_similarities(unit, labels, seed=seed)
    if not len(halves):
        raise ValueError("no identity has two images, whose similarity would tell")
    return float(np.quantile(halves, _SURE))


def identity_centers(unit: np.ndarray, labels: np.ndarray, identities: int) -> np.ndarray:
    """Centres `[identities, D]` of length 1; a zero row for an identity without an image."""
    return unit_rows(_sums(unit, labels, identities))


def _sums(unit: np.ndarray, labels: np.ndarray, identities: int) -> np.ndarray:
    sums = np.zeros((identities, unit.shape[1]))
    np.add.at(sums, labels, unit)
    return sums


def own_similarities(unit: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cosine of every image with the centre of the other images of its identity -> `[n]`.

    NaN where there is no other. The image itself is left out of the centre, which it would pull
    towards itself: the more, the fewer images there are.
    """
    others = _sums(unit, labels, int(labels.max()) + 1)[labels] - unit
    cosines = np.einsum("nd,nd->n", unit_rows(others), unit)
    return np.where(np.bincount(labels)[labels] > 1, cosines, np.nan)


def check_labels(unit: np.ndarray, labels: np.ndarray) -> LabelCheck:
    """Compares every image with its own and with the nearest other identity.

    Args:
      unit: `[n, D]`.
      labels: `[n]`, 0..C-1, at least two identities.
    """
    identities = int(labels.max()) + 1
    if identities < 2:
        raise ValueError("all images are of one identity: give at least 2")
    centers = identity_centers(unit, labels, identities)
    nearest, other = np.zeros(len(unit), np.int64), np.full(len(unit), -np.inf)
    for rows, columns, cosines in _tiles(unit, centers):
        cosines[labels[rows, None] == columns] = -np.inf
        best = cosines.argmax(axis=1)
        highest = cosines[np.arange(len(best)), best]
        better = highest > other[rows]
        nearest[rows[better]], other[rows[better]] = columns[best[better]], highest[better]
    return LabelCheck(own_similarities(unit, labels), nearest, other)


def similar_centers(
    first: np.ndarray, second: np.ndarray | None, *, at_least: float
) -> CenterPairs:
    """Pairs of centres with a cosine of `at_least` or more.

    Args:
      first: `[C, D]` centres.
      second: `[E, D]` those of another set; None for the same set, each pair once, first < second.
    """
    others = first if second is None else second
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for rows, columns, cosines in _tiles(first, others):
        near, far = np.nonzero(cosines >= at_least)
        pair = rows[near], columns[far], cosines[near, far]
        once = pair[0] < pair[1] if second is None else slice(None)
        found.append(tuple(part[once] for part in pair))
    rows, columns, similarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-similarity, kind="stable")
    return CenterPairs(rows[order], columns[order], similarity[order])


def _tiles(
    probe: np.ndarray, gallery: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All cosines in tiles that stay in a processor's cache -> (row numbers, columns, cosines)."""
    for start in range(0, len(gallery), _COLUMNS):
        columns = np.arange(start, min(start + _COLUMNS, len(gallery)))
        for part, cosines in cosine_blocks(probe, gallery[columns]):
            yield np.arange(len(probe))[part], columns, cosines


def half_similarities(unit: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """How similar the centres of two halves of one identity are -> one cosine for every identity.

    What two centres of one person look like to this network: the measure of `at_least` above. Each
    identity with two images or more is cut in two at random, the larger half first.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    place = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    identities = int(labels.max()) + 1
    halves = [order[place % 2 == side] for side in (0, 1)]
    first, second = (identity_centers(unit[rows], labels[rows], identities) for rows in halves)
    return np.einsum("id,id->i", first, second)[np.bincount(labels) > 1]
