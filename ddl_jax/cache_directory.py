"""Where the programs keep what would otherwise be computed again: below `~/.cache/ddl_jax`."""

import hashlib
import os
import pathlib
import platform

# What tells kinds of processors apart on x86; on ARM, which has neither of the first two.
_KIND = ("model name", "flags", "Features", "CPU implementer", "CPU part")


def make(what: str) -> pathlib.Path:
    """Makes the directory of `what`, for this machine's kind of processor, and returns it.

    It is below `$XDG_CACHE_HOME` where that is set. Nobody but the user can read it.

    Raises:
      OSError, RuntimeError: it cannot be made or written; the latter of a user without a home.
    """
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    # Processors compute, and programs for them are, each of its own kind, and the machines of a
    # cluster share their homes.
    directory = home / "ddl_jax" / f"{what}-{_processor()}"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.access(directory, os.W_OK):
        raise PermissionError(f"{directory} cannot be written")
    return directory


def _processor(cpuinfo: pathlib.Path = pathlib.Path("/proc/cpuinfo")) -> str:
    """Stands for the kind of this machine's processor."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    kind = sorted({line for line in lines if line.startswith(_KIND)})
    kind = kind or [platform.machine(), platform.processor()]
    return hashlib.sha256("\n".join(kind).encode()).hexdigest()[:8]
