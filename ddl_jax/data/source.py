"""What every data set looks like to the rest: records by number, and an index without pixels."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np

from ddl_jax.errors import UserError

DEFAULT_DOMAIN = "easy"


class Record(TypedDict):
    """One image: `image` is the encoded file (JPEG, PNG, PGM), `label` a class number."""

    image: bytes
    label: int
    identity: str
    path: str
    domain: str


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """Everything about the records except their pixels; four columns of equal length.

    Attributes:
      labels: `[n]` int64 class numbers, 0..classes-1 without gaps.
      identities: `[n]` names of the identities.
      paths: `[n]` names of the images, each one once.
      domains: `[n]` names of the domains.
    """

    labels: np.ndarray
    identities: np.ndarray
    paths: np.ndarray
    domains: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of identities."""
        return int(self.labels.max()) + 1 if len(self) else 0

    def rows_of(self, domain: str) -> np.ndarray:
        """Record numbers of a domain, in order."""
        return np.flatnonzero(self.domains == domain)

    def fingerprint(self) -> str:
        """A hash of every column: two runs saw the same records in the same order if it agrees."""
        digest = hashlib.sha256()
        for column in (self.labels, self.identities, self.paths, self.domains):
            digest.update("\n".join(map(str, column.tolist())).encode())
            digest.update(b"\0")
        return digest.hexdigest()[:16]


class Source(Protocol):
    """A data set by record number, picklable, safe to read from several threads."""

    index: RecordIndex

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Record: ...


def make_index(
    identities: Sequence[str], paths: Sequence[str], domains: Sequence[str]
) -> RecordIndex:
    """The index of records whose labels number the identities in natural order of their names."""
    names = sorted(set(identities), key=natural_key)
    number = {name: i for i, name in enumerate(names)}
    return RecordIndex(
        labels=np.array([number[name] for name in identities], np.int64),
        identities=np.array(identities, dtype=str),
        paths=np.array(paths, dtype=str),
        domains=np.array(domains, dtype=str),
    )


def check_labels(index: RecordIndex, where: str) -> None:
    """Refuses labels that cannot be class numbers: negative, or with gaps."""
    if not len(index):
        raise UserError(f"{where} has no image")
    lowest = int(index.labels.min())
    if lowest < 0:
        row = int(index.labels.argmin())
        raise UserError(f"{where}: {index.paths[row]} has label {lowest}; labels start at 0")
    present = np.unique(index.labels)
    if len(present) != index.classes:
        missing = int(np.setdiff1d(np.arange(index.classes), present)[0])
        raise UserError(
            f"{where}: labels reach {index.classes - 1} but none is {missing}, so it is outside "
            f"the {len(present)} classes; number identities 0..{len(present) - 1} without gaps"
        )


class Subset:
    """Some records of a source, with labels numbered anew for the identities that are left."""

    def __init__(self, source: Source, numbers: np.ndarray):
        self._source = source
        self._numbers = np.asarray(numbers)
        whole = source.index
        self.index = make_index(
            whole.identities[self._numbers].tolist(),
            whole.paths[self._numbers].tolist(),
            whole.domains[self._numbers].tolist(),
        )

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Record:
        record = self._source[int(self._numbers[number])]
        return record | {"label": int(self.index.labels[number])}


def select_identities(source: Source, ranges: str, setting: str) -> Source:
    """The records whose identity lies in `ranges`, e.g. "001..150,204": both ends are included.

    Ranges are in natural order (s2 before s10).

    Raises:
      UserError: a name is no identity of the source, or a range is empty.
    """
    if not ranges:
        return source
    names = sorted(set(source.index.identities.tolist()), key=natural_key)
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
    return Subset(source, np.flatnonzero(np.isin(source.index.identities, list(chosen))))


def natural_key(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """Sorts names with numbers as people count: s2 before s2b before s10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in parts], name
