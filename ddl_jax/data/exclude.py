"""A list of images and identities to leave out, one a line."""

from collections.abc import Sequence

import numpy as np
from etils import epath

from ddl_jax.data.text_file import read_text
from ddl_jax.errors import UserError


def left_out(
    file: str, identities: Sequence[str], paths: Sequence[str], setting: str = "exclude"
) -> np.ndarray:
    """Which images a list leaves out -> `[n]` bool.

    Args:
      file: a text file; a line is the path of an image or the name of an identity, as in the
        index of the source. Empty lines and those that begin with # are comments. "" for none.
      identities, paths: of all images of the data set, those that nobody chose included: a list is
        about the data set, whoever is picked from it.
      setting: what to call the list in an error.

    Raises:
      UserError: no such file, a line that is neither, or nothing is left.
    """
    if not file:
        return np.zeros(len(paths), bool)
    lines = _read(file, setting)
    there = set(identities) | set(paths)
    for number, name in lines.items():
        if name not in there:
            raise UserError(
                f"{file} line {number}: {name!r} is neither the path of an image nor an identity; "
                "remove the line"
            )
    names = set(lines.values())
    found = np.array([i in names or p in names for i, p in zip(identities, paths, strict=True)])
    if found.all():
        raise UserError(f"{setting}: {file} leaves out all {len(paths)} images; shorten it")
    return found


def _read(file: str, setting: str) -> dict[int, str]:
    """The lines that are no comment, by number."""
    if not epath.Path(file).is_file():
        raise UserError(f"{setting}: no file {file!r}; give one with a path or identity a line")
    lines = {n: line.strip() for n, line in enumerate(read_text(file).split("\n"), 1)}
    return {number: line for number, line in lines.items() if line and not line.startswith("#")}
