"""Images that a list names, `path label [domain]`, as a source."""

import itertools
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ddl_jax.data.catalogue import stamp, stamp_of_image
from ddl_jax.data.catalogued_source import CataloguedSource, catalogued
from ddl_jax.data.image_folder import read_file
from ddl_jax.data.list_file import LabelCheck, columns_of, read_list
from ddl_jax.data.scan import Entry
from ddl_jax.data.source import DEFAULT_DOMAIN
from ddl_jax.errors import UserError


class ListSource(CataloguedSource):
    """The images of a list; see `read_list` for how it is written.

    Its columns are path, label and, if there is a third, domain; or those that its first line names
    (`path`, `label` or `identity`, `domain`; others are passed over).

    Attributes:
      index: the records without pixels; `paths` are as in the list.
      skipped: unreadable images that were left out.
    """

    def __init__(self, path: str, *, root: str = "", corrupt: str = "refuse"):
        """Reads the list and checks its images, the first time.

        Args:
          path: of the list.
          root: the folder below which its paths are; that of the list when empty.
          corrupt: "refuse" an unreadable image, or "skip" and count it.

        Raises:
          UserError: a line that says something else, a missing or unreadable image.
        """
        root = root or os.path.dirname(path) or "."
        images = list(_read(path))
        if not images:
            raise UserError(f"{path} names no image; write a line `path label` for each")
        records = _ListedFiles(path, root)
        catalogue = catalogued(
            records,
            lambda: images,
            folder=os.path.dirname(path) or ".",
            files=itertools.chain(
                [stamp(path)], (stamp_of_image(root, image.path) for image in images)
            ),
            settings=[root],
        )
        super().__init__(records, catalogue, corrupt=corrupt)


class _Line(NamedTuple):
    """An image of the list."""

    line: int
    path: str
    identity: str
    domain: str


class _ListedFiles(NamedTuple):
    """The images of a list; see `Format`."""

    where: str
    root: str

    def entry(self, item: _Line) -> Entry:
        return Entry(self.read(None, item.path), item.identity, item.path, item.domain)

    def title(self, item: _Line) -> str:
        return f"{self.where} line {item.line}: {item.path}"

    def read(self, place: np.ndarray | None, path: str) -> bytes:
        del place
        return read_file(self.root, path)


def _read(path: str) -> Iterator[_Line]:
    rows = read_list(path)
    first = next(rows, None)
    if first is None:
        return
    named = columns_of(first[1])
    if named is None:
        rows, places = itertools.chain([first], rows), {"path": 0, "label": 1, "domain": 2}
        most = len(places)
    else:
        places, most = named, len(named)
    label = "label" if "label" in places else "identity"
    if label not in places:
        raise UserError(f"{path} line 1: no column label or identity, only {','.join(places)}")
    labels = LabelCheck()
    for number, row in rows:
        where = f"{path} line {number}"
        needed = len(named) if named else 2
        if not needed <= len(row) <= most:
            raise UserError(
                f"{where} has {len(row)} columns, not path label [domain]; put tabs between them, "
                "or name the columns in the first line"
            )
        if not row[places["path"]]:
            raise UserError(f"{where} has no path")
        domain = row[places["domain"]] if places.get("domain", most) < len(row) else DEFAULT_DOMAIN
        if not domain:
            raise UserError(f"{where} has no domain; name it, or leave the column out")
        identity = row[places[label]]
        if label == "label" or not identity:  # an identity is a name, whatever it looks like
            labels.check(identity, where)
        yield _Line(number, row[places["path"]], identity, domain)
    labels.finish()
