"""Lists of images as peers' trainers have them: a line an image, in columns."""

import csv
import re
from collections.abc import Iterator, Sequence

from etils import epath

from ddl_jax.errors import UserError

Row = tuple[int, list[str]]

_NO_NAME = re.compile(r"[-+]?(\d*\.\d+|\d+\.\d*)(e[-+]?\d+)?|-\d+", re.I)
_DOUBTFUL = re.compile(r"[-+]?(\d+e[-+]?\d+|nan|inf|infinity)", re.I)


def read_list(path: str) -> Iterator[Row]:
    """`(line number, columns)` of every line that is not blank.

    The first line tells what parts the columns: tabs if it has one, else commas, else spaces. Only
    between commas a column may stand in quotes.

    Raises:
      UserError: no such file, no text.
    """
    try:
        # Line by line: a list of millions is not to be in memory as text, too.
        with epath.Path(path).open("rb") as file:
            lines = (line.decode("utf-8-sig").rstrip("\r\n") for line in file)
            rows = ((number, [column.strip() for column in row]) for number, row in _split(lines))
            yield from ((number, row) for number, row in rows if any(row))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{path}: {error}; correct it") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _split(lines: Iterator[str]) -> Iterator[Row]:
    first = next(lines, "")
    mark = next((mark for mark in "\t," if mark in first), None)
    whole = _chain(first, lines)
    if mark == ",":
        table = csv.reader(whole, strict=True)
        yield from ((table.line_num, row) for row in table)
    else:
        yield from ((number, line.split(mark)) for number, line in enumerate(whole, 1))


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


class LabelCheck:
    """The labels of a list: whole numbers from 0, or names of identities.

    Another number is a slip: a domain, a score, a NaN. But `Nan` is a woman's name and `12e5` a
    model's: they are slips where no other label is a name.
    """

    def __init__(self) -> None:
        self._doubtful: UserError | None = None
        self._named = False

    def check(self, label: str, where: str) -> str:
        """The label, if it can be one.

        Raises:
          UserError: it is empty or another number.
        """
        doubtful = _DOUBTFUL.fullmatch(label) is not None
        if not label or doubtful or _NO_NAME.fullmatch(label):
            error = UserError(
                f"{where}: label {label!r} is neither a whole number from 0 nor a name"
            )
            if not doubtful:
                raise error
            self._doubtful = self._doubtful or error
        elif not label.isdecimal():
            self._named = True
        return label

    def finish(self) -> None:
        """Call it after the last label.

        Raises:
          UserError: a label was doubtful, and none a name.
        """
        if self._doubtful is not None and not self._named:
            raise self._doubtful


def columns_of(header: Sequence[str]) -> dict[str, int] | None:
    """The places of the columns that a first line names; None where it names an image."""
    names = [name.lower() for name in header]
    return {name: place for place, name in enumerate(names)} if "path" in names else None
