"""The embedded data set: rendered once into ArrayRecord files by TFDS, read as any other after.

Needs no network and no TensorFlow.
"""

import dataclasses
import functools
from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from ddl_jax.data.source import Record
from ddl_jax.data.synthetic_faces import domains
from ddl_jax.data.synthetic_faces.render import render_identity
from ddl_jax.data.tfds_records import as_example, quiet_tfds, record_features
from ddl_jax.data.worker_pool import available_cores, process_pool
from ddl_jax.errors import UserError
from ddl_jax.files import check_local

_JPEG_QUALITY = 95
# A worker process takes a second or two to start: not worth it for fewer identities.
_IDENTITIES_PER_WORKER = 64
_IDENTITIES_PER_TASK = 4
# People of the test split are numbered from here: no size of the train split reaches them.
_FIRST_TEST_IDENTITY = 1_000_000


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticFacesConfig(tfds.core.BuilderConfig):
    """The size of the data set. A larger one has the people of a smaller one, and more."""

    name: str = ""  # made of the numbers below, so that two settings never share a directory
    train_identities: int = 600
    test_identities: int = 200
    easy_views: int = 4  # pictures an identity
    hard_views: int = 2  # pictures an identity in each hard domain
    size: int = 112  # pixels a side
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "train_identities": 1,
            "test_identities": 1,
            "easy_views": 1,
            "hard_views": 0,
            "size": 32,
            "seed": 0,
        }
        for field, low in least.items():
            value = getattr(self, field)
            if not isinstance(value, int) or value < low:
                raise UserError(
                    f"synthetic_faces: {field} is {value!r}: use a whole number of at least {low}"
                )
        if self.train_identities > _FIRST_TEST_IDENTITY:
            raise UserError(
                f"synthetic_faces: train_identities is {self.train_identities}: use at most "
                f"{_FIRST_TEST_IDENTITY}"
            )
        self.name = (
            f"train{self.train_identities}_test{self.test_identities}"
            f"_easy{self.easy_views}_hard{self.hard_views}"
            f"_size{self.size}_seed{self.seed}"
        )

    @property
    def views(self) -> dict[str, int]:
        """How many pictures an identity has in each domain."""
        return {domains.EASY: self.easy_views} | dict.fromkeys(domains.HARD, self.hard_views)


def _encode_identity(
    identity: int, seed: int, views: dict[str, int], size: int
) -> list[tuple[str, int, bytes]]:
    """All pictures of an identity as (domain, view number, JPEG)."""

    def jpeg(image: np.ndarray) -> bytes:
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        return data.tobytes()

    return [
        (domain, number, jpeg(image))
        for domain, number, image in render_identity(seed, identity, views, size)
    ]


def _encode_identities(
    identities: range, config: SyntheticFacesConfig
) -> Iterator[list[tuple[str, int, bytes]]]:
    """The pictures of each identity in order, on all cores; one core makes the same bytes."""
    encode = functools.partial(
        _encode_identity, seed=config.seed, views=config.views, size=config.size
    )
    workers = min(available_cores(), len(identities) // _IDENTITIES_PER_WORKER)
    if workers < 2:
        yield from map(encode, identities)
        return
    with process_pool(workers) as pool:
        yield from pool.map(encode, identities, chunksize=_IDENTITIES_PER_TASK)


class SyntheticFaces(tfds.core.GeneratorBasedBuilder):
    """Parametric faces of made-up people, in an easy domain and four hard ones."""

    VERSION = tfds.core.Version("2.0.0")  # to be raised when the pictures change
    BUILDER_CONFIGS = [SyntheticFacesConfig()]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=record_features(),
            # The order on disk is the order made: identities together, domains in their order.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        config = self.builder_config
        first = {"train": 0, "test": _FIRST_TEST_IDENTITY}
        count = {"train": config.train_identities, "test": config.test_identities}
        return {
            split: self._generate_examples(split, range(start, start + count[split]))
            for split, start in first.items()
        }

    def _generate_examples(self, split: str, identities: range):
        key = 0
        pictures = _encode_identities(identities, self.builder_config)
        for label, (identity, views) in enumerate(zip(identities, pictures)):
            for domain, number, jpeg in views:
                record = Record(
                    image=jpeg,
                    label=label,
                    identity=f"{identity:07d}",
                    path=f"{split}/{identity:07d}/{domain}/{number}.jpg",
                    domain=domain,
                )
                yield key, as_example(record)
                key += 1


def make_builder(data_dir: epath.PathLike, config: SyntheticFacesConfig) -> SyntheticFaces:
    """The builder of a config, whether or not its data set is made."""
    # TFDS refuses an equal config beside one that the class already has.
    known = {one.name: one for one in SyntheticFaces.BUILDER_CONFIGS}
    config = known.get(config.name, config)
    return SyntheticFaces(data_dir=data_dir, config=config, file_format="array_record")


def prepare(data_dir: epath.PathLike, config: SyntheticFacesConfig | None = None) -> SyntheticFaces:
    """Opens the data set in `data_dir`, after making it if it is not there yet.

    A half-made data set is never seen: TFDS writes beside the final directory and renames at the
    end. A program that calls this needs the usual `if __name__ == "__main__":`, as worker processes
    import it.

    Args:
      data_dir: a folder for data sets; a remote one (`gs://`) must have it already.
      config: the numbers of the data set; by default 600 + 200 identities of 12 pictures.

    Returns:
      The builder, ready for `as_data_source(split)`.

    Raises:
      UserError: it is not there, and `data_dir` is remote.
    """
    config = config or SyntheticFacesConfig()
    with quiet_tfds():
        builder = make_builder(data_dir, config)
        prepared = builder.is_prepared()
    if not prepared:
        check_local(builder.data_dir)
        count = config.train_identities + config.test_identities
        logging.info(
            "rendering synthetic_faces: %d identities of %d pictures into %s",
            count,
            sum(config.views.values()),
            builder.data_dir,
        )
        with quiet_tfds():
            builder.download_and_prepare()
    return builder
