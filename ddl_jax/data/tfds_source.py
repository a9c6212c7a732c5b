"""TFDS data sets as sources (ArrayRecord; no TensorFlow)."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ddl_jax.data.source import (
    DEFAULT_DOMAIN,
    Record,
    RecordIndex,
    check_labels,
    checksum,
    make_index,
)
from ddl_jax.errors import UserError

DATA_CARD = "data_card.json"  # what `prepare` writes beside a data set about it


class TfdsSource:
    """One split of a prepared TFDS data set with the features image and label.

    `identity`, `path` and `domain` are used where the data set has them. Else the label, a number
    or a text, names the identity, the split and number the path, and every image is of domain
    "easy". Labels are numbered anew where they are texts or the split is a slice, which need not
    hold all of them.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        features = builder.info.features or {}
        for name in ("image", "label"):
            if name not in features:
                raise UserError(f"{builder.info.full_name} has no feature {name!r}; faces need one")
        if split.split("[")[0] not in builder.info.splits:
            known = ", ".join(builder.info.splits)
            raise UserError(f"{builder.info.full_name} has no split {split!r}; it has {known}")
        self._split = split
        try:
            # Encoded bytes: decoding belongs to the workers, and to one decoder.
            self._records = builder.as_data_source(
                split, decoders={"image": tfds.decode.SkipDecoding()}
            )
        except (ValueError, NotImplementedError) as error:  # the slice, the file format
            raise UserError(
                f"{builder.info.full_name}, split {split!r}: {str(error).splitlines()[0]}"
            ) from error
        self.index = self._read_index(f"{builder.info.full_name}, split {split}")
        paths, counts = np.unique(self.index.paths, return_counts=True)
        if counts.max() > 1:  # pairs name images by their paths
            raise UserError(
                f"{builder.info.full_name}, split {split}: {counts.max()} images have the path "
                f"{str(paths[counts.argmax()])!r}; give every image its own"
            )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> Record:
        index = self.index
        label = int(index.labels[number])  # past the end the IndexError that iteration wants
        return Record(
            image=self._records[number]["image"],
            label=label,
            identity=str(index.identities[number]),
            path=str(index.paths[number]),
            domain=str(index.domains[number]),
        )

    def _read_index(self, where: str) -> RecordIndex:
        """Reads every record once; keeps no pixels."""
        rows = [self._facts(number, example) for number, example in enumerate(self._records)]
        labels, identities, paths, domains, checksums = zip(*rows) if rows else ([],) * 5
        index = make_index(identities, paths, domains, checksums)
        if isinstance(labels[0] if rows else 0, str):
            return index
        numbered = dataclasses.replace(index, labels=np.array(labels, np.int64))
        check_labels(numbered, where, gaps="[" in self._split)
        return index if "[" in self._split else numbered

    def _facts(self, number: int, example: dict[str, Any]) -> tuple[int | str, str, str, str, int]:
        label = example["label"]
        label = _text(label) if isinstance(label, str | bytes) else int(label)
        return (
            label,
            _text(example.get("identity", str(label))),
            _text(example.get("path", f"{self._split}/{number}")),
            _text(example.get("domain", DEFAULT_DOMAIN)),
            checksum(example["image"]),
        )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def open_tfds(directory: str, split: str) -> TfdsSource:
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
    return TfdsSource(builder, split)
