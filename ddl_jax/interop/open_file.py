"""Opens a file of somebody else's."""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from etils import epath

from ddl_jax.errors import UserError


@contextlib.contextmanager
def opened(path: epath.PathLike, wanted: str) -> Iterator[BinaryIO]:
    """The file, open for reading inside the `with`.

    Args:
      path: of the file.
      wanted: what to give in place of a directory, "a PyTorch checkpoint's file".

    Raises:
      UserError: the system does not open it, or does not read what the `with` asks for.
    """
    name = os.fspath(path)
    try:
        with epath.Path(path).open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{name} is a directory; give {wanted}") from error
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from error
