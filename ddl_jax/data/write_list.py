"""A list of any source's images, as `list_source` and peers' trainers read it."""

import csv
import os
import pathlib

from etils import epath
from tqdm import tqdm

from ddl_jax.data.source import RecordIndex, Source
from ddl_jax.errors import UserError
from ddl_jax.files import replacing, write_atomically

_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png"}


def write_list(path: str | os.PathLike, source: Source, *, images: str | os.PathLike = "") -> None:
    """Writes a line `path identity domain` for each image of a source, in its order.

    Commas part the columns where the list's name ends in `.csv`, else tabs. `ListSource` reads the
    same identities, labels, domains and order from it.

    Args:
      path: of the list, which must not exist.
      source: whose images; any.
      images: a folder for the images themselves, `IMAGES/<path>`, with a suffix where the path has
        none. Files that are there with the same contents stay: a stopped call goes on. Without it
        the list has the source's own paths, which are below its root.

    Raises:
      UserError: a name that no list can hold, a list or another image that exists, or files that
        cannot be written.
    """
    target = epath.Path(path)
    if target.exists():
        raise UserError(f"{target} exists; give another name or remove it")
    _check_names(source.index)
    try:
        paths = source.index.paths.tolist()
        if images:
            paths = _write_images(source, os.fspath(images))
        _write_lines(target, source.index, paths)
    except OSError as error:
        where = error.filename or target
        raise UserError(f"{where} cannot be written: {error.strerror or error}") from error


def _check_names(index: RecordIndex) -> None:
    for column in (index.paths, index.identities, index.domains):
        for name in column.tolist():
            if not name.isprintable() or name != name.strip() or not name:
                raise UserError(
                    f"a list cannot hold the name {name!r}: it is empty, begins or ends with a "
                    "space, or has characters that are none; rename it"
                )


def _write_images(source: Source, folder: str) -> list[str]:
    """Writes every image below `folder` -> their paths there."""
    written = []
    for record in tqdm(source, unit=" images", desc=f"writing into {folder}", disable=None):
        name = pathlib.PurePosixPath(record["path"])
        if name.is_absolute() or ".." in name.parts:
            raise UserError(f"{name} leads out of {folder}; write a list without images")
        suffix = "" if name.suffix else _SUFFIXES.get(record["image"][:2], "")
        file = epath.Path(folder) / f"{name}{suffix}"
        if not file.exists():
            write_atomically(file, record["image"])
        elif file.read_bytes() != record["image"]:
            raise UserError(f"{file} exists and is another image; give another folder")
        written.append(f"{name}{suffix}")
    return written


def _write_lines(target: epath.Path, index: RecordIndex, paths: list[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(paths, index.identities.tolist(), index.domains.tolist(), strict=True)
    with replacing(target) as temporary, temporary.open("w") as file:
        if target.suffix.lower() == ".csv":
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("path", "identity", "domain"))
            table.writerows(rows)
        else:
            file.write("path\tidentity\tdomain\n")
            file.writelines("\t".join(row) + "\n" for row in rows)
