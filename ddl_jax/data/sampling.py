"""Which records a batch holds: a pure function of (seed, step), so that nothing must be saved."""

import functools
import itertools
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
    """One image a row: all records in random order, then all again in another.

    `stream` keeps its draws apart from those of others with the same seed.
    """

    images = 1

    def __init__(self, rows: np.ndarray, *, batch_size: int, seed: int, stream: int = 0):
        if not len(rows):
            raise UserError("no training image is of config.batch.domains; check their names")
        if len(rows) < batch_size:
            raise UserError(
                f"there are {len(rows)} training images, fewer than "
                f"config.batch_size={batch_size}; lower it or add images"
            )
        self._rows, self._orders = rows, _Orders(len(rows), seed, stream)
        self.batch_size = batch_size

    def records(self, step: int) -> np.ndarray:
        positions = step * self.batch_size + np.arange(self.batch_size)
        epochs, places = np.divmod(positions, len(self._rows))
        chosen = np.empty(self.batch_size, np.int64)
        for epoch in np.unique(epochs):
            order = self._orders.of(int(epoch))
            chosen[epochs == epoch] = order[places[epochs == epoch]]
        return self._rows[chosen][:, None]


class MixedSampler:
    """One image a row, and the same number of each domain in every batch.

    A domain goes through its own images as `ImageSampler` does, a small one more often than a large
    one. Its rows of a batch are scattered, so that every device gets of all domains.
    """

    images = 1

    def __init__(self, index: RecordIndex, shares: dict[str, float], *, batch_size: int, seed: int):
        """`shares` of the batch by domain; their sum is 1."""
        self.batch_size, self._seed, self._samplers = batch_size, seed, []
        counts = _whole_numbers(list(shares.values()), batch_size)
        for stream, (domain, count) in enumerate(zip(shares, counts), start=1):
            rows = index.rows_of(domain)
            if not 0 < count <= len(rows):
                raise UserError(
                    f"config.batch.shares give domain {domain!r} {count} of the {batch_size} "
                    f"images of a batch; it has {len(rows)}, and 1 is the least"
                )
            self._samplers.append(ImageSampler(rows, batch_size=count, seed=seed, stream=stream))

    def records(self, step: int) -> np.ndarray:
        rows = np.concatenate([sampler.records(step) for sampler in self._samplers])
        rng = np.random.default_rng(random_key("scatter", self._seed, step))
        return rng.permutation(rows)


def _whole_numbers(shares: list[float], total: int) -> np.ndarray:
    """`total` divided in these shares: rounded down, and one more for the largest remainders."""
    exact = total * np.array(shares) / sum(shares)
    counts = np.floor(exact + 1e-9).astype(int)
    left = np.argsort(counts - exact, kind="stable")[: total - counts.sum()]
    counts[left] += 1
    return counts


class IdentitySampler:
    """One image a row, K rows after another of one identity: P x K images of P identities.

    An epoch goes once through all identities in random order; what is left of it after whole
    batches is dropped. The K images are different ones where the identity has so many, and
    otherwise come equally often, as far as K allows.
    """

    images = 1

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int,
        images_per_identity: int,
        seed: int,
    ):
        """`labels` are those of all records, `rows` the records used."""
        self.batch_size, self._each, self._seed = batch_size, images_per_identity, seed
        self._groups = _group(rows, labels) if len(rows) else []
        self._orders = _Orders(len(self._groups), seed, 0)
        identities = batch_size // images_per_identity
        if len(self._groups) < identities:
            raise UserError(
                f"there are training images of {len(self._groups)} identities, but a batch takes "
                f"{identities} (config.batch_size / images_per_identity); lower it or add some"
            )

    def records(self, step: int) -> np.ndarray:
        identities = self.batch_size // self._each
        epoch, batch = divmod(step, len(self._groups) // identities)
        rng = np.random.default_rng(random_key("images", self._seed, step))
        chosen = self._orders.of(epoch)[batch * identities :][:identities]
        return np.concatenate([self._draw(self._groups[g], rng) for g in chosen])[:, None]

    def _draw(self, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rounds = -(-self._each // len(group))
        return np.concatenate([rng.permutation(group) for _ in range(rounds)])[: self._each]


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
        # A stream for each column's draws, so that they do not depend on each other.
        streams = enumerate(itertools.chain(*zip(self._singles, self._pairs)), 1)
        self._orders = [_Orders(len(groups), seed, stream) for stream, groups in streams]
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
            columns.append(self._draw(step, self._orders[2 * domain], singles)[:, None])
            columns.append(self._draw(step, self._orders[2 * domain + 1], pairs))
        return np.concatenate(columns, axis=1)

    def _draw(self, step: int, orders: "_Orders", groups: list[np.ndarray]) -> np.ndarray:
        """One member of b different groups."""
        epoch, batch = divmod(step, len(groups) // self.batch_size)
        chosen = orders.of(epoch)[batch * self.batch_size :][: self.batch_size]
        rng = np.random.default_rng(random_key("draw", self._seed, orders.stream, epoch, batch))
        return np.stack([groups[g][rng.integers(len(groups[g]))] for g in chosen])


def _group(rows: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Rows by identity. `labels` are of all records for record numbers, else of the rows."""
    of_rows = labels[rows] if rows.ndim == 1 else labels
    order = np.argsort(of_rows, kind="stable")
    cuts = np.flatnonzero(np.diff(of_rows[order])) + 1
    return np.split(rows[order], cuts)


class _Orders:
    """The random order of every epoch of a stream; two of them are in memory, however many passed.

    Two, because a batch and the threads that make the next ones reach over the end of an epoch.
    """

    def __init__(self, size: int, seed: int, stream: int):
        self.size, self.seed, self.stream = size, seed, stream
        self._kept = functools.lru_cache(maxsize=2)(self._make)

    def of(self, epoch: int) -> np.ndarray:
        """The numbers below `size`, each once."""
        return self._kept(epoch)

    def _make(self, epoch: int) -> np.ndarray:
        order = np.arange(self.size, dtype=np.int32 if self.size < 1 << 31 else np.int64)
        np.random.default_rng(random_key("order", self.seed, self.stream, epoch)).shuffle(order)
        return order

    def __reduce__(self):
        return _Orders, (self.size, self.seed, self.stream)
