"""Reading the files that an evaluation keeps: what is wrong with one is a user's one line."""

import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from etils import epath

from ddl_jax.errors import UserError

_ADVICE = "run eval.py on that run again"


@contextlib.contextmanager
def reading(path: epath.Path) -> Iterator[None]:
    """Guards the lines that read `path` and take it apart.

    Raises:
      UserError: it cannot be read, or is not what an evaluation writes.
    """
    try:
        yield
    except UserError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {_ADVICE}") from error
    except _DAMAGES as error:
        raise UserError(f"{path} is damaged ({error}); {_ADVICE}") from error


# JSON's and Unicode's errors are ValueErrors.
_DAMAGES = (ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, OSError)
_DAMAGES += (RecursionError, zipfile.BadZipFile, zlib.error)


def read_object(path: epath.Path) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
      UserError: there is none in it.
    """
    with reading(path):
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        return content


def read_card(directory: epath.Path) -> dict[str, Any]:
    """The card.json of an evaluation: what its numbers rest on."""
    return read_object(directory / "card.json")
