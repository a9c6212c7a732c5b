"""Compiled programs kept on disk: a run that starts again need not compile again."""

import hashlib
import os
import pathlib
import platform

import jax


def enable() -> None:
    """Keeps what takes a second or more to compile, in `~/.cache/ddl_jax` or `$XDG_CACHE_HOME`.

    The variable `JAX_COMPILATION_CACHE_DIR` names another directory; set but empty it keeps
    nothing. A home that cannot be written keeps nothing either: then every start compiles.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.jax_compilation_cache_dir:
        return
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    # Programs for a CPU hold its own instructions, and machines of a cluster share their homes.
    directory = home / "ddl_jax" / f"compiled-{_processor()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(directory, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(directory))


def _processor() -> str:
    """Stands for the kind of this machine's processor."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        kind = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    except OSError:
        kind = [platform.machine(), platform.processor()]
    return hashlib.sha256("\n".join(kind).encode()).hexdigest()[:8]
