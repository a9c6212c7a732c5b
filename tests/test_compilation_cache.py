"""Compiled programs are kept between starts, where the user wants them."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = """
import jax
from ddl_jax import compilation_cache
compilation_cache.enable()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: x + 1)(1), jax.config.jax_compilation_cache_dir or "nowhere")
"""


def run(home, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "HOME")}
    kept |= {"XDG_CACHE_HOME": str(home), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    value, directory = done.stdout.split()
    assert value == "2"
    return directory


def test_programs_are_kept_in_the_users_cache(tmp_path):
    directory = pathlib.Path(run(tmp_path))
    assert directory.parent == tmp_path / "ddl_jax"
    first = {path.name for path in directory.iterdir()}
    assert first
    run(tmp_path)
    new = {path.name for path in directory.iterdir()} - first
    assert not [name for name in new if name.endswith("-cache")]  # nothing was compiled again


def test_another_directory_or_none(tmp_path):
    other = tmp_path / "other"
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(other)) == str(other)
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR="") == "nowhere"
    assert not (tmp_path / "ddl_jax").exists()


def test_a_home_that_cannot_be_written_keeps_nothing(tmp_path):
    (tmp_path / "ddl_jax").write_text("a file where the folder should be")
    assert run(tmp_path) == "nowhere"
