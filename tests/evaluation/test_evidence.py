"""What is kept of a result for error bars and comparisons."""

import io
import json

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation.bootstrap import PairSamples, interval
from ddl_jax.evaluation.evidence import FILE, pair_evidence, read_evidence, write_evidence
from ddl_jax.evaluation.resampled import verification_samples
from ddl_jax.evaluation.roc import RocCurve


def _evidence():
    rng = np.random.default_rng(0)
    first = np.repeat(np.arange(40), 10)
    second = np.where(np.arange(400) % 2 == 0, first, (first + 7) % 40)
    genuine = first == second
    scores = rng.normal(0, 1, 400) + 1.5 * genuine
    samples = PairSamples.of_identities(first, second, samples=100)
    found = pair_evidence(scores, genuine, samples, [0.1], rests_on="40 people")
    found.right["accuracy"] = scores > 0.7
    return scores, genuine, samples, found


def test_the_curve_and_its_band():
    scores, genuine, samples, found = _evidence()
    curve, roc = found.curve, RocCurve.from_scores(scores[genuine], [scores[~genuine]])
    assert curve.far[0] == pytest.approx(1 / 200) and curve.far[-1] == pytest.approx(1)
    np.testing.assert_allclose(curve.tar, roc.tar_at_far(curve.far))
    far = curve.far[40]
    drawn = verification_samples(scores, genuine, samples, [far])[f"tar_at_far_{far:g}"]
    assert tuple(each[40] for each in curve[1:]) == interval(drawn)
    assert set(found.drawn) == {
        *("eer", "auc", "overlap", "separation", "d_prime", "tar_at_far_0.1")
    }


def test_it_comes_back_from_its_file(tmp_path):
    *_, found = _evidence()
    write_evidence(tmp_path, {"lfw": found, "rfw/Asian": found})
    back = read_evidence(tmp_path)
    assert list(back) == ["lfw", "rfw/Asian"]
    for each in back.values():
        assert each.rests_on == "40 people" and each.drawn.keys() == found.drawn.keys()
        for name, values in found.drawn.items():
            np.testing.assert_allclose(each.drawn[name], values, rtol=1e-6)
        np.testing.assert_array_equal(each.right["accuracy"], found.right["accuracy"])
        np.testing.assert_allclose(each.curve, found.curve, rtol=1e-6)
    assert (tmp_path / FILE).stat().st_size < 20_000


def _other_version(path):
    content = {"told": np.array(json.dumps({"format": 99, "results": {}}))}
    np.savez_compressed(path, **content)


def _other_arrays(path):
    content = io.BytesIO()
    np.savez(content, other=np.ones(3))
    path.write_bytes(content.getvalue())


@pytest.mark.parametrize(
    "told, change",
    [
        ("keeps nothing to compare", lambda path: path.unlink()),
        ("is damaged", lambda path: path.write_bytes(path.read_bytes()[:900])),
        ("is damaged", lambda path: path.write_bytes(b"")),
        ("is damaged", _other_arrays),
        ("has format 99, this version reads 1", _other_version),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, told, change):
    write_evidence(tmp_path, {"lfw": _evidence()[-1]})
    change(tmp_path / FILE)
    with pytest.raises(UserError, match=told) as raised:
        read_evidence(tmp_path)
    assert "\n" not in str(raised.value) and "run eval.py" in str(raised.value)
