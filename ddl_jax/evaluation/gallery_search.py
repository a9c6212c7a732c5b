"""Every probe against a gallery of any size, in blocks of bounded memory, exact in float64.

A float32 product finds what may matter: with rows of length 1 it is within (D + 8) / 2^24 of the
cosine (the bound of a sum of D products, and the rounding of its factors). Only cosines that near a
decision - the best score so far, or the score of the probe's own identity - are formed again in
float64, so what comes back does not depend on float32, nor on blocks.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ddl_jax.evaluation.similarity import BLOCK, check_finite, same_identity_pairs, unit_rows

# Equal vectors can differ by rounding after a blocked matrix product: nearer than this is a tie.
TIE = 1e-12
_PROBES = 1024  # at a time: 1,024 x 8,192 float32 cosines are 32 MiB
_DENSE = 1 / 16  # above this share of doubtful cosines a whole product is quicker


@dataclasses.dataclass(frozen=True)
class Search:
    """What a search of P probes found.

    Attributes:
        own: `[P]` the highest cosine to a gallery row of the probe's identity; NaN where the
            gallery has none (a non-mated probe).
        other: `[P]` the highest cosine to anyone else's row; -inf where there is nobody else.
        ranks: `[P]` 1 + the number of others' rows with a cosine >= own - 1e-12: a tie counts
            against the probe. 0 where the probe is non-mated.
    """

    own: np.ndarray
    other: np.ndarray
    ranks: np.ndarray

    @property
    def mated(self) -> np.ndarray:
        """`[P]` bool: the gallery holds the probe's identity."""
        return self.ranks > 0


def search_gallery(
    probe: np.ndarray, probe_ids: np.ndarray, gallery: np.ndarray, gallery_ids: np.ndarray
) -> Search:
    """Searches all probes `[P, D]` in the gallery `[G, D]`, both normalised here.

    Memory beside the arguments is O(P D + G), a gallery is never copied whole.

    Raises:
        ValueError: no row, shapes that do not agree, a row that is not finite.
    """
    unit, gallery = unit_rows(probe), np.asarray(gallery)
    probe_ids, gallery_ids = np.asarray(probe_ids), np.asarray(gallery_ids)
    for name, rows, ids in (("probe", unit, probe_ids), ("gallery", gallery, gallery_ids)):
        if len(rows) == 0 or ids.shape != (len(rows),):
            raise ValueError(f"{name}: {len(rows)} rows and ids of shape {ids.shape}: one id a row")
    if gallery.shape[1:] != unit.shape[1:]:
        raise ValueError(f"probe {unit.shape} and gallery {gallery.shape}: D must be the same")
    mates = _Mates.of(probe_ids, gallery_ids)
    own = mates.best(unit, gallery)
    decisions = _Decisions(unit, own)
    for start in range(0, len(gallery), BLOCK):
        block = unit_rows(gallery[start : start + BLOCK], first_row=start)
        decisions.add(block, *mates.within(start, start + len(block)))
    ranks = np.where(np.isnan(own), 0, 1 + decisions.ahead)
    return Search(own, decisions.other, ranks)


@dataclasses.dataclass(frozen=True)
class BestPeople:
    """The identities of a gallery that are most like each of P probes, best first.

    Attributes:
        cosines: `[P, k]` the highest cosine to a row of the identity; -inf where there is none.
        rows: `[P, k]` that row; -1 where there is none.
    """

    cosines: np.ndarray
    rows: np.ndarray


