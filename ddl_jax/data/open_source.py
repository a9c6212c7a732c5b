"""From settings to a source."""

from absl import logging
from etils import epath

from ddl_jax import config as config_lib
from ddl_jax.data import synthetic_faces, tfds_source
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.source import Source, check_labels, select_identities


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
            logging.warning("%s: skipped %d unreadable images", data.path, len(source.skipped))
    elif data.source == "tfds":
        source = tfds_source.open_tfds(data.path, data.split)
    else:
        builder = synthetic_faces.prepare(data.path or None, synthetic)
        source = tfds_source.TfdsSource(builder, data.split)
    source = select_identities(source, data.identities, f"{setting}.identities")
    check_labels(source.index, setting)
    return source


def directory_of(data: config_lib.Data) -> epath.Path | None:
    """Where files that belong to the data are kept; None for the default of synthetic_faces."""
    return epath.Path(data.path) if data.path else None
