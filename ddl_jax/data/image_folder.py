"""Folders of images, `identity/.../image` at any depth, read in place."""

import concurrent.futures
import logging
import os
from collections.abc import Iterator, Sequence

from etils import epath

from ddl_jax.data.decode import decode_image
from ddl_jax.data.domain_rules import assign_domains
from ddl_jax.data.source import Record, checksum, chosen_identities, make_index, natural_key
from ddl_jax.errors import UserError

_log = logging.getLogger(__name__)

# Whatever calls itself an image is taken for one; what OpenCV cannot decode is then an unreadable
# image, never a file passed over without a word.
_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".pgm", ".ppm", ".pbm", ".pnm"),
    *(".bmp", ".tif", ".tiff", ".webp", ".jp2", ".avif", ".heic", ".gif"),
)


class ImageFolderSource:
    """The images under `root`; an image's identity is the first folder of its path.

    Every image that is used is decoded once when the source is made, so that a corrupt one is known
    before any work starts.

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
          domain_rules, metadata, domain_column: see `assign_domains`.
          corrupt: "refuse" an unreadable image, or "skip" and count it.

        Raises:
          UserError: a missing or empty folder, an image outside any identity's folder, a corrupt
            image, an image without a domain.
        """
        self._root = root
        found = _find_images(root)
        chosen = chosen_identities(list(map(_identity, found)), identities, setting)
        found = [path for path in found if _identity(path) in chosen]
        checked = dict(zip(found, _check(root, found)))
        errors = {path: e for path, e in checked.items() if isinstance(e, UserError)}
        self.skipped = list(errors)
        if errors and corrupt == "refuse":
            more = f" ({len(errors)} such images)" if len(errors) > 1 else ""
            raise UserError(f"{next(iter(errors.values()))}{more}")
        for path in self.skipped:
            _log.warning("skipped the unreadable image %s", path)
        paths = [path for path in found if path not in errors]
        if not paths:
            raise UserError(f"{root}: none of the {len(found)} images is readable")
        domains = assign_domains(paths, domain_rules, metadata=metadata, column=domain_column)
        self.index = make_index(
            list(map(_identity, paths)), paths, domains, [checked[path] for path in paths]
        )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Record:
        index = self.index
        path = str(index.paths[number])
        return Record(
            image=read_file(self._root, path),
            label=int(index.labels[number]),
            identity=str(index.identities[number]),
            path=path,
            domain=str(index.domains[number]),
        )


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
    """Relative paths of all images, in natural order; hidden files and folders are passed over.

    Args:
      root: a folder.

    Raises:
      UserError: a folder that cannot be read, or a file name that is none.
    """
    try:
        return sorted(_walk(epath.Path(root), "", ()), key=natural_key)
    except PermissionError as error:
        raise UserError(f"{error.filename} cannot be read; permit it or leave it out") from error


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
        if not entry.name.isprintable():  # bytes that are no UTF-8 become surrogates
            raise UserError(f"{prefix}{ascii(entry.name)} is no readable file name; rename it")
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/", (*above, place))
        elif entry.name.lower().endswith(_SUFFIXES):
            yield prefix + entry.name


def _check(root: str, paths: Sequence[str]) -> list[UserError | int]:
    """Each image's checksum, or what is wrong with it."""

    def check(path: str) -> UserError | int:
        try:
            encoded = read_file(root, path)
            decode_image(encoded, path)
        except UserError as error:
            return error
        return checksum(encoded)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(check, paths))


def read_file(root: str, path: str) -> bytes:
    """The bytes of an image, or one line that says why not."""
    try:
        return (epath.Path(root) / path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
