"""What strangers wrote into a file, as it may stand in a line of ours: short, and in one line."""

import reprlib
from typing import Any


class _Short(reprlib.Repr):
    """`repr` of a few levels and items; a value that a file nests to 2**40 items costs no more."""

    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 120, 120

    def repr_int(self, number: int, level: int) -> str:
        # Python writes no more than 4,300 digits.
        return repr(number) if abs(number) < 2**64 else f"<{number.bit_length()} bits>"


def short(value: Any) -> str:
    """`repr` of a value from a file, cut where it is long."""
    return printable(_Short().repr(value))


def printable(text: str) -> str:
    """The text with its line breaks and control characters escaped, as `repr` does."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: object, length: int = 200) -> str:
    """The beginning of a message that is another's, in one line."""
    text = str(text)
    return printable(text if len(text) <= length else text[:length] + "...")
