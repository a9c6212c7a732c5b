"""One run at a time in a work directory."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from typing import IO

from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.files import is_remote


@contextlib.contextmanager
def only_run_of(workdir: epath.Path) -> Iterator[None]:
    """Holds the work directory, which exists, for this process; whatever ends it lets it go.

    A lock of the file system, on `workdir/.lock`. Bucket storage has none, and other hosts see it
    only where a network file system passes locks on.

    Raises:
      UserError: another run holds it.
    """
    file = _open(workdir)
    if file is None:
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(
                f"--workdir={workdir} is in use by {holder}; wait for that run, or end it"
            ) from error
        except OSError:  # a file system without locks
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _open(workdir: epath.Path) -> IO[str] | None:
    """The lock's file; None where it cannot be written or is in a bucket."""
    if is_remote(workdir):
        return None
    try:
        return open(os.path.join(workdir, ".lock"), "a+")
    except OSError:  # whoever writes a file of the run will say what is wrong
        return None
