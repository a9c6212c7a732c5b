"""insightface's `train.rec` as a source, without MXNet and without conversion."""

import os
from typing import NamedTuple

import numpy as np
from etils import epath

from ddl_jax.data.catalogue import stamp
from ddl_jax.data.catalogued_source import CataloguedSource, catalogued
from ddl_jax.data.scan import Entry
from ddl_jax.errors import UserError
from ddl_jax.interop import recordio

_MOST_CLASSES = 1 << 24  # a label is a float32, which holds every whole number up to here


class RecordIOSource(CataloguedSource):
    """The faces of a RecordIO file; an image's path is `<label>/<record number>`.

    Beside `train.rec`, `train.idx` is used where it is there, else the records are found in the
    file; `property` tells the number of classes. A record's first label is its identity.

    Attributes:
      index: the records without pixels. Labels are those of the file where it has them all.
      skipped: names of unreadable records that were left out.
    """

    def __init__(self, path: str | os.PathLike, *, corrupt: str = "refuse"):
        """Finds and checks the faces, the first time; what was found is kept in `.ddl_jax`.

        Args:
          path: of the `.rec` file, or of the folder with `train.rec`.
          corrupt: "refuse" an unreadable record, or "skip" and count it.

        Raises:
          UserError: no such file, one that is none of faces, an unreadable record.
        """
        path = _record_file(os.fspath(path))
        index, properties = _index_file(path), _beside(path, "property")
        there = [file for file in (path, index, properties) if epath.Path(file).is_file()]
        classes = recordio.read_property(properties) if properties in there else _MOST_CLASSES
        records = _Records(recordio.RecordFile(path), classes)
        catalogue = catalogued(
            records,
            lambda: records.list(index if index in there else None),
            folder=os.path.dirname(path) or ".",
            files=[stamp(file, os.path.basename(file)) for file in there],
        )
        super().__init__(records, catalogue, corrupt=corrupt)


class _Records(NamedTuple):
    """The faces of a file by their rows `(number, offset)`; see `Format`."""

    file: recordio.RecordFile
    classes: int

    @property
    def where(self) -> str:
        return self.file.path

    def list(self, index: str | None) -> np.ndarray:
        """The rows of all faces, and of the index's lines that are none; see `read_index`."""
        found = recordio.read_index(index) if index else recordio.number_records(self.file)
        known = found[:, 0] >= 0
        faces = recordio.face_records(self.file, found[known])
        if not len(faces):
            raise UserError(f"{self.where} has no face among its {len(found)} records")
        return np.concatenate([faces, found[~known]])

    def entry(self, item: np.ndarray) -> Entry:
        number, offset = item.tolist()
        if number < 0:
            raise UserError(
                f"{self.title(item)} is not NUMBER<tab>OFFSET; correct or remove it, or set "
                "config.data.corrupt=skip"
            )
        labels, image = self.file.face(offset)
        label = float(labels[0]) if len(labels) else float("nan")
        if not 0 <= label < self.classes or label % 1:
            raise UserError(
                f"{self.title(item)} has label {label:g}, which is none of the {self.classes} "
                "classes; mend or remove it, or set config.data.corrupt=skip"
            )
        return Entry(image, f"{label:.0f}", f"{label:.0f}/{number}", place=(offset,))

    def title(self, item: np.ndarray) -> str:
        if item[0] < 0:
            return f"{_index_file(self.where)} line {-item[0]}"
        return f"{self.where}: record {item[0]} at byte {item[1]}"

    def read(self, place: np.ndarray, path: str) -> bytes:
        del path
        return self.file.face(int(place[0])).image


def _record_file(path: str) -> str:
    if epath.Path(path).is_dir():
        path = os.path.join(path, "train.rec")
    if not path.endswith(".rec"):
        raise UserError(f"{path!r} is no .rec file; give train.rec, or the folder that it is in")
    if not epath.Path(path).is_file():
        raise UserError(f"no file {path!r}; give train.rec, or the folder that it is in")
    return path


def _index_file(path: str) -> str:
    return path[: -len(".rec")] + ".idx"


def _beside(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)
