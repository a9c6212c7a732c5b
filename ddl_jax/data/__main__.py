"""`python -m ddl_jax.data COMMAND`: what is done with data before training."""

import importlib
import sys
from collections.abc import Sequence

from ddl_jax import command_line
from ddl_jax.errors import UserError

# A module each, with `main(argv)` and a docstring whose first line says what it does; only the
# one that is asked for is imported.
_COMMANDS = {
    "prepare": "ddl_jax.data.prepare_command",
    "split": "ddl_jax.data.split_command",
    "audit": "ddl_jax.data.audit_command",
}


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.data COMMAND [--help] [...]`"""
    command = argv[1] if len(argv) > 1 else ""
    if command in ("-h", "-help", "--help"):
        print(main.__doc__, *map(_line, _COMMANDS), sep="\n")
        return
    if command not in _COMMANDS:
        raise UserError(
            f"unknown command {command!r}; write python -m ddl_jax.data "
            f"{' or '.join(_COMMANDS)}, with --help for its flags"
        )
    importlib.import_module(_COMMANDS[command]).main([argv[0], *argv[2:]])


def _line(command: str) -> str:
    return importlib.import_module(_COMMANDS[command]).__doc__.splitlines()[0]


if __name__ == "__main__":
    sys.exit(command_line.run(main, ["ddl_jax.data", *sys.argv[1:]]))
