"""How a `Record` is written with TFDS: without TensorFlow, and without its announcements."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from ddl_jax.data.source import Record


def record_features() -> tfds.features.FeaturesDict:
    """The features of the data sets this library writes: those of a `Record`."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": np.int64,
            "identity": tfds.features.Text(),
            "path": tfds.features.Text(),
            "domain": tfds.features.Text(),
        }
    )


def as_example(record: Record) -> dict[str, Any]:
    """A record as TFDS writes it: the image stays encoded, since encoding needs TensorFlow."""
    return {**record, "image": io.BytesIO(record["image"])}


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Keeps TFDS from announcing downloads, of which there are none, and custom configs."""
    tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
