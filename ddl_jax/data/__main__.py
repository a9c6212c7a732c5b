"""`python -m ddl_jax.data COMMAND`: what is done with data before training."""

import sys
from collections.abc import Sequence

from ddl_jax import command_line

# A module each, with `main(argv)` and a docstring whose first line says what it does; only the
# one that is asked for is imported.
_COMMANDS = {
    "prepare": "ddl_jax.data.prepare_command",
    "list": "ddl_jax.data.list_command",
    "split": "ddl_jax.data.split_command",
    "audit": "ddl_jax.data.audit_command",
}


def main(argv: Sequence[str]) -> None:
    """`python -m ddl_jax.data COMMAND [--help] [...]`"""
    if argv[1:2] in (["-h"], ["-help"], ["--help"]):
        print(main.__doc__, command_line.what_they_do(_COMMANDS), sep="\n")
        return
    command_line.dispatch(argv, _COMMANDS, "python -m ddl_jax.data")


if __name__ == "__main__":
    sys.exit(command_line.run(main, ["ddl_jax.data", *sys.argv[1:]]))
