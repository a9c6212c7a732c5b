"""A whole DDL run from others' files: train.rec, and a table that tells its domains."""

import json

import cv2
import numpy as np
import pytest

from ddl_jax import config as config_lib
from ddl_jax.interop import write_recordio
from ddl_jax.training import train_and_evaluate

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.long  # the formats have quick tests of their own in tests/data
def test_a_ddl_run_on_a_record_file(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(
        0, 256, (48, 32, 32, 3), np.uint8
    )  # 12 people of 2 easy and 2 hard images
    faces = [(n // 4, cv2.imencode(".png", image)[1].tobytes()) for n, image in enumerate(images)]
    path = write_recordio(tmp_path / "faces", faces, size=(32, 32))
    rows = [f"{n // 4}/{n + 1},{'easy' if n % 4 < 2 else 'profile'}\n" for n in range(len(faces))]
    (tmp_path / "table.csv").write_text("path,pose\n" + "".join(rows))
    arguments = [
        "--config=configs/folder_ddl.py:runlocal",
        "--workdir=unused",
        "--config.devices=1",
        "--config.data.source=recordio",
        f"--config.data.path={path}",
        f"--config.data.metadata={tmp_path}/table.csv",
        "--config.data.domain_column=pose",
        "--config.batch.domains=easy,profile",
        "--config.evaluation.data.identities=0..5",
    ]
    config = config_lib.parse(["train.py", *arguments]).config
    state = train_and_evaluate(config, tmp_path / "run")
    assert int(state.step) == 2
    [results] = (tmp_path / "run" / "evaluation").glob("2/results.json")
    assert {"domains/easy", "domains/profile"} <= set(json.loads(results.read_text()))
    beside = sorted(file.name.split("-")[0] for file in (tmp_path / "faces/.ddl_jax").iterdir())
    assert beside == ["pairs", "records"]  # with the data, not in the run