def best_people(
    probe: np.ndarray,
    gallery: np.ndarray,
    gallery_ids: np.ndarray,
    *,
    k: int,
    images: tuple[np.ndarray, np.ndarray] | None = None,
) -> BestPeople:
    """Ranks the identities of a gallery `[G, D]` for probes `[P, D]`, both normalised here.

    Of equals, the identity that is first in the order of ids comes first, and the row that is first
    in the gallery. Memory beside the arguments and unit probes is bounded.

    Args:
        probe, gallery: the embeddings.
        gallery_ids: `[G]`.
        k: how many identities, or as many as there are.
        images: `[P]` and `[G]`, what tells images apart: gallery rows of the probe's own image are
            left out. None: there are none.

    Raises:
        ValueError: no row, shapes that do not agree, a row that is not finite.
    """
    unit, gallery = unit_rows(probe), np.asarray(gallery)
    _, codes = np.unique(np.asarray(gallery_ids), return_inverse=True)
    if not len(gallery) or codes.shape != (len(gallery),) or gallery.shape[1:] != unit.shape[1:]:
        raise ValueError(
            f"probe {unit.shape}, gallery {gallery.shape} and ids {codes.shape}: give as many ids "
            "as rows, one at least, of the same size"
        )
    by_id = np.argsort(codes, kind="stable")
    if images is None:  # no row is a probe's own
        images = np.zeros(len(unit)), np.ones(len(codes))
    own = _Mates.of(np.asarray(images[0]), np.asarray(images[1])[by_id])
    leaders = _Leaders(unit, min(k, int(codes.max()) + 1))
    for start in range(0, len(gallery), BLOCK):
        rows = by_id[start : start + BLOCK]
        check_finite(gallery[rows], rows)
        itself = own.within(start, start + len(rows))
        leaders.add(unit_rows(gallery[rows]), rows, codes[rows], *itself)
    return BestPeople(leaders.cosines, leaders.rows)


