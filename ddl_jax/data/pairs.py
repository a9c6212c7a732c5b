"""Positive pairs, made once for a data set and kept in a CSV file that people can read and edit."""

import csv
import hashlib
import logging
from collections.abc import Callable, Iterator

import numpy as np
from etils import epath

from ddl_jax import config as config_lib
from ddl_jax.data.random_key import random_key
from ddl_jax.data.source import RecordIndex
from ddl_jax.data.table import read_table
from ddl_jax.errors import UserError
from ddl_jax.files import replacing

_log = logging.getLogger(__name__)

_BLOCK = 1 << 16  # pairs at once
_SHUFFLED = 1 << 24  # of more pairs a choice is made without an order of all

# Tells of candidates `[n, 2]` (record numbers) which may become positive pairs, `[n]` bool.
Accept = Callable[[np.ndarray], np.ndarray]

# For each domain the record numbers `[n, 2]` of its positive pairs.
Pairs = dict[str, np.ndarray]


def make_pairs(
    index: RecordIndex, batch: config_lib.Batch, seed: int, accept: Accept | None = None
) -> Pairs:
    """Positive pairs of every domain of the batch, teacher first.

    A teacher's pair is two easy images of an identity. A student's is two images of its domain
    ("same_domain"), or an easy image and one of its domain ("easy_hard"), but never an image and
    what is made of it (see `MadeDomains`). Of an identity with more than `pairs_per_identity` pairs
    in a domain a random choice is kept, of those that `accept` takes; None takes all.

    Raises:
      UserError: a domain without any positive pair.
    """
    easy, pairs = batch.domains[0], {}
    for number, domain in enumerate(batch.domains):
        firsts = easy if batch.pairs == "easy_hard" else domain
        rng = np.random.default_rng(random_key("pairs", seed, number))
        candidates = _candidates(index, firsts, domain)
        kept = [_choose(one, batch.pairs_per_identity, rng, accept) for one in candidates]
        kept = [rows for rows in kept if len(rows)]
        if not kept:
            outliers = "" if accept is None else ", or only pairs that are taken for outliers"
            raise UserError(
                f"domain {domain!r} has no positive pair ({batch.pairs}): no identity has the two "
                f"images for one{outliers}; {_domains_there(index)}"
            )
        pairs[domain] = np.concatenate(kept)
    return pairs


class _Candidates:
    """The pairs of an identity by their numbers from 0, never all at once: 4,000 images have eight
    million."""

    def __init__(self, first: np.ndarray, second: np.ndarray, checksums: np.ndarray | None):
        """All pairs of two records of `second`, if it is `first`, else of one of each.

        Given the records' `checksums`, pairs of one image are left out.
        """
        self._first, self._second, self._same = first, second, first is second
        counts = np.arange(len(first))[::-1] if self._same else np.full(len(first), len(second))
        self._starts = np.concatenate([[0], np.cumsum(counts)])  # a first image's pairs, by number
        self._left_out = np.zeros(0, np.int64)
        if checksums is not None:
            self._left_out = np.flatnonzero(checksums[first][:, None] == checksums[second])

    def __len__(self) -> int:
        return int(self._starts[-1]) - len(self._left_out)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """The records `[n, 2]` of these pairs."""
        before = self._left_out - np.arange(len(self._left_out))  # pairs before each one left out
        places = numbers + np.searchsorted(before, numbers, side="right")
        first = np.searchsorted(self._starts, places, side="right") - 1
        second = places - self._starts[first] + (first + 1 if self._same else 0)
        return np.stack([self._first[first], self._second[second]], axis=1)


def _candidates(index: RecordIndex, firsts: str, domain: str) -> Iterator[_Candidates]:
    """For each identity all its pairs of an image of `firsts` and one of `domain`."""
    seconds = dict(_by_label(index, domain))
    if firsts == domain:
        yield from (_Candidates(rows, rows, None) for rows in seconds.values())
        return
    for label, rows in _by_label(index, firsts):
        if label in seconds:
            yield _Candidates(rows, seconds[label], index.checksums)


def _by_label(index: RecordIndex, domain: str) -> Iterator[tuple[int, np.ndarray]]:
    """The records of a domain by identity, in the order of the labels."""
    rows = index.rows_of(domain)
    rows = rows[np.argsort(index.labels[rows], kind="stable")]
    labels, starts = np.unique(index.labels[rows], return_index=True)
    return zip(labels.tolist(), np.split(rows, starts[1:]))


