"""The log of a run where there is no room for it."""

import os

import pytest
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.training.metrics import MetricWriter

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full")


def _fill(workdir) -> None:
    (workdir / "metrics.jsonl").unlink()
    (workdir / "metrics.jsonl").symlink_to("/dev/full")


def test_a_full_disk_is_one_line(tmp_path):
    with MetricWriter(epath.Path(tmp_path), step=0, active=True) as writer:
        writer.write(1, {"loss": 1.0}, {})
        _fill(tmp_path)
        with pytest.raises(UserError, match="^the log of .* No space left on device; .*make room"):
            writer.write(2, {"loss": 1.0}, {})


def test_what_went_wrong_first_is_told(tmp_path, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="^no checkpoint$"):
        with MetricWriter(epath.Path(tmp_path), step=0, active=True) as writer:
            monkeypatch.setattr(writer._board, "close", full)
            raise UserError("no checkpoint")
    with pytest.raises(UserError, match="No space left"):
        with MetricWriter(epath.Path(tmp_path), step=0, active=True) as writer:
            monkeypatch.setattr(writer._board, "close", full)
