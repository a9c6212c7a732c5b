"""How every command of `python -m ddl_jax.data` begins."""

from collections.abc import Sequence

from absl import flags

from ddl_jax import command_line
from ddl_jax.errors import UserError


def read_flags(argv: Sequence[str], values: flags.FlagValues, help_text: str, name: str) -> bool:
    """Reads the command line into `values` -> whether to go on: not after `--help`.

    Raises:
      UserError: an unknown flag or an unfit value, or a word that is no flag.
    """
    others = command_line.words(argv, values, help_text)
    if others:
        raise UserError(f"{name} takes flags only, not {others[0]!r}; see {name} --help")
    return others is not None


def check_given(values: flags.FlagValues, needed: Sequence[str], name: str) -> None:
    """Refuses a command line without the flags that the command `name` needs."""
    for flag in needed:
        if not values[flag].value:
            raise UserError(f"--{flag} is missing; see python -m ddl_jax.data {name} --help")