class _Leaders:
    """The k best identities of every probe, as blocks of the gallery come in the order of ids."""

    def __init__(self, unit: np.ndarray, k: int):
        self.cosines = np.full((len(unit), k), -np.inf)
        self.rows = np.full((len(unit), k), -1)
        self._people = np.full((len(unit), k), -1)
        self._unit = unit

    def add(
        self,
        block: np.ndarray,
        rows: np.ndarray,
        codes: np.ndarray,
        probe: np.ndarray,
        place: np.ndarray,
    ) -> None:
        """Ranks the identities `codes` of `block`, which are the gallery's `rows`.

        The pairs (probe, place in the block) are not compared.
        """
        starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
        size = max(1, BLOCK * 256 // len(block))  # 2 Mi cosines: 16 MiB
        for start in range(0, len(self._unit), size):
            part = slice(start, start + size)
            cosines = self._unit[part] @ block.T
            here = (probe >= start) & (probe < start + size)
            cosines[probe[here] - start, place[here]] = -np.inf
            best = np.maximum.reduceat(cosines, starts, axis=1)
            self._keep_the_better_half(part, best, int(codes[0]))
            leading = np.flatnonzero((best > self.cosines[part, -1:]).any(axis=0))
            if len(leading):
                self._merge(part, cosines, best[:, leading], starts, leading, rows, codes)

    def _keep_the_better_half(self, part: slice, best: np.ndarray, first: int) -> None:
        """Of an identity that began in the last block, the less similar rows give way."""
        again, where = np.nonzero(self._people[part] == first)
        better = best[again, 0] > self.cosines[part][again, where]
        best[again[~better], 0] = -np.inf
        self.cosines[part][again[better], where[better]] = -np.inf

    def _merge(
        self,
        part: slice,
        cosines: np.ndarray,
        best: np.ndarray,
        starts: np.ndarray,
        leading: np.ndarray,
        rows: np.ndarray,
        codes: np.ndarray,
    ) -> None:
        k = self.cosines.shape[1]
        both = np.concatenate([self.cosines[part], best], axis=1)
        chosen = np.argsort(-both, axis=1, kind="stable")[:, :k]  # of equals the earlier stays
        people, kept = (
            np.take_along_axis(old[part], np.minimum(chosen, k - 1), axis=1)
            for old in (self._people, self.rows)
        )
        self.cosines[part] = np.take_along_axis(both, chosen, axis=1)
        ends = np.append(starts[1:], len(rows))
        for probe, place in np.argwhere((chosen >= k) & np.isfinite(self.cosines[part])):
            person = leading[chosen[probe, place] - k]
            of_person = slice(starts[person], ends[person])
            kept[probe, place] = rows[of_person][np.argmax(cosines[probe, of_person])]
            people[probe, place] = codes[starts[person]]
        self._people[part], self.rows[part] = people, kept


@dataclasses.dataclass(frozen=True)
class _Mates:
    """Every pair of a probe and a gallery row of one identity, by gallery row."""

    probe: np.ndarray
    row: np.ndarray
    probes: int

    @classmethod
    def of(cls, probe_ids: np.ndarray, gallery_ids: np.ndarray) -> _Mates:
        probe, row = same_identity_pairs(probe_ids, gallery_ids)
        order = np.argsort(row, kind="stable")
        return cls(probe[order], row[order], len(probe_ids))

    def within(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(probe, row - start) of the pairs with rows start..stop-1."""
        part = slice(*np.searchsorted(self.row, [start, stop]))
        return self.probe[part], self.row[part] - start

    def best(self, unit: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        """The highest cosine of every probe's pairs `[P]`, NaN where it has none."""
        best = np.full(self.probes, -np.inf)
        for start in range(0, len(self.row), BLOCK):
            probe, row = (part[start : start + BLOCK] for part in (self.probe, self.row))
            rows, place = np.unique(row, return_inverse=True)
            mine = unit_rows(gallery[rows])[place]
            np.maximum.at(best, probe, np.einsum("nd,nd->n", unit[probe], mine))
        return np.where(best == -np.inf, np.nan, best)


class _Decisions:
    """The best of all others and how many of them are ahead, as blocks of the gallery come."""

    def __init__(self, unit: np.ndarray, own: np.ndarray):
        self.other = np.full(len(unit), -np.inf)
        self.ahead = np.zeros(len(unit), np.int64)
        self._unit, self._screen = unit, unit.astype(np.float32)
        self._level = np.where(np.isnan(own), np.inf, own - TIE)  # nobody is ahead of a non-mated
        self._error = (unit.shape[1] + 8) * 2.0**-24

    def add(self, block: np.ndarray, mate: np.ndarray, row: np.ndarray) -> None:
        """Counts the gallery rows `block`, but for the pairs (mate, row) of one identity."""
        screen = block.astype(np.float32).T
        for start in range(0, len(self._unit), _PROBES):
            part = slice(start, start + _PROBES)
            cosines = self._screen[part] @ screen
            here = (mate >= start) & (mate < start + _PROBES)
            cosines[mate[here] - start, row[here]] = -np.inf
            self._add(part, cosines, block)

    def _add(self, part: slice, cosines: np.ndarray, block: np.ndarray) -> None:
        top = cosines.max(axis=1).astype(np.float64)
        error, other, level = self._error, self.other[part], self._level[part]
        near = np.flatnonzero((top >= np.minimum(level, other) - error) & (top > -np.inf))
        if len(near) == 0:
            return
        # The block's highest cosine is among those within twice the error of its screened one.
        candidate = np.maximum(top - 2 * error, other - error)[near, None]
        low, high = (level[near, None] + shift for shift in (-error, error))
        cosines = cosines[near]
        doubtful = (cosines >= low) & (cosines <= high)
        probe, row = np.nonzero(doubtful | (cosines >= candidate))
        exact = self._exact(near + part.start, probe, row, block)
        counted = doubtful[probe, row] & (exact >= level[near[probe]])
        rows = part.start + near
        self.ahead[rows] += np.sum(cosines > high, axis=1)
        self.ahead[rows] += np.bincount(probe[counted], minlength=len(near))
        np.maximum.at(self.other, rows[probe], exact)

    def _exact(
        self, rows: np.ndarray, probe: np.ndarray, row: np.ndarray, block: np.ndarray
    ) -> np.ndarray:
        """Cosines of probes `rows[probe]` and `block[row]` in float64."""
        if len(probe) > _DENSE * len(rows) * len(block):
            return (self._unit[rows] @ block.T)[probe, row]
        exact = np.empty(len(probe))
        for start in range(0, len(probe), BLOCK):
            part = slice(start, start + BLOCK)
            exact[part] = np.einsum("nd,nd->n", self._unit[rows[probe[part]]], block[row[part]])
        return exact
