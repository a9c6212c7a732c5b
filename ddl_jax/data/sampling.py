"""Which records a batch holds: a pure function of (seed, step), so that nothing must be saved."""

import functools
from typing import Protocol

import numpy as np

from ddl_jax.data.pairs import Pairs
from ddl_jax.data.random_key import random_key
from ddl_jax.data.source import RecordIndex
from ddl_jax.errors import UserError


class Sampler(Protocol):
    """Chooses the records of every batch.

    Attributes:
      batch_size: rows b of a global batch.
      images: images m of a row.
    """

    batch_size: int
    images: int

    def records(self, step: int) -> np.ndarray:
        """Record numbers `[b, m]` of the batch that takes a run from `step` to `step + 1`."""


class ImageSampler:
    """One image a row: all records in random order, then all again in another."""

    images = 1

    def __init__(self, rows: np.ndarray, *, batch_size: int, seed: int):
        if not len(rows):
            raise UserError("no training image is of config.batch.domains; check their names")
        if len(rows) < batch_size:
            raise UserError(
                f"there are {len(rows)} training images, fewer than "
                f"config.batch_size={batch_size}; lower it or add images"
            )
        self._rows, self._seed, self.batch_size = rows, seed, batch_size

    def records(self, step: int) -> np.ndarray:
        positions = step * self.batch_size + np.arange(self.batch_size)
        epochs, places = np.divmod(positions, len(self._rows))
        count = len(self._rows)
        order = {epoch: _permutation(self._seed, 0, epoch, count) for epoch in set(epochs)}
        chosen = [order[epoch][place] for epoch, place in zip(epochs, places)]
        return self._rows[np.array(chosen)][:, None]


class DDLSampler:
    """The batch of the DDL paper: per domain b singles and b positive pairs.

    Row i holds for each domain, teacher first, (single, first, second): 3(K+1) images. Within a
    domain the b singles are of different identities, and so are the b pairs. An epoch goes once
    through all identities in random order; what is left of it after whole batches is dropped.
    """

    def __init__(
        self,
        index: RecordIndex,
        pairs: Pairs,
        *,
        batch_size: int,
        seed: int,
    ):
        self.batch_size, self.images, self._seed = batch_size, 3 * len(pairs), seed
        self._singles = [_group(index.rows_of(domain), index.labels) for domain in pairs]
        self._pairs = [_group(rows, index.labels[rows[:, 0]]) for rows in pairs.values()]
        for domain, singles, rows in zip(pairs, self._singles, self._pairs):
            for what, groups in (("images", singles), ("positive pairs", rows)):
                if len(groups) < batch_size:
                    raise UserError(
                        f"domain {domain!r} has {what} of {len(groups)} identities, but a batch "
                        f"takes config.batch_size={batch_size} different ones; lower it or add "
                        "identities"
                    )

    def records(self, step: int) -> np.ndarray:
        columns = []
        for domain, (singles, pairs) in enumerate(zip(self._singles, self._pairs)):
            columns.append(self._draw(step, 2 * domain + 1, singles)[:, None])
            columns.append(self._draw(step, 2 * domain + 2, pairs))
        return np.concatenate(columns, axis=1)

    def _draw(self, step: int, stream: int, groups: list[np.ndarray]) -> np.ndarray:
        """One member of b different groups. `stream` keeps the columns' draws independent."""
        epoch, batch = divmod(step, len(groups) // self.batch_size)
        order = _permutation(self._seed, stream, epoch, len(groups))
        chosen = order[batch * self.batch_size :][: self.batch_size]
        rng = np.random.default_rng(random_key("draw", self._seed, stream, epoch, batch))
        return np.stack([groups[g][rng.integers(len(groups[g]))] for g in chosen])


def _group(rows: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Rows by identity. `labels` are of all records for record numbers, else of the rows."""
    of_rows = labels[rows] if rows.ndim == 1 else labels
    order = np.argsort(of_rows, kind="stable")
    cuts = np.flatnonzero(np.diff(of_rows[order])) + 1
    return np.split(rows[order], cuts)


@functools.lru_cache(maxsize=32)  # an epoch's order serves every step of it
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng(random_key("order", seed, stream, epoch)).permutation(size)
