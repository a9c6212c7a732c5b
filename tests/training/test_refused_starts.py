"""A start that cannot go on in a work directory: one line, status 2, and no file is touched."""

import os
import pathlib
import shutil
import types

import jax.numpy as jnp
import pytest

from ddl_jax import command_line
from ddl_jax import config as config_lib
from ddl_jax.training.checkpoint import Checkpoints
from ddl_jax.training.prepare import prepare
from ddl_jax.training.start import make_workdir, write_start

from ..data.image_files import write_faces

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """`faces`, a folder of six people, and `run`, a work directory that is said to be at step 1."""
    home = tmp_path_factory.mktemp("home")
    write_faces(home / "faces", 6)
    config = config_lib.parse(command(home)).config
    run = prepare(config, home / "run")
    make_workdir(run.workdir)
    write_start(run)
    with Checkpoints(run.workdir) as checkpoints:
        checkpoints.save(run.new_state().replace(step=jnp.int32(1)), run.meta)
    return home


@pytest.fixture
def copy(home, tmp_path):
    """What a test may spoil."""
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


def command(home, *arguments, workdir=None):
    return [
        "train.py",
        f"--config={ROOT / 'configs' / 'folder.py'}:runlocal",
        f"--workdir={workdir or home / 'run'}",
        "--config.data.source=image_folder",
        f"--config.data.path={home / 'faces'}",
        "--config.batch_size=4",
        "--config.batch.domains=",
        "--config.devices=1",
        "--config.evaluation.every=-1",
        *arguments,
    ]


def start(home, *arguments, **options):
    return command_line.run(command_line.train, command(home, *arguments, **options))


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


def assert_refused(capsys, told, home, *arguments, **options):
    before = contents(home / "run")
    capsys.readouterr()
    assert start(home, *arguments, **options) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert contents(home / "run") == before


def test_changed_settings_are_all_named(home, capsys):
    told = "another config.loss.scale (and optimizer.momentum); give another --workdir"
    changed = ("--config.optimizer.momentum=0.5", "--config.loss.scale=30.0")
    assert_refused(capsys, told, home, *changed)


def test_other_people_are_refused(copy, capsys):
    shutil.rmtree(next((copy / "faces").glob("[!.]*")))
    assert_refused(capsys, "the data have 5 identities; ", copy)


def test_another_image_is_refused(copy, capsys):
    images = [path for path in sorted((copy / "faces").rglob("*.png"))]
    shutil.copyfile(images[-1], images[0])
    assert_refused(capsys, "have changed since its checkpoint (fingerprint ", copy)


@pytest.mark.parametrize(
    ("told", "changed"),
    [
        ("config.batch_size is 6, which 8 devices cannot share", ("batch_size=6", "devices=8")),
        ("each of 1 devices has 4 rows of a batch", ("micro_batches=3",)),
    ],
)
def test_a_batch_that_does_not_divide(told, changed, home, tmp_path, capsys):
    arguments = [f"--config.{setting}" for setting in changed]
    assert_refused(capsys, told, home, *arguments, workdir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="Linux keeps such memory there")
def test_batches_of_workers_that_do_not_fit_into_shared_memory(home, tmp_path, capsys, monkeypatch):
    usage = types.SimpleNamespace(free=1 << 15)  # eight batches take more
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    told = "need 1 MiB of shared memory, and /dev/shm has 0 free; "
    workers = "--config.data.workers=2"
    assert_refused(capsys, told, home, workers, workdir=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert_refused(capsys, told, home, workers)
    prepare(config_lib.parse(command(home)).config, home / "run")  # no workers


def test_a_work_directory_that_cannot_be_made(home, capsys):
    assert_refused(capsys, "--workdir=/proc/run cannot be written: ", home, workdir="/proc/run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("private", ["config.json", "checkpoints", "checkpoints/1"])
def test_files_of_another_user(private, copy, capsys):
    (copy / "run" / private).chmod(0)
    try:
        capsys.readouterr()
        assert start(copy) == 2
        error = capsys.readouterr().err
        assert "cannot be read: Permission denied" in error and error.count("\n") == 1
    finally:
        (copy / "run" / private).chmod(0o755)
