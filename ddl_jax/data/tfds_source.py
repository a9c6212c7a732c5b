"""TFDS data sets as sources (ArrayRecord and TFRecord; no TensorFlow)."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from ddl_jax.data.catalogue import NO_NUMBER, stamp
from ddl_jax.data.catalogued_source import CataloguedSource, catalogued
from ddl_jax.data.scan import Entry
from ddl_jax.data.source import DEFAULT_DOMAIN, check_labels
from ddl_jax.errors import UserError
from ddl_jax.interop.tfrecord import TFRecordFile

_METADATA = ("dataset_info.json", "features.json")
DATA_CARD = "data_card.json"  # what `prepare` writes beside a data set about it


class TfdsSource(CataloguedSource):
    """One split of a prepared TFDS data set with the features image and label.

    `identity`, `path` and `domain` are used where the data set has them. Else the label, a number
    or a text, names the identity, the split and number the path, and every image is of domain
    "easy". Labels are numbered anew where they are texts or the split is a slice, which need not
    hold all of them.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str, *, corrupt: str = "refuse"):
        features = builder.info.features or {}
        for name in ("image", "label"):
            if name not in features:
                raise UserError(f"{builder.info.full_name} has no feature {name!r}; faces need one")
        if split.split("[")[0] not in builder.info.splits:
            known = ", ".join(builder.info.splits)
            raise UserError(f"{builder.info.full_name} has no split {split!r}; it has {known}")
        self._split = split
        records = _records(builder, split)
        catalogue = catalogued(
            records,
            records.items,
            folder=os.fspath(builder.data_dir),
            files=[
                stamp(os.fspath(file), file.name)
                for file in sorted(epath.Path(builder.data_dir).iterdir())
                # Reports and cards beside them say nothing of the records.
                if "record-" in file.name or file.name in _METADATA
            ],
            settings=[split],
        )
        super().__init__(records, catalogue, corrupt=corrupt)

    def _number_identities(self) -> np.ndarray:
        """The data set's own numbers, where it has them and the split all of them."""
        found = self._catalogue
        if found.labels[0] == NO_NUMBER:
            return super()._number_identities()
        part = "[" in self._split or bool(self.skipped)
        check_labels(found.labels, found.paths, self._records.where, gaps=part)
        if part:
            return super()._number_identities()
        numbers = np.empty(len(found.identity_names), np.int64)
        numbers[found.identities] = found.labels
        if (other := np.flatnonzero(numbers[found.identities] != found.labels)).size:
            name = found.identity_names[found.identities[other[0]]]
            raise UserError(
                f"{self._records.where}: identity {name!r} has labels {found.labels[other[0]]} and "
                f"{numbers[found.identities[other[0]]]}; give it one"
            )
        return numbers


class _Examples:
    """How the examples of a split become records; see `Format`. A place begins with its number."""

    def __init__(self, where: str, split: str):
        self.where, self._split = where, split

    def items(self) -> np.ndarray:
        """The places of all examples, `[n, p]` int64."""
        raise NotImplementedError

    def example(self, place: Sequence[int]) -> bytes:
        """The tf.train.Example at a place."""
        raise NotImplementedError

    def entry(self, item: np.ndarray) -> Entry:
        place = item.tolist()
        features = tf_example_pb2.Example.FromString(self.example(place)).features.feature
        found = {name: _value(features[name]) for name in features if name in _READ}
        if not isinstance(found.get("image"), bytes):
            raise UserError(f"{self.title(item)} has no image; mend or remove it")
        label = found.get("label")
        named = isinstance(label, bytes)
        if label is None:
            raise UserError(f"{self.title(item)} has no label; mend or remove it")
        label = _text(label) if named else int(label)
        return Entry(
            found["image"],
            _text(found.get("identity", str(label))),
            _text(found.get("path", f"{self._split}/{place[0]}")),
            _text(found.get("domain", DEFAULT_DOMAIN)),
            label=NO_NUMBER if named else label,
            place=tuple(place),
        )

    def title(self, item: np.ndarray) -> str:
        return f"{self.where}, record {item[0]}"

    def read(self, place: np.ndarray, path: str) -> bytes:
        del path
        features = tf_example_pb2.Example.FromString(self.example(place.tolist())).features.feature
        return features["image"].bytes_list.value[0]


class _ArrayRecords(_Examples):
    """The examples of ArrayRecord files by their numbers."""

    def __init__(self, where: str, builder: tfds.core.DatasetBuilder, split: str):
        super().__init__(where, split)
        # TFDS takes six times as long to parse an example whole.
        self._examples = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )

    def items(self) -> np.ndarray:
        return np.arange(len(self._examples))[:, None]

    def example(self, place: Sequence[int]) -> bytes:
        return self._examples[place[0]]


class _TFRecords(_Examples):
    """The examples of TFRecord files, which TFDS writes by default, by shard and offset."""

    def __init__(self, where: str, builder: tfds.core.DatasetBuilder, split: str):
        super().__init__(where, split)
        self._parts = [
            (TFRecordFile(part.filename), part.skip, part.take)
            for part in builder.info.splits[split].file_instructions
        ]

    def items(self) -> np.ndarray:
        found = [
            (shard, offset)
            for shard, (file, skip, take) in enumerate(self._parts)
            for offset in itertools.islice(file.offsets(), skip, skip + take)
        ]
        places = np.array(found, np.int64).reshape(-1, 2)
        return np.column_stack([np.arange(len(places)), places])

    def example(self, place: Sequence[int]) -> bytes:
        _, shard, offset = place
        return self._parts[shard][0].read(offset)


_READ = ("image", "label", "identity", "path", "domain")
_FORMATS = {
    tfds.core.FileFormat.ARRAY_RECORD: _ArrayRecords,
    tfds.core.FileFormat.TFRECORD: _TFRecords,
}


def _records(builder: tfds.core.DatasetBuilder, split: str) -> _Examples:
    """The records of a split.

    Raises:
      UserError: a slice that is none, or a file format that is not read here.
    """
    where = f"{builder.info.full_name}, split {split!r}"
    known = _FORMATS.get(builder.info.file_format)
    if known is None:
        raise UserError(
            f"{where}: the file format is {builder.info.file_format.value}; array_record and "
            "tfrecord are read"
        )
    try:
        return known(where, builder, split)
    except (ValueError, AssertionError) as error:  # the slice
        raise UserError(f"{where}: {str(error).splitlines()[0]}") from error


def _value(feature: Any) -> bytes | int | float | None:
    """The one value of a feature; None where there is not one."""
    values = getattr(feature, feature.WhichOneof("kind") or "bytes_list").value
    return values[0] if len(values) == 1 else None


def _text(value: str | bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def open_tfds(directory: str, split: str, *, corrupt: str = "refuse") -> TfdsSource:
    """A split of the data set that stands in `directory` (the one with dataset_info.json).

    Raises:
      UserError: no data set is there, or not this split.
    """
    if not (epath.Path(directory) / "dataset_info.json").exists():
        raise UserError(
            f"{directory!r} is no prepared data set (no dataset_info.json); "
            "give the directory that `python -m ddl_jax.data prepare` printed"
        )
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:  # TFDS reads several files, each with errors of its own
        raise UserError(
            f"{directory!r} is no prepared data set: {str(error).splitlines()[0]}"
        ) from error
    return TfdsSource(builder, split, corrupt=corrupt)
