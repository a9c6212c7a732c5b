"""From settings to a source."""

import numpy as np

from ddl_jax import config as config_lib
from ddl_jax.data import synthetic_faces, tfds_source
from ddl_jax.data.domain_rules import assign_domains
from ddl_jax.data.exclude import left_out
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.list_source import ListSource
from ddl_jax.data.merged_source import open_merged
from ddl_jax.data.recordio_source import RecordIOSource
from ddl_jax.data.source import Source, Subset, select_identities
from ddl_jax.data.tfrecord_source import TFRecordSource
from ddl_jax.errors import UserError


def open_source(
    data: config_lib.Data, synthetic: config_lib.Synthetic, setting: str = "config.data"
) -> Source:
    """Opens, and for synthetic_faces first makes, the data set of the settings.

    Raises:
      UserError: anything about the data that would fail later.
    """
    try:
        if data.source == "image_folder":
            return _open_folder(data, f"{setting}.identities")
        whole = _open_whole(data, synthetic)
    except OSError as error:
        raise UserError(
            f"{setting}.path: {data.path!r} cannot be used: {error.strerror or error}"
        ) from error
    source = _chosen(whole, data, setting)
    if not (data.domain_rules or data.metadata):
        return source
    paths = source.index.paths.tolist()
    domains = assign_domains(
        paths, data.domain_rules, metadata=data.metadata, column=data.domain_column
    )
    return Subset(source, np.arange(len(source)), domains)


def _open_whole(data: config_lib.Data, synthetic: config_lib.Synthetic) -> Source:
    """All records of the path."""
    if data.source == "recordio":
        return RecordIOSource(data.path, corrupt=data.corrupt)
    if data.source == "tfrecord":
        return TFRecordSource(data.path, root=data.root, corrupt=data.corrupt)
    if data.source == "list":
        return ListSource(data.path, root=data.root, corrupt=data.corrupt)
    if data.source == "merged":
        return open_merged(data, lambda part, setting: open_source(part, synthetic, setting))
    if data.source == "tfds":
        return tfds_source.open_tfds(data.path, data.split, corrupt=data.corrupt)
    size = synthetic_faces.SyntheticFacesConfig(**vars(synthetic))
    # Without a path: where TFDS keeps everything, ~/tensorflow_datasets.
    builder = synthetic_faces.prepare(data.path or None, size)
    return tfds_source.TfdsSource(builder, data.split)


def _chosen(whole: Source, data: config_lib.Data, setting: str) -> Source:
    """The identities of the settings, without the images that are excluded."""
    index, paths = whole.index, whole.index.paths.tolist()
    excluded = left_out(data.exclude, index.identities.tolist(), paths, f"{setting}.exclude")
    source = select_identities(whole, data.identities, f"{setting}.identities")
    if not data.exclude:
        return source
    kept = np.flatnonzero(~np.isin(source.index.paths, index.paths[excluded]))
    if not len(kept):
        raise UserError(f"{setting}.exclude leaves out all images of {setting}.identities")
    return Subset(source, kept)


def _open_folder(data: config_lib.Data, setting: str) -> ImageFolderSource:
    # Identities are chosen inside: images of others need not be readable, nor be read.
    return ImageFolderSource(
        data.path,
        identities=data.identities,
        setting=setting,
        exclude=data.exclude,
        domain_rules=data.domain_rules,
        metadata=data.metadata,
        domain_column=data.domain_column,
        corrupt=data.corrupt,
    )
