"""Folders of images, `identity/.../image` at any depth, read in place."""

import collections
import logging
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from ddl_jax.data.catalogue import stamp_of_image
from ddl_jax.data.catalogued_source import CataloguedSource, catalogued
from ddl_jax.data.exclude import left_out
from ddl_jax.data.scan import Entry
from ddl_jax.data.source import chosen_identities, natural_key
from ddl_jax.errors import UserError
from ddl_jax.files import is_remote

_log = logging.getLogger(__name__)

# Whatever calls itself an image is taken for one; what OpenCV cannot decode is then an unreadable
# image. Files of other names are passed over, and counted.
_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".pgm", ".ppm", ".pbm", ".pnm", ".pxm", ".pfm"),
    *(".bmp", ".dib", ".tif", ".tiff", ".webp", ".jp2", ".j2k", ".jxl", ".avif", ".heic", ".heif"),
    *(".gif", ".ras", ".sr", ".hdr", ".pic", ".exr"),
)
_SHOWN = 5  # suffixes that are told


class ImageFolderSource(CataloguedSource):
    """The images under `root`; an image's identity is the first folder of its path.

    Every image that is used is decoded once, the first time, so that a corrupt one is known before
    any work starts; what was found is kept in `root/.ddl_jax` until a file changes.

    Attributes:
      index: the records without pixels; paths are relative to `root`, with forward slashes.
      skipped: paths of unreadable images that were left out.
    """

    def __init__(
        self,
        root: str,
        *,
        identities: str = "",
        setting: str = "identities",
        exclude: str = "",
        domain_rules: Sequence[str] = (),
        metadata: str = "",
        domain_column: str = "",
        corrupt: str = "refuse",
    ):
        """Finds and checks the images.

        Args:
          root: the folder.
          identities: those to use; see `chosen_identities`. All when empty.
          setting: what to call `identities` in an error.
          exclude: a list of images and identities to leave out; see `left_out`.
          domain_rules, metadata, domain_column: see `assign_domains`.
          corrupt: "refuse" an unreadable image, or "skip" and count it.

        Raises:
          UserError: a missing or empty folder, an image outside any identity's folder, a corrupt
            image, an image without a domain.
        """
        found = _find_images(root)
        chosen = chosen_identities(list(map(_identity, found)), identities, setting)
        excluded = left_out(exclude, list(map(_identity, found)), found)
        found = [p for p, out in zip(found, excluded) if _identity(p) in chosen and not out]
        if not found:
            raise UserError(f"{root}: {exclude} leaves out all images of {setting}; shorten it")
        records = _ImageFiles(root)
        catalogue = catalogued(
            records,
            lambda: found,
            folder=root,
            files=(stamp_of_image(root, path) for path in found),
        )
        super().__init__(records, catalogue, corrupt=corrupt)
        if domain_rules or metadata:
            self._assign_domains(domain_rules, metadata, domain_column)


class _ImageFiles(NamedTuple):
    """The images of a folder by their paths; see `Format`."""

    where: str

    def entry(self, item: str) -> Entry:
        return Entry(self.read(None, item), _identity(item), item)

    def title(self, item: str) -> str:
        return item

    def read(self, place: np.ndarray | None, path: str) -> bytes:
        del place  # the path says it all
        return read_file(self.where, path)


def _identity(path: str) -> str:
    return path.split("/", 1)[0]


def _find_images(root: str) -> list[str]:
    """The images of identities."""
    if not epath.Path(root).is_dir():
        raise UserError(f"no folder {root!r}; give a folder with one sub-folder an identity")
    found = find_images(root)
    if not found:
        raise UserError(f"{root} holds no image ({', '.join(_SUFFIXES)}); give identity/.../image")
    loose = next((path for path in sorted(found) if "/" not in path), None)
    if loose:
        raise UserError(f"{root}: {loose} is in no identity's folder; move it to IDENTITY/{loose}")
    return found


def find_images(root: str) -> list[str]:
    """Relative paths of all images, in natural order, folder by folder.

    Hidden files and folders are passed over; so are files whose names are no images', which the log
    counts by suffix.

    Args:
      root: a folder.

    Raises:
      UserError: a folder that cannot be read, or a file name that is none.
    """
    others: collections.Counter[str] = collections.Counter()
    try:
        found = list(_walk(os.fspath(root), "", (), others))
    except PermissionError as error:
        raise UserError(f"{error.filename} cannot be read; permit it or leave it out") from error
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(_SHOWN))
        more = ", ..." if len(others) > _SHOWN else ""
        _log.warning(
            "%s: passed over %d files that are no images by their names: %s%s",
            *(root, others.total(), kinds, more),
        )
    return found


def _walk(
    folder: str, prefix: str, above: tuple[str, ...], others: collections.Counter[str]
) -> Iterator[str]:
    """Relative paths of the images in a folder; links to folders are followed.

    `above` are the folders on the way here: a link back to one of them would never end. `others`
    counts what is no image by its name.
    """
    place = os.path.realpath(folder)
    if place in above:
        raise UserError(f"{prefix.rstrip('/')} is a link to a folder that it is in; remove it")
    entries = [entry for entry in _entries(folder) if not entry[0].startswith(".")]
    # With the mark behind a folder this is the order of whole paths, at a fraction of the memory.
    for name, is_folder in sorted(entries, key=lambda one: natural_key(one[0] + "/" * one[1])):
        if not name.isprintable():  # bytes that are no UTF-8 become surrogates
            raise UserError(f"{prefix}{ascii(name)} is no readable file name; rename it")
        if is_folder:
            yield from _walk(
                os.path.join(folder, name), f"{prefix}{name}/", (*above, place), others
            )
        elif name.lower().endswith(_SUFFIXES):
            yield prefix + name
        else:
            others[os.path.splitext(name)[1].lower() or "without a suffix"] += 1


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    """What is in a folder, and whether it is one itself."""
    if is_remote(folder):
        yield from ((entry.name, entry.is_dir()) for entry in epath.Path(folder).iterdir())
        return
    with os.scandir(folder) as found:  # knows the kind of every entry but links without asking
        for entry in found:
            # A link that leads to itself is an error to `is_dir`, and no folder to `isdir`.
            linked = entry.is_symlink()
            yield entry.name, os.path.isdir(entry.path) if linked else entry.is_dir()


def read_file(root: str, path: str) -> bytes:
    """The bytes of an image, or one line that says why not."""
    try:
        return (epath.Path(root) / path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
