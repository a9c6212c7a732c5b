"""Work directories and data in a bucket: a file system in memory stands for gs://.

Like a bucket it has no folders without files, and its files do not grow. Arrays, which Orbax writes
by a client of its own, have no part in it.
"""

import os

import orbax.checkpoint as ocp
import pytest
import tensorboardX
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from ddl_jax.config import Data, Synthetic
from ddl_jax.data.open_source import open_source
from ddl_jax.data.prepare import target
from ddl_jax.errors import UserError
from ddl_jax.files import absolute, write_atomically
from ddl_jax.training.checkpoint import Checkpoints
from ddl_jax.training.metrics import MetricWriter, read_metrics


class _Bucket(MemoryFileSystem):
    protocol = ("gs", "gcs")
    cachable = False

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("gs://").strip("/")

    def _open(self, path, mode="rb", **settings):
        assert "a" not in mode, "objects cannot grow"
        return super()._open(path, mode, **settings)

    def mkdir(self, path, create_parents=True, **settings):
        pass

    def makedirs(self, path, exist_ok=False):
        pass


@pytest.fixture
def bucket(monkeypatch):
    """The root of an empty bucket."""
    files = _Bucket()
    monkeypatch.setattr(_Bucket, "store", {})
    monkeypatch.setattr(_Bucket, "pseudo_dirs", [""])
    backend = type(epath.backend.fsspec_backend)
    elsewhere = backend.fs

    def fs(self, path):
        return files if str(path).startswith("gs://") else elsewhere(self, path)

    monkeypatch.setattr(backend, "fs", fs)
    return epath.Path("gs://bucket")


def test_every_log_line_is_kept(bucket, tmp_path, monkeypatch):
    board = tensorboardX.SummaryWriter(str(tmp_path))
    monkeypatch.setattr(tensorboardX, "SummaryWriter", lambda *_, **__: board)
    for start in (0, 2):  # the second goes on from step 2, and does 3 again
        with MetricWriter(bucket / "run", step=start, active=True) as writer:
            for step in range(start + 1, start + 4):
                writer.write(step, {"loss": start + 0.5}, {})
    rows = [(row["step"], row["loss"]) for row in read_metrics(bucket / "run")]
    assert rows == [(1, 0.5), (2, 0.5), (3, 2.5), (4, 2.5), (5, 2.5)]


def test_a_log_that_cannot_be_sent_ends_the_run(bucket, tmp_path, monkeypatch):
    board = tensorboardX.SummaryWriter(str(tmp_path))
    monkeypatch.setattr(tensorboardX, "SummaryWriter", lambda *_, **__: board)
    writer = MetricWriter(bucket / "run", step=0, active=True)

    def lost(*_, **__):
        raise ConnectionError("the network is gone")

    monkeypatch.setattr(_Bucket, "_open", lost)
    writer.write(1, {"loss": 1.0}, {})
    with pytest.raises(UserError, match="^the log of gs://bucket/run .* the network is gone; "):
        with writer:
            pass


def test_a_file_is_written_at_once_and_paths_stay_in_the_bucket(bucket):
    write_atomically(bucket / "run/a", b"one")
    write_atomically(bucket / "run/a", b"two")
    assert [(p.name, p.read_bytes()) for p in (bucket / "run").iterdir()] == [("a", b"two")]
    assert str(absolute("gs://bucket/run")) == "gs://bucket/run"
    assert str(absolute("other/../run")) == f"{os.getcwd()}/run"


class _Manager:
    """In place of Orbax's, which would write arrays: says what it was asked for."""

    def __init__(self, directory, options):
        self.directory = directory

    def reload(self):
        pass


def test_checkpoints_lie_in_the_bucket_and_damaged_ones_are_set_aside(bucket, monkeypatch):
    monkeypatch.setattr(ocp, "CheckpointManager", _Manager)
    checkpoints = Checkpoints(bucket / "run")
    assert str(checkpoints._manager.directory) == "gs://bucket/run/checkpoints"
    (bucket / "run/checkpoints/6/meta/metadata").write_text("half of it")
    where = checkpoints._set_aside(6, UserError("it is damaged"))
    assert where == "gs://bucket/run/damaged/6"
    assert (epath.Path(where) / "meta/metadata").read_text() == "half of it"
    assert (bucket / "run/damaged/6.txt").read_text() == "it is damaged\n"
    assert not (bucket / "run/checkpoints/6").exists()


def test_data_sets_are_not_packed_into_a_bucket(bucket):
    say = "gs://bucket/faces.*: a data set is packed on a local disk only; make it in a local"
    with pytest.raises(UserError, match=say):
        target("gs://bucket/faces", "faces")
    with pytest.raises(UserError, match=say):
        open_source(Data(source="synthetic_faces", path="gs://bucket/faces"), Synthetic())
