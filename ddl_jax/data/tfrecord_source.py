"""TFace's training sets as a source: TFRecord shards, and a list of records and labels."""

import os
from collections.abc import Iterator

import numpy as np
from etils import epath

from ddl_jax.data.catalogue import stamp
from ddl_jax.data.catalogued_source import CataloguedSource, catalogued
from ddl_jax.data.list_file import LabelCheck, read_list
from ddl_jax.data.scan import Entry
from ddl_jax.errors import UserError
from ddl_jax.interop.tfrecord import TFRecordFile


class TFRecordSource(CataloguedSource):
    """The images that a list finds in shards `NAME/NAME-00000.tfrecord` below `root`.

    A line is `NAME<tab>shard<tab>offset<tab>label`, or two of those: a list of pairs stands for
    every image in it, once. An image's path is `NAME-00000/<offset>`.

    Attributes:
      index: the records without pixels.
      skipped: names of unreadable records that were left out.
    """

    def __init__(self, path: str, *, root: str = "", corrupt: str = "refuse"):
        """Reads the list and checks its records, the first time.

        Args:
          path: of the list.
          root: the folder of the shards' folders; that of the list when empty.
          corrupt: "refuse" an unreadable record, or "skip" and count it.

        Raises:
          UserError: a line that says something else, a missing shard, an unreadable record.
        """
        root = root or os.path.dirname(path) or "."
        shards = sorted(map(os.fspath, epath.Path(root).glob("*/*.tfrecord")))
        if not shards:
            raise UserError(f"{root} has no NAME/NAME-00000.tfrecord; give their folder as root")
        records = _Records(path, root)
        catalogue = catalogued(
            records,
            lambda: list(_read(path)),
            folder=os.path.dirname(path) or ".",
            files=[stamp(path), *map(stamp, shards)],
            settings=[root],
        )
        super().__init__(records, catalogue, corrupt=corrupt)


class _Records:
    """Records of shards by `(line, shard's name, offset, label)`; see `Format`."""

    def __init__(self, where: str, root: str):
        self.where, self._root = where, root
        self._shards: dict[str, TFRecordFile] = {}

    def entry(self, item: tuple[int, str, int, str]) -> Entry:
        _, shard, offset, label = item
        path = f"{shard}/{offset}"
        return Entry(self._image(shard, offset), label, path, place=(offset,))

    def title(self, item: tuple[int, str, int, str]) -> str:
        line, shard, offset, _ = item
        return f"{self.where} line {line}: {shard} at byte {offset}"

    def read(self, place: np.ndarray, path: str) -> bytes:
        return self._image(path.rpartition("/")[0], int(place[0]))

    def _image(self, shard: str, offset: int) -> bytes:
        file = self._shards.get(shard)
        if file is None:  # of two threads that come here at once either file will do
            folder = shard.rpartition("-")[0]
            file = TFRecordFile(os.path.join(self._root, folder, f"{shard}.tfrecord"))
            self._shards[shard] = file
        return file.feature(offset, "image")

    def __getstate__(self) -> dict:
        return vars(self) | {"_shards": {}}


def _read(path: str) -> Iterator[tuple[int, str, int, str]]:
    """The records of a list, each with the first line that names it."""
    check, labels = LabelCheck(), {}
    shards: dict[tuple[str, str], str] = {}
    for line, row in read_list(path):
        where = f"{path} line {line}"
        if len(row) not in (4, 8):
            raise UserError(f"{where} has {len(row)} columns; NAME shard offset label are due")
        for name, shard, offset, label in (row[:4], row[4:]) if row[4:] else (row,):
            if not (name and shard.isdecimal() and offset.isdecimal()):
                raise UserError(f"{where}: {name!r} {shard!r} {offset!r} is not NAME shard offset")
            stem = shards.setdefault((name, shard), f"{name}-{int(shard):05d}")
            key, label = (stem, int(offset)), check.check(label, where)
            if key not in labels:
                labels[key] = label
                yield line, *key, label
            elif labels[key] != label:
                raise UserError(
                    f"{where}: {stem} at byte {offset} has label {label!r}, above {labels[key]!r}"
                )
    check.finish()
    if not labels:
        raise UserError(f"{path} names no record; write NAME shard offset label for each")
