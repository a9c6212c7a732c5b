"""CSV files as people write them, checked line by line."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence

from etils import epath

from ddl_jax.data.text_file import first_line, read_text
from ddl_jax.errors import UserError


def read_table(path: epath.Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a CSV file as `("FILE line N", {column: value})`; blank ones are passed over.

    Args:
      path: of the file, UTF-8, its first line naming the columns.
      columns: those that must be there; others may be.

    Raises:
      UserError: a missing column, a line with more or fewer values than columns, no CSV at all.
    """
    text = read_text(path)
    try:
        table = csv.DictReader(io.StringIO(text), strict=True)
        there = table.fieldnames or ()
        for name in columns:
            if name not in there:
                only = ",".join(there) or "an empty line"
                raise UserError(
                    f"{path} line 1: no column {name!r}, only {only}; write {','.join(columns)}"
                )
        for row in table:
            where = f"{path} line {table.line_num}"
            # DictReader files a missing value as None and values too many under the key None.
            if None in row or None in row.values():
                raise UserError(f"{where}: not as many values as columns; correct it")
            yield where, row
    except csv.Error as error:
        raise UserError(f"{path} line {table.line_num + 1}: {error}; correct it") from error


def table_names(path: epath.Path) -> list[str]:
    """The names of a CSV file's columns, as its first line has them."""
    return next(csv.reader([first_line(path)]), [])


def table_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The text of a CSV file. Fractions get six digits; NaN, for none, becomes an empty cell."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, float):
        return value
    return f"{value:.6g}" if math.isfinite(value) else ""