def _choose(
    candidates: _Candidates, most: int, rng: np.random.Generator, accept: Accept | None
) -> np.ndarray:
    """At most so many of an identity's pairs, of those that are accepted."""
    numbers = None
    if accept is not None:
        blocks = np.split(np.arange(len(candidates)), range(_BLOCK, len(candidates), _BLOCK))
        numbers = np.concatenate([block[accept(candidates.rows(block))] for block in blocks])
    count = len(candidates) if numbers is None else len(numbers)
    if count <= _SHUFFLED:
        chosen = rng.permutation(count)[:most]
    else:
        chosen = rng.choice(count, most, replace=False)
    return candidates.rows(chosen if numbers is None else numbers[chosen])


def _domains_there(index: RecordIndex) -> str:
    names, counts = np.unique(index.domains, return_counts=True)
    there = ", ".join(f"{name} ({count} images)" for name, count in zip(names, counts))
    return f"the data has {there}"


def write_pairs(path: epath.Path, index: RecordIndex, pairs: Pairs) -> None:
    """Writes `domain,first,second` with the images' paths, whole or not at all."""
    # Of two runs that start together either file will do: they are equal.
    with replacing(path) as temporary, temporary.open("w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("domain", "first", "second"))
        for domain, rows in pairs.items():
            for first, second in rows:
                table.writerow((domain, index.paths[first], index.paths[second]))


def read_pairs(path: epath.Path, index: RecordIndex, batch: config_lib.Batch) -> Pairs:
    """The pairs of a file, each checked against the data.

    Raises:
      UserError: a path that is not in the data, a pair of one image, of two identities or of
        another domain, or a domain without pairs.
    """
    number = {name: i for i, name in enumerate(index.paths.tolist())}
    found: dict[str, list[tuple[int, int]]] = {domain: [] for domain in batch.domains}
    for where, row in read_table(path, ("domain", "first", "second")):
        try:
            first, second = number[row["first"]], number[row["second"]]
            domain = row["domain"]
            rows = found[domain]
        except KeyError as error:
            raise UserError(f"{where}: {error} is not in the data") from error
        if first == second:
            raise UserError(f"{where}: both images are {row['first']}; give two")
        if index.labels[first] != index.labels[second]:
            raise UserError(f"{where}: the two images are of different identities")
        firsts = batch.domains[0] if batch.pairs == "easy_hard" else domain
        for name, image, wanted in (("first", first, firsts), ("second", second, domain)):
            if index.domains[image] != wanted:
                raise UserError(f"{where}: {row[name]} is not of domain {wanted!r}")
        rows.append((first, second))
    for domain, pairs in found.items():
        if not pairs:
            raise UserError(
                f"{path} has no pair of domain {domain!r}; remove the file to remake it"
            )
    return {domain: np.array(pairs, np.int64) for domain, pairs in found.items()}


def load_or_make_pairs(
    index: RecordIndex, batch: config_lib.Batch, seed: int, directories: list[epath.Path]
) -> tuple[Pairs, epath.Path | None]:
    """The pairs of `batch.pairs_file`; without one those kept in the first of the directories that
    has them, made anew if none has.

    Their file's name tells data and settings apart, so that a file never serves another run's.

    Returns:
      The pairs, and the file they come from (None when they were made).
    """
    if batch.pairs_file:
        path = epath.Path(batch.pairs_file)
        if not path.is_file():
            raise UserError(f"config.batch.pairs_file: no file {batch.pairs_file!r}; give a CSV")
        return read_pairs(path, index, batch), path
    for directory in directories:
        path = directory / pairs_name(index, batch, seed)
        if path.exists():
            return read_pairs(path, index, batch), path
    return make_pairs(index, batch, seed), None


def pairs_name(index: RecordIndex, batch: config_lib.Batch, seed: int) -> str:
    """The file name of the pairs of this data under these settings.

    Images that were aligned or compressed anew keep their pairs, edited ones included.
    """
    what = (
        index.fingerprint(contents=False),
        batch.domains,
        batch.pairs,
        batch.pairs_per_identity,
        seed,
    )
    return f"pairs-{hashlib.sha256(repr(what).encode()).hexdigest()[:12]}.csv"


def keep_pairs(
    index: RecordIndex,
    pairs: Pairs,
    name: str,
    directories: list[epath.Path],
) -> epath.Path:
    """Writes the pairs into the first directory that can be written: with the data, if possible."""
    for directory in directories:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            write_pairs(directory / name, index, pairs)
        except OSError as error:
            _log.info("pairs cannot be kept in %s: %s", directory, error)
            continue
        return directory / name
    raise UserError(f"the pairs cannot be written to any of {', '.join(map(str, directories))}")
