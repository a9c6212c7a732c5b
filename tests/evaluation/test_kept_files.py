"""A file of an evaluation that is missing or damaged is one line with its name."""

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation import calibration
from ddl_jax.evaluation.evaluate import evaluation_directory, read_results, write_evaluation
from ddl_jax.evaluation.kept_files import read_card
from ddl_jax.evaluation.pictures import read_similarities
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.evaluation.similarity import Similarities

READERS = {
    "results.json": read_results,
    "card.json": read_card,
    "similarities.npz": read_similarities,
}


@pytest.fixture
def directory(tmp_path):
    similarities = Similarities(np.linspace(0, 1, 40), np.linspace(-1, 0.5, 40))
    result = ProtocolResult({"threshold_at_far_0.01": 0.5}, similarities)
    place = evaluation_directory(tmp_path, 7)
    write_evaluation(place, {"domains/easy": result}, {"embedding": "image"})
    return place


@pytest.mark.parametrize("file", READERS)
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, "half"])
def test_a_damaged_file_is_one_line(directory, file, content):
    assert READERS[file](directory)
    whole = (directory / file).read_bytes()
    (directory / file).write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    for read in (READERS[file], _calibrate):
        with pytest.raises(UserError, match=rf"7/{file} is damaged \(.*run eval.py") as raised:
            read(directory)
        assert "\n" not in str(raised.value)


def _calibrate(directory):
    calibration.measured(directory.parent.parent, 7, flip=False)


@pytest.mark.parametrize("file", READERS)
def test_a_file_that_is_none_is_one_line(directory, file):
    (directory / file).unlink()
    with pytest.raises(UserError, match=rf"7/{file} cannot be read \(No such file"):
        READERS[file](directory)
    (directory / file).mkdir()
    with pytest.raises(UserError, match=rf"7/{file} cannot be read \(Is a directory"):
        READERS[file](directory)
