"""Compiled programs are kept between starts, where the user wants them."""

import os
import pathlib
import platform
import pwd
import subprocess
import sys

import jax
import pytest

from ddl_jax import cache_directory, command_line, compilation_cache

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = """
import jax
from ddl_jax import compilation_cache
compilation_cache.enable()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: x + NUMBER)(1), jax.config.jax_compilation_cache_dir or "nowhere")
print(jax.config.jax_compilation_cache_max_size)
"""


def run(home, number="1", told="", **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "HOME")}
    kept |= {"XDG_CACHE_HOME": str(home), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM.replace("NUMBER", number)]
    done = subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, check=True
    )
    assert done.stderr.startswith(told) and done.stderr.count("\n") == bool(told)
    value, directory, size = done.stdout.split()
    assert value == str(1 + int(number))
    ours = directory.startswith(str(home / "ddl_jax"))
    default = str(2 * 2**30) if ours else "-1"
    assert size == environment.get("JAX_COMPILATION_CACHE_MAX_SIZE", default)
    return directory


def size_of(directory):
    return sum(path.stat().st_size for path in directory.glob("*-cache"))


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


def test_a_home_that_cannot_be_written_keeps_nothing_and_says_so(tmp_path):
    (tmp_path / "ddl_jax").write_text("a file where the folder should be")
    assert run(tmp_path, told="compiled programs are not kept ([Errno ") == "nowhere"


def test_a_user_without_a_home_keeps_nothing_and_is_told(monkeypatch, capsys):
    def unknown(user):
        raise KeyError(user)

    for variable in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        compilation_cache.enable()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    told = capsys.readouterr().err
    assert told.startswith("compiled programs are not kept (Could not determine home directory")
    assert "JAX_COMPILATION_CACHE_DIR may name" in told and told.count("\n") == 1


def test_the_programs_used_longest_ago_go(tmp_path):
    directory = pathlib.Path(run(tmp_path))
    size = size_of(directory)
    assert size > 0
    first = {path.name for path in directory.glob("*-cache")}
    run(tmp_path, number="2", JAX_COMPILATION_CACHE_MAX_SIZE=str(int(1.5 * size)))
    assert 0 < size_of(directory) <= 1.5 * size
    assert not first <= {path.name for path in directory.glob("*-cache")}


def test_a_program_whose_use_was_not_noted_is_one_of_long_ago(tmp_path):
    directory = pathlib.Path(run(tmp_path))
    notes = list(directory.glob("*-atime"))
    assert len(notes) == len(list(directory.glob("*-cache"))) > 0
    notes[0].unlink()  # as a kill between the two files leaves it
    other = pathlib.Path(run(tmp_path, number="2"))
    assert other == directory and notes[0].exists()


X86 = "model name\t: A 1\nflags\t: avx2\ncpu MHz\t: {}\n"
ARM = "processor\t: {}\nFeatures\t: fp asimd sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    "text, other",
    [
        (X86, X86.replace("avx2", "avx512f")),
        (ARM, ARM.replace(" sve", "")),
        (ARM, ARM.replace("0xd40", "0xd4f")),
    ],
)
def test_processors_of_another_kind_have_other_programs(text, other, tmp_path):
    def kind(text):
        (tmp_path / "cpuinfo").write_text(text)
        return cache_directory._processor(tmp_path / "cpuinfo")

    assert kind(text.format(1)) == kind(text.format(2)) != kind(other.format(1))


@pytest.mark.parametrize("text", [None, "", "processor : 0\nhart : 0\n"])
def test_a_processor_that_says_nothing_is_known_by_its_platform(text, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    kinds = set()
    for machine in ("riscv64", "s390x"):
        monkeypatch.setattr(platform, "machine", lambda name=machine: name)
        kinds.add(cache_directory._processor(tmp_path / "cpuinfo"))
    assert len(kinds) == 2


@pytest.mark.parametrize("name", ["train", "evaluate", "export"])
def test_every_program_keeps_what_it_compiles(name, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def enable():
        raise Reached

    monkeypatch.setattr(compilation_cache, "enable", enable)
    config = f"--config={ROOT}/configs/synthetic_pretrain.py:runlocal"
    arguments = {"train": [config], "export": ["--out=a.pt"]}.get(name, [])
    with pytest.raises(Reached):
        getattr(command_line, name)([name, f"--workdir={tmp_path}", *arguments])
