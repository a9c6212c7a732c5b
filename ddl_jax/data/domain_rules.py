"""From a path, or a column of metadata, to a domain."""

import fnmatch
import re
from collections.abc import Callable, Sequence

from etils import epath

from ddl_jax.data.source import DEFAULT_DOMAIN
from ddl_jax.data.table import read_table
from ddl_jax.errors import UserError


def assign_domains(
    paths: Sequence[str], rules: Sequence[str], *, metadata: str = "", column: str = ""
) -> list[str]:
    """The domain of every image: that of the first rule whose pattern fits.

    Args:
      paths: of the images, relative to their folder.
      rules: "PATTERN=DOMAIN" with shell wildcards, e.g. "*/frontal/*=easy". Without any rule all
        images are of domain "easy", or of the domain that the metadata name.
      metadata: a CSV file with a column `path`; the patterns then meet the value of `column`.
      column: of the metadata.

    Raises:
      UserError: an image that no rule fits, or metadata without this image or column.
    """
    values = read_column(metadata, column, paths) if metadata else list(paths)
    if not rules:
        return values if metadata else [DEFAULT_DOMAIN] * len(paths)
    split = [rule.split("=") for rule in rules]
    # Compiled here once: `fnmatchcase` looks the pattern up for every one of millions of images.
    fits = [(re.compile(fnmatch.translate(pattern)).match, domain) for pattern, domain in split]
    return [_domain(path, value, fits) for path, value in zip(paths, values, strict=True)]


def _domain(path: str, value: str, rules: Sequence[tuple[Callable, str]]) -> str:
    for fits, domain in rules:
        if fits(value):
            return domain
    raise UserError(
        f"no domain rule fits {path!r} (value {value!r}); add a rule, e.g. '*=easy' as the last one"
    )


def read_column(metadata: str, column: str, paths: Sequence[str]) -> list[str]:
    """The values of a metadata column for these paths, in their order."""
    file = epath.Path(metadata)
    if not file.is_file():
        raise UserError(f"no metadata file {metadata!r}; give a CSV with a column path")
    values: dict[str, str] = {}
    for where, row in read_table(file, ("path", column)):
        if row["path"] in values:
            raise UserError(f"{where}: {row['path']!r} stands there twice; leave one line of it")
        values[row["path"]] = row[column]
    for path in paths:
        if not values.get(path):
            raise UserError(f"{metadata} says nothing in column {column!r} about {path!r}")
    return [values[path] for path in paths]
