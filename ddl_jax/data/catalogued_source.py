"""A source of the records that a catalogue lists: what every format of files has in common."""

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ddl_jax.data import catalogue as catalogue_lib
from ddl_jax.data.catalogue import Catalogue
from ddl_jax.data.domain_rules import assign_domains
from ddl_jax.data.scan import Format, scan
from ddl_jax.data.source import Record, RecordIndex, natural_key, numbered
from ddl_jax.errors import UserError

_log = logging.getLogger(__name__)

_SHOWN = 20  # unreadable images that the log names


class CataloguedSource:
    """Records of a format, read and checked once, by number.

    Attributes:
      index: the records without pixels; labels number the identities in natural order of names.
      skipped: names of unreadable records that were left out.
    """

    def __init__(self, records: Format, catalogue: Catalogue, *, corrupt: str = "refuse"):
        """See `catalogued` for the catalogue.

        Args:
          records: the format.
          catalogue: of all its records.
          corrupt: "refuse" an unreadable image, or "skip" and count it.

        Raises:
          UserError: an unreadable image, no readable one, or another word for `corrupt`.
        """
        if corrupt not in ("refuse", "skip"):
            raise UserError(f"corrupt={corrupt!r} is neither 'refuse' nor 'skip'; take one of them")
        self._records, self._catalogue = records, catalogue
        self.skipped = [name for name, _ in catalogue.unreadable]
        if self.skipped and corrupt == "refuse":
            more = f" ({len(self.skipped)} such images)" if len(self.skipped) > 1 else ""
            raise UserError(f"{catalogue.unreadable[0][1]}{more}")
        if not len(catalogue):
            raise UserError(
                f"{records.where}: none of the {len(self.skipped)} images is readable"
                if self.skipped
                else f"{records.where} has no image"
            )
        for name in self.skipped[:_SHOWN]:
            _log.warning("skipped the unreadable image %s", name)
        if self.skipped:
            _log.warning("%s: skipped %d unreadable images", records.where, len(self.skipped))
        self._class_of = self._number_identities()
        self._domains: np.ndarray | None = None  # in place of the catalogue's, which are mapped
        self._domain_names = catalogue.domain_names

    @functools.cached_property
    def index(self) -> RecordIndex:
        """Made when first asked for: worker processes do without."""
        found = self._catalogue
        return RecordIndex(
            labels=self._class_of[found.identities],
            identities=np.array(found.identity_names, dtype=str)[found.identities],
            paths=_as_text(found.paths),
            domains=np.array(self._domain_names, dtype=str)[self._domain_codes()],
            checksums=np.array(found.checksums),
        )

    def __len__(self) -> int:
        return len(self._catalogue)

    def __getitem__(self, number: int) -> Record:
        found = self._catalogue
        row = range(len(found))[number]  # past the end the IndexError that iteration wants
        identity, path = int(found.identities[row]), found.paths[row].decode()
        return Record(
            image=self._records.read(found.places[row], path),
            label=int(self._class_of[identity]),
            identity=found.identity_names[identity],
            path=path,
            domain=self._domain_names[self._domain_codes()[row]],
        )

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "index"}

    def _domain_codes(self) -> np.ndarray:
        return self._catalogue.domains if self._domains is None else self._domains

    def _assign_domains(self, rules: Sequence[str], metadata: str, column: str) -> None:
        """Gives every record its domain in place of the data's own; see `assign_domains`."""
        paths = _as_text(self._catalogue.paths).tolist()
        domains = assign_domains(paths, rules, metadata=metadata, column=column)
        self._domains, self._domain_names = numbered(domains)

    def _number_identities(self) -> np.ndarray:
        """The class number of every identity of the catalogue."""
        names = self._catalogue.identity_names
        order = sorted(range(len(names)), key=lambda code: natural_key(names[code]))
        numbers = np.empty(len(names), np.int64)
        numbers[order] = np.arange(len(names))
        return numbers


def catalogued(
    records: Format,
    list_items: Callable[[], Sequence[Any]],
    *,
    folder: str,
    files: Iterable[tuple[str, int, int]],
    settings: Sequence[Any] = (),
) -> Catalogue:
    """The catalogue of these records: the kept one, or a new one, which is then kept.

    Args:
      records: how they are read.
      list_items: makes the list of them, where it is needed; see `Format.entry` for an item.
      folder: of the data, where the catalogue is kept as `.ddl_jax/records-...`.
      files: `stamp` of every file that tells whether the records are the same.
      settings: what else tells it.
    """
    name = f"records-{catalogue_lib.key_of(files, type(records).__name__, *settings)}"
    kept = catalogue_lib.find(folder, name)
    if kept is not None:
        return kept
    found = scan(records, list_items(), folder, name)
    # Without a single record there is nothing to map, and an error to come.
    return catalogue_lib.keep(found, folder, name) if len(found) else found


def _as_text(paths: np.ndarray) -> np.ndarray:
    try:
        return paths.astype(str)  # quick, for ASCII alone
    except UnicodeDecodeError:
        return np.strings.decode(paths, "utf-8")
