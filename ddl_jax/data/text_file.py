"""Text files as people and spreadsheets write them."""

from etils import epath

from ddl_jax.errors import UserError


def read_text(path: epath.PathLike) -> str:
    """The text of a UTF-8 file, without the byte order mark that spreadsheets put before it.

    Raises:
      UserError: it is not UTF-8.
    """
    try:
        return epath.Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
