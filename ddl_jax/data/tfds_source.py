"""TFDS data sets as sources (ArrayRecord; no TensorFlow)."""

import os

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from ddl_jax.data.catalogue import NO_NUMBER, stamp
from ddl_jax.data.catalogued_source import CataloguedSource, catalogued
from ddl_jax.data.scan import Entry
from ddl_jax.data.source import DEFAULT_DOMAIN, check_labels
from ddl_jax.errors import UserError

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
        records = _Records(f"{builder.info.full_name}, split {split}", builder, split)
        catalogue = catalogued(
            records,
            lambda: range(len(records)),
            folder=os.fspath(builder.data_dir),
            files=[
                stamp(os.fspath(file), file.name)
                for file in sorted(epath.Path(builder.data_dir).iterdir())
                # Reports and cards beside them say nothing of the records.
                if ".array_record" in file.name or file.name in _METADATA
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


class _Records:
    """The records of a split by their numbers; see `Format`."""

    def __init__(self, where: str, builder: tfds.core.DatasetBuilder, split: str):
        self.where, self._split = where, split
        try:
            # Encoded bytes: decoding belongs to the workers, and to one decoder.
            self._records = builder.as_data_source(
                split, decoders={"image": tfds.decode.SkipDecoding()}
            )
            # Once the index is read only the image is wanted: TFDS takes six times as long for all.
            self._examples = builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except (ValueError, NotImplementedError) as error:  # the slice, the file format
            raise UserError(
                f"{builder.info.full_name}, split {split!r}: {str(error).splitlines()[0]}"
            ) from error

    def __len__(self) -> int:
        return len(self._records)

    def entry(self, item: int) -> Entry:
        example = self._records[item]
        label = example["label"]
        named = isinstance(label, str | bytes)
        label = _text(label) if named else int(label)
        return Entry(
            example["image"],
            _text(example.get("identity", str(label))),
            _text(example.get("path", f"{self._split}/{item}")),
            _text(example.get("domain", DEFAULT_DOMAIN)),
            label=NO_NUMBER if named else label,
            place=(item,),
        )

    def title(self, item: int) -> str:
        return f"{self.where}, record {item}"

    def read(self, place: np.ndarray, path: str) -> bytes:
        del path
        return _image(self._examples[int(place[0])])


def _image(example: bytes) -> bytes:
    """The encoded image of a record as TFDS wrote it."""
    features = tf_example_pb2.Example.FromString(example).features.feature
    return features["image"].bytes_list.value[0]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


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
