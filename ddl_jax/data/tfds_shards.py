"""TFDS data sets written shard by shard, in several processes, without TensorFlow and Beam.

TFDS's own writers know neither: `download_and_prepare` writes in one process and starts again after
a stop, `SequentialWriter` writes TFRecord with TensorFlow, and the parallel one is Beam's. The
shards are written here, with TFDS's features and file format, and its metadata by TFDS.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import example_serializer, writer

from ddl_jax.data.face_cut import FaceCut
from ddl_jax.data.source import Source, checksum
from ddl_jax.data.survey import save
from ddl_jax.data.tfds_records import as_example, quiet_tfds, record_features
from ddl_jax.data.worker_pool import map_shared
from ddl_jax.files import replacing

SPLIT = "train"
VERSION = "1.0.0"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is written, in order.

    Attributes:
      rows: `[m]` record numbers of the source.
      labels: `[m]` their new labels.
      landmarks: `[m, 5, 2]` of the faces; used with a cut only.
      images_per_shard: of all shards but the last.
      cut: how faces are cut out; None leaves the images' bytes as they are.
    """

    rows: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray
    images_per_shard: int
    cut: FaceCut | None

    @property
    def shard_lengths(self) -> list[int]:
        """Images in each shard."""
        starts = range(0, len(self.rows), self.images_per_shard)
        return [min(self.images_per_shard, len(self.rows) - start) for start in starts]


@dataclasses.dataclass(frozen=True)
class _Job:
    """What the processes share."""

    source: Source
    cut: FaceCut | None
    directory: epath.Path
    notes: epath.Path


@dataclasses.dataclass(frozen=True)
class _Shard:
    path: epath.Path
    rows: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray


def write_shards(
    source: Source,
    plan: Plan,
    name: str,
    directory: epath.Path,
    notes: epath.Path,
    *,
    workers: int,
) -> Iterator[int]:
    """Writes the shards that are not there yet; yields how many images each has, also old ones.

    Args:
      source: of the images.
      plan: what is written.
      name: of the data set.
      directory: of the shards; a shard appears when it is whole.
      notes: a directory for what `checksums` reads; both directories are for one plan only.
      workers: number of processes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    notes.mkdir(parents=True, exist_ok=True)
    shards = list(_shards(plan, name, directory))
    todo = [shard for shard in shards if not shard.path.exists()]
    yield from (len(shard.rows) for shard in shards if shard.path.exists())
    job = _Job(source, plan.cut, directory, notes)
    yield from map_shared(_write_shard, job, todo, workers)


def checksums(plan: Plan, notes: epath.Path) -> np.ndarray:
    """`[m]` checksums of the images as they were written."""
    found = []
    for number in range(len(plan.shard_lengths)):
        with (notes / f"{number:05d}.npy").open("rb") as file:
            found.append(np.load(file))
    return np.concatenate(found)


def write_metadata(plan: Plan, name: str, directory: epath.Path, description: str) -> None:
    """Makes a TFDS data set of a directory of shards."""
    size = sum(path.stat().length for path in directory.glob(f"{name}-{SPLIT}.array_record-*"))
    split = tfds.core.SplitInfo(name=SPLIT, shard_lengths=plan.shard_lengths, num_bytes=size)
    with quiet_tfds():
        tfds.folder_dataset.write_metadata(
            data_dir=directory,
            features=record_features(),
            split_infos=[split],
            version=VERSION,
            check_data=False,  # by TensorFlow
            description=description,
            disable_shuffling=True,  # record numbers stay those of the source
        )


def _shards(plan: Plan, name: str, directory: epath.Path) -> Iterator[_Shard]:
    count = len(plan.shard_lengths)
    for number in range(count):
        part = slice(number * plan.images_per_shard, (number + 1) * plan.images_per_shard)
        yield _Shard(
            path=directory / f"{name}-{SPLIT}.array_record-{number:05d}-of-{count:05d}",
            rows=plan.rows[part],
            labels=plan.labels[part],
            landmarks=plan.landmarks[part],
        )


def _write_shard(job: _Job, shard: _Shard) -> int:
    features = record_features()
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    sums = np.zeros(len(shard.rows), np.uint32)

    def examples() -> Iterator[tuple[int, bytes]]:
        for place, number in enumerate(shard.rows.tolist()):
            record = job.source[number] | {"label": int(shard.labels[place])}
            if job.cut:
                image = job.cut(record["image"], record["path"], shard.landmarks[place])
                record |= {"image": image}
            sums[place] = checksum(record["image"])
            example = features.encode_example(as_example(record))
            yield number, serializer.serialize_example(example)

    number = int(shard.path.name.split("-")[-3])
    with replacing(shard.path) as temporary:
        writer.ExampleWriter(tfds.core.FileFormat.ARRAY_RECORD).write(temporary, examples())
        save(job.notes / f"{number:05d}.npy", sums)
    return len(shard.rows)
