"""Folders of images, `identity/.../image` at any depth, read in place."""

import concurrent.futures
import logging
import os
from collections.abc import Iterator, Sequence

from etils import epath

from ddl_jax.data.decode import decode_image
from ddl_jax.data.domain_rules import assign_domains
from ddl_jax.data.source import Record, make_index, natural_key
from ddl_jax.errors import UserError

_log = logging.getLogger(__name__)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm")


class ImageFolderSource:
    """The images under `root`; an image's identity is the first folder of its path.

    Every file is decoded once when the source is made, so that a corrupt image is known before any
    work starts.

    Attributes:
      index: the records without pixels; paths are relative to `root`, with forward slashes.
      skipped: paths of unreadable images that were left out.
    """

    def __init__(
        self,
        root: str,
        *,
        domain_rules: Sequence[str] = (),
        metadata: str = "",
        domain_column: str = "",
        corrupt: str = "refuse",
    ):
        """Finds and checks the images.

        Args:
          root: the folder.
          domain_rules, metadata, domain_column: see `assign_domains`.
          corrupt: "refuse" an unreadable image, or "skip" and count it.

        Raises:
          UserError: a missing or empty folder, an image outside any identity's folder, a corrupt
            image, an image without a domain.
        """
        self._root = root
        found = _find_images(root)
        readable = _readable(root, found)
        self.skipped = [path for path, error in zip(found, readable) if error is not None]
        if self.skipped and corrupt == "refuse":
            more = f" ({len(self.skipped)} such images)" if len(self.skipped) > 1 else ""
            raise UserError(str(next(filter(None, readable))) + more)
        for path in self.skipped:
            _log.warning("skipped the unreadable image %s", path)
        paths = [path for path, error in zip(found, readable) if error is None]
        if not paths:
            raise UserError(f"{root}: none of the {len(found)} images is readable")
        domains = assign_domains(paths, domain_rules, metadata=metadata, column=domain_column)
        self.index = make_index([path.split("/", 1)[0] for path in paths], paths, domains)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Record:
        index = self.index
        path = str(index.paths[number])
        return Record(
            image=_read(self._root, path),
            label=int(index.labels[number]),
            identity=str(index.identities[number]),
            path=path,
            domain=str(index.domains[number]),
        )


def _find_images(root: str) -> list[str]:
    """Relative paths of all images, in natural order; hidden files and folders are passed over."""
    folder = epath.Path(root)
    if not folder.is_dir():
        raise UserError(f"no folder {root!r}; give a folder with one sub-folder an identity")
    found = list(_walk(folder, "", ()))
    if not found:
        raise UserError(f"{root} holds no image ({', '.join(_SUFFIXES)}); give identity/.../image")
    loose = next((path for path in sorted(found) if "/" not in path), None)
    if loose:
        raise UserError(f"{root}: {loose} is in no identity's folder; move it to IDENTITY/{loose}")
    return sorted(found, key=natural_key)


def _walk(folder: epath.Path, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    """Relative paths of the images in a folder; links to folders are followed, as epath does not.

    `above` are the folders on the way here: a link back to one of them would never end.
    """
    place = os.path.realpath(folder)
    if place in above:
        raise UserError(f"{prefix.rstrip('/')} is a link to a folder that it is in; remove it")
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/", (*above, place))
        elif entry.name.lower().endswith(_SUFFIXES):
            yield prefix + entry.name


def _readable(root: str, paths: Sequence[str]) -> list[UserError | None]:
    """What is wrong with each image, None where it decodes."""

    def check(path: str) -> UserError | None:
        try:
            decode_image(_read(root, path), path)
        except UserError as error:
            return error
        return None

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(check, paths))


def _read(root: str, path: str) -> bytes:
    try:
        return (epath.Path(root) / path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
