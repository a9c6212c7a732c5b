"""Compiled programs kept on disk: a run that starts again need not compile again."""

import os
import pathlib
import sys

import jax

from ddl_jax import cache_directory

_MAX_SIZE = 2 * 2**30  # bytes, for one kind of processor


def enable() -> None:
    """Keeps what takes a second or more to compile, in `~/.cache/ddl_jax` or `$XDG_CACHE_HOME`.

    The programs used longest ago go when there are more than 2 GiB of them, or than
    `JAX_COMPILATION_CACHE_MAX_SIZE` says, in bytes. The variable `JAX_COMPILATION_CACHE_DIR` names
    another directory, whose size is the user's business; set but empty it keeps nothing. Without a
    home that can be written nothing is kept either, which a line on stderr tells.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.jax_compilation_cache_dir:
        return
    try:
        directory = cache_directory.make("compiled")
        _note_uses(directory)
    except (OSError, RuntimeError) as error:  # the latter of a user without a home
        print(
            f"compiled programs are not kept ({error}): JAX_COMPILATION_CACHE_DIR may name a "
            "directory for them",
            file=sys.stderr,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(directory))
    if jax.config.jax_compilation_cache_max_size == -1:
        jax.config.update("jax_compilation_cache_max_size", _MAX_SIZE)


def _note_uses(directory: pathlib.Path) -> None:
    """Notes a use long ago where there is no note, as after a kill: jax 0.10 would trip over it."""
    for program in directory.glob("*-cache"):
        note = directory / f"{program.name.removesuffix('-cache')}-atime"
        if not note.exists():
            note.write_bytes(bytes(8))
