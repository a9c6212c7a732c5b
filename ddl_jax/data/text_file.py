"""Text files as people and spreadsheets write them."""

from etils import epath

from ddl_jax.errors import UserError


def read_text(path: epath.PathLike) -> str:
    """The text of a UTF-8 file, without the byte order mark that spreadsheets put before it.

    Raises:
      UserError: it is not UTF-8.
    """
    return _decoded(epath.Path(path).read_bytes(), path)


def first_line(path: epath.PathLike) -> str:
    """The first line as `read_text` has it, of a file that may have millions."""
    with epath.Path(path).open("rb") as file:
        return _decoded(file.readline(), path)


def _decoded(content: bytes, path: epath.PathLike) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
