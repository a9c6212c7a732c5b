"""From settings to a source."""

import logging

from ddl_jax import config as config_lib
from ddl_jax.data import synthetic_faces, tfds_source
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.source import Source, check_labels, select_identities

_log = logging.getLogger(__name__)


def open_source(
    data: config_lib.Data, synthetic: config_lib.Synthetic, setting: str = "config.data"
) -> Source:
    """Opens, and for synthetic_faces first makes, the data set of the settings.

    Raises:
      UserError: anything about the data that would fail later.
    """
    if data.source == "image_folder":
        source: Source = ImageFolderSource(
            data.path,
            domain_rules=data.domain_rules,
            metadata=data.metadata,
            domain_column=data.domain_column,
            corrupt=data.corrupt,
        )
        if source.skipped:
            _log.warning("%s: skipped %d unreadable images", data.path, len(source.skipped))
    elif data.source == "tfds":
        source = tfds_source.open_tfds(data.path, data.split)
    else:
        size = synthetic_faces.SyntheticFacesConfig(**vars(synthetic))
        # Without a path: where TFDS keeps everything, ~/tensorflow_datasets.
        builder = synthetic_faces.prepare(data.path or None, size)
        source = tfds_source.TfdsSource(builder, data.split)
    source = select_identities(source, data.identities, f"{setting}.identities")
    check_labels(source.index, setting)
    return source
