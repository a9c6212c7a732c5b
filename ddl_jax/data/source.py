"""What every data set looks like to the rest: records by number, and an index without pixels."""

import dataclasses
import functools
import hashlib
import os
import re
import zlib
from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np

from ddl_jax.errors import UserError

DEFAULT_DOMAIN = "easy"
_HASHED_AT_ONCE = 1 << 16  # the text of millions of rows is not to be in memory at once


class Record(TypedDict):
    """One image: `image` is the encoded file (JPEG, PNG, ...), `label` a class number."""

    image: bytes
    label: int
    identity: str
    path: str
    domain: str


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """Everything about the records except their pixels; five columns of equal length.

    Attributes:
      labels: `[n]` int64 class numbers, 0..classes-1 without gaps.
      identities: `[n]` names of the identities.
      paths: `[n]` names of the images, each one once.
      domains: `[n]` names of the domains.
      checksums: `[n]` of the encoded images; see `checksum`.
    """

    labels: np.ndarray
    identities: np.ndarray
    paths: np.ndarray
    domains: np.ndarray
    checksums: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of identities."""
        return int(self.labels.max()) + 1 if len(self) else 0

    def rows_of(self, domain: str) -> np.ndarray:
        """Record numbers of a domain, in order."""
        return np.flatnonzero(self.domains == domain)

    def fingerprint(self, *, contents: bool = True) -> str:
        """A hash of every column: two runs saw the same records in the same order if it agrees.

        Without `contents` the same names in the same order are enough, whatever the images hold.
        """
        digest = hashlib.sha256()
        columns = [self.labels, self.identities, self.paths, self.domains]
        for column in [*columns, self.checksums] if contents else columns:
            for start in range(0, len(column), _HASHED_AT_ONCE):
                part = column[start : start + _HASHED_AT_ONCE].tolist()
                digest.update((("\n" if start else "") + "\n".join(map(str, part))).encode())
            digest.update(b"\0")
        return digest.hexdigest()[:16]


class Source(Protocol):
    """A data set by record number, picklable, safe to read from several threads."""

    index: RecordIndex

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Record: ...


def checksum(encoded: bytes) -> int:
    """What tells an image from another under the same name: CRC-32 of its encoded bytes."""
    return zlib.crc32(encoded)


def numbered(names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Names as numbers `[n]` int32 into the list of those that differ, in order of appearance."""
    known: dict[str, int] = {}
    codes = [known.setdefault(name, len(known)) for name in names]
    return np.array(codes, np.int32), list(known)


def make_index(
    identities: Sequence[str],
    paths: Sequence[str],
    domains: Sequence[str],
    checksums: Sequence[int],
) -> RecordIndex:
    """The index of records whose labels number the identities in natural order of their names."""
    names = sorted(set(identities), key=natural_key)
    number = {name: i for i, name in enumerate(names)}
    return RecordIndex(
        labels=np.array([number[name] for name in identities], np.int64),
        identities=np.array(identities, dtype=str),
        paths=np.array(paths, dtype=str),
        domains=np.array(domains, dtype=str),
        checksums=np.array(checksums, np.uint32),
    )


def check_labels(
    labels: np.ndarray, names: Sequence[str | bytes], where: str, *, gaps: bool = False
) -> None:
    """Refuses labels that cannot be class numbers: negative or, unless allowed, with gaps.

    Args:
      labels: `[n]` of the images.
      names: `[n]` of the images, for the message.
      where: they are, for the message.
      gaps: whether a number below the highest may be missing.
    """
    if not len(labels):
        raise UserError(f"{where} has no image")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0:
        name = os.fsdecode(names[int(labels.argmin())])
        raise UserError(f"{where}: {name} has label {lowest}; labels start at 0")
    present = np.unique(labels)
    if len(present) != highest + 1 and not gaps:
        # Counting on from 0, the first number that is not its own place: no list as long as 1e9.
        missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        raise UserError(
            f"{where}: labels reach {highest} but none is {missing}, so it is outside "
            f"the {len(present)} classes; number identities 0..{len(present) - 1} without gaps"
        )


class Subset:
    """Some records of a source, with labels numbered anew for the identities that are left.

    `domains`, one for each of them, take the place of the source's own. `skipped` and `parts` are
    those of the whole source.
    """

    def __init__(self, source: Source, numbers: np.ndarray, domains: Sequence[str] | None = None):
        self._source = source
        self._numbers = np.asarray(numbers)
        if domains is None:
            domains = source.index.domains[self._numbers].tolist()
        self._domains, self._domain_names = numbered(domains)
        self._labels = self.index.labels.astype(np.int32)
        self.skipped: Sequence[str] = getattr(source, "skipped", ())
        self.parts: Sequence[str] = getattr(source, "parts", ())

    @functools.cached_property
    def index(self) -> RecordIndex:
        """Made when first asked for: worker processes do without."""
        whole = self._source.index
        return make_index(
            whole.identities[self._numbers].tolist(),
            whole.paths[self._numbers].tolist(),
            [self._domain_names[code] for code in self._domains.tolist()],
            whole.checksums[self._numbers].tolist(),
        )

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "index"}

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Record:
        record = self._source[int(self._numbers[number])]
        domain = self._domain_names[self._domains[number]]
        return record | {"label": int(self._labels[number]), "domain": domain}


def select_identities(source: Source, ranges: str, setting: str) -> Source:
    """The records whose identity lies in `ranges`; see `chosen_identities`."""
    if not ranges:
        return source
    identities = source.index.identities
    chosen = chosen_identities(identities.tolist(), ranges, setting)
    return Subset(source, np.flatnonzero(np.isin(identities, list(chosen))))


def chosen_identities(identities: Sequence[str], ranges: str, setting: str) -> set[str]:
    """The identities in `ranges`, e.g. "001..150,204": both ends are included.

    Ranges are in natural order (s2 before s10). All identities if `ranges` is empty.

    Raises:
      UserError: a name is none of the identities, or a range is empty.
    """
    if not ranges:
        return set(identities)
    names = sorted(set(identities), key=natural_key)
    chosen: set[str] = set()
    for part in ranges.split(","):
        first, _, last = part.strip().partition("..")
        last = last or first
        for name in (first, last):
            if name not in names:
                raise UserError(
                    f"{setting} names identity {name!r}, which is not there; "
                    f"identities go from {names[0]} to {names[-1]}"
                )
        found = names[names.index(first) : names.index(last) + 1]
        if not found:
            raise UserError(f"{setting} has the empty range {part!r}; give the lower end first")
        chosen.update(found)
    return chosen


def natural_key(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sorts names with numbers as people count: s2 before s2b before s10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in parts], name
