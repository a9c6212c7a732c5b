"""TFDS data sets as sources, and any source as a TFDS data set (ArrayRecord; no TensorFlow)."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.proto import tf_example_pb2

from ddl_jax import config as config_lib
from ddl_jax.data.decode import decode_image
from ddl_jax.data.source import (
    DEFAULT_DOMAIN,
    Record,
    RecordIndex,
    Source,
    check_labels,
    checksum,
    make_index,
)
from ddl_jax.data.tfds_records import as_example, quiet_tfds, record_features
from ddl_jax.errors import UserError


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
            records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
            # Once the index is read only the image is wanted: TFDS takes six times as long for all.
            self._examples = builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except (ValueError, NotImplementedError) as error:  # the slice, the file format
            raise UserError(
                f"{builder.info.full_name}, split {split!r}: {str(error).splitlines()[0]}"
            ) from error
        self.index = self._read_index(records, f"{builder.info.full_name}, split {split}")
        paths, counts = np.unique(self.index.paths, return_counts=True)
        if counts.max() > 1:  # pairs name images by their paths
            raise UserError(
                f"{builder.info.full_name}, split {split}: {counts.max()} images have the path "
                f"{str(paths[counts.argmax()])!r}; give every image its own"
            )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Record:
        index = self.index
        label = int(index.labels[number])  # past the end the IndexError that iteration wants
        return Record(
            image=_image(self._examples[number]),
            label=label,
            identity=str(index.identities[number]),
            path=str(index.paths[number]),
            domain=str(index.domains[number]),
        )

    def _read_index(self, records: Sequence[dict[str, Any]], where: str) -> RecordIndex:
        """Reads every record once; keeps no pixels."""
        rows = [self._facts(number, example) for number, example in enumerate(records)]
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


def _image(example: bytes) -> bytes:
    """The encoded image of a record as TFDS wrote it."""
    features = tf_example_pb2.Example.FromString(example).features.feature
    return features["image"].bytes_list.value[0]


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
            "give the directory that `python -m ddl_jax.data pack` printed"
        )
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:  # TFDS reads several files, each with errors of its own
        raise UserError(
            f"{directory!r} is no prepared data set: {str(error).splitlines()[0]}"
        ) from error
    return TfdsSource(builder, split)


@dataclasses.dataclass(kw_only=True)
class PackedConfig(tfds.core.BuilderConfig):
    """What to pack: any source."""

    source: Source


class ImageFolder(tfds.core.GeneratorBasedBuilder):
    """A folder of faces, packed: its files in few large ones, read without the folder."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = []
    builder_config: PackedConfig

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=record_features(),
            description="A folder of faces: identity, path and domain of every image.",
            disable_shuffling=True,  # record numbers stay those of the folder
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        source = self.builder_config.source
        for number in range(len(source)):
            record = source[number]
            decode_image(record["image"], record["path"])  # never pack what cannot be read back
            yield number, as_example(record)


def pack(source: Source, data_dir: str, name: str) -> str:
    """Packs a source as the TFDS data set `image_folder/<name>` (split train) under `data_dir`.

    Returns:
      The directory of the data set, which `open_tfds` takes.

    Raises:
      UserError: the name is taken or cannot be one, or the directory cannot be written.
    """
    config_lib.check_name(name)
    config = PackedConfig(name=name, source=source)
    try:
        with quiet_tfds():
            builder = ImageFolder(data_dir=data_dir, config=config, file_format="array_record")
            if epath.Path(builder.data_dir).exists():
                raise UserError(f"{builder.data_dir} exists; choose another --name or remove it")
            builder.download_and_prepare()
    except OSError as error:
        raise UserError(f"{data_dir} cannot be written: {error.strerror or error}") from error
    return str(builder.data_dir)
