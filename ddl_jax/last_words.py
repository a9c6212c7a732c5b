"""A line for the end that no handler hears: jax aborts a program, or somebody kills it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

# Waits for the program's word, or for its end.
_SCRIPT = 'read -r word; [ "$word" ] || echo "$1" >&2'


@contextlib.contextmanager
def last_words(line: str) -> Iterator[Callable[[], None]]:
    """Has a shell print `line` to the standard error if this process ends inside, whatever ends it.

    An exception that leaves the context is heard by others, and prints nothing.

    Yields:
      What to call before this process ends itself inside.
    """
    command = ["/bin/sh", "-c", _SCRIPT, "sh", f"{program()}: {line}"]
    # In a session of its own: what is sent to this one's processes must not end it before them.
    shell = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def goodbye() -> None:
        shell.communicate(b"goodbye\n")

    try:
        yield goodbye
    finally:
        if shell.returncode is None:
            goodbye()


def program() -> str:
    """The name of the running program."""
    return os.path.basename(sys.argv[0])
