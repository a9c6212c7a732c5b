"""A file of weights or images where a user wants it: whole, or told why not."""

import contextlib
import os
from collections.abc import Iterator

from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.files import replacing


def check_target(path: epath.PathLike) -> None:
    """Refuses a path where no file can be put.

    Raises:
      UserError: it is a directory, or in none.
    """
    path = epath.Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a directory; give the name of a file")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no directory {os.fspath(path.parent)!r}; make it first")


@contextlib.contextmanager
def written(path: epath.PathLike) -> Iterator[epath.Path]:
    """As `replacing`, for the path that a user gave.

    Raises:
      UserError: no file can be put there.
    """
    check_target(path)
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        told = error.strerror or error
        raise UserError(f"{os.fspath(path)} cannot be written: {told}") from error
