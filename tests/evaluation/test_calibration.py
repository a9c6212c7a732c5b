"""What a cosine means is what the evaluation of the same step, embedded likewise, measured."""

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation import calibration
from ddl_jax.evaluation.evaluate import evaluation_directory, write_evaluation
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities

BOTH, ALONE = "image + mirror image", "image"


def result(strict=np.nan, loose=np.nan, best=np.nan, **arrays):
    metrics = {
        "threshold_at_far_0.01": loose,
        "threshold_at_far_0.001": strict,
        "threshold": best,
        "accuracy": 0.9,
    }
    roc = RocCurve.from_scores([0.5], [[0.1]])  # for the picture
    return ProtocolResult(metrics, Similarities(**arrays) if arrays else None, roc)


def write(workdir, results, step=7, name="", own=BOTH, **benchmarks):
    card = {"embedding": own, "protocols": benchmarks}
    write_evaluation(evaluation_directory(workdir, step, name), results, card)


def found(workdir, **options):
    return calibration.measured(workdir, 7, **({"flip": True} | options))


def genuine(count=1000):
    """Cosines of one person: 1 % of them are below 0.3."""
    return np.concatenate([np.full(count // 100, 0.1), np.linspace(0.3, 1, count - count // 100)])


def test_two_thresholds_leave_some_undecided(tmp_path):
    arrays = {"positive": genuine(), "negative": np.array([0.0, 0.1, 0.2, 0.35])}
    write(tmp_path, {"domains/easy": result(0.4, 0.35, **arrays)})
    means = found(tmp_path)
    cosines = (0.41, 0.4, 0.39999, 0.3001, 0.29999, -1.0)
    same, undecided, different = ["same"] * 2, ["undecided"] * 2, ["different"] * 2
    assert [means.verdict(each) for each in cosines] == same + undecided + different
    assert means.far == 0.001
    assert means.explain(0.5) == (
        "The same person: 0.500 is not below 0.400, which 1 of 1,000 pairs of different people "
        "reach."
    )
    assert means.explain(0.35) == (
        "Undecided: 0.350 is between 0.300, which 1 % of 1,000 pairs of one person do not reach, "
        "and 0.400, which 1 of 1,000 pairs of different people reach."
    )
    assert means.explain(0.2) == (
        "Different people: 0.200 is below 0.300, which 1 % of 1,000 pairs of one person do not "
        "reach."
    )
    directory = tmp_path / "evaluation" / "7"
    assert means.shares(0.2) == (
        f"Of 4 pairs of different people in domains/easy of {directory}, 50 % are as similar or "
        "more; of 1,000 of one person, 1 % are less similar."
    )
    assert "none is as similar or more; of 1,000 of one person, 29.3 %" in means.shares(0.5)


@pytest.mark.parametrize("hardness", [0.1, 0.3, 0.6])
def test_one_person_is_rarely_called_different_people(tmp_path, hardness):
    """However hard the domain and whatever the thresholds by FAR: at most 1 in 100, if measured."""
    rng = np.random.default_rng(0)
    arrays = {"positive": rng.normal(0.7 - hardness, 0.2, 2000), "negative": np.zeros(9)}
    write(tmp_path, {"domains/hard": result(0.5, 0.45, **arrays)})
    means = found(tmp_path)
    anew = rng.normal(0.7 - hardness, 0.2, 20_000)
    rejected = np.mean([means.verdict(each) == "different" for each in anew])
    assert 0.005 < rejected < 0.015


def test_people_who_are_easy_to_tell_leave_nobody_undecided(tmp_path):
    arrays = {"positive": np.linspace(0.6, 1, 50), "negative": np.zeros(9)}
    write(tmp_path, {"domains/easy": result(0.4, 0.3, **arrays)})
    means = found(tmp_path)
    assert (means.same, means.different) == (0.4, 0.4)
    assert "0.400, which all of 50 pairs of one person reach." in means.explain(0.2)


def test_few_pairs_of_one_person_do_not_tell_who_is_different(tmp_path):
    arrays = {"positive": np.linspace(0.2, 1, 29), "negative": np.zeros(9)}
    write(tmp_path, {"domains/easy": result(0.4, 0.3, **arrays)})
    means = found(tmp_path)
    assert [means.verdict(each) for each in (0.4, 0.39, -1)] == ["same", "undecided", "undecided"]
    assert means.explain(0.1) == (
        "Not shown to be the same person, nor different people: 0.100 is below 0.400, which 1 of "
        "1,000 pairs of different people reach; 29 pairs of one person are kept, 30 are needed to "
        "say."
    )


def test_a_rate_that_was_not_measured_has_no_say(tmp_path):
    write(tmp_path, {"domains/easy": result(loose=0.3)})
    means = found(tmp_path)
    assert (means.same, means.different, means.far) == (0.3, None, 0.01)
    assert means.shares(0.2) == ""  # no similarities are kept
    write(tmp_path, {"domains/easy": result(best=0.25)}, name="few")
    means = found(tmp_path, name="few")
    assert (means.same, means.far) == (0.25, None)
    assert "0.250, which tells 90.0 % of the pairs apart" in means.explain(0.5)


def test_the_first_that_knows_is_taken_or_the_one_that_is_named(tmp_path):
    write(tmp_path, {"domains/easy": result(), "domains/hard": result(0.2, 0.1)})
    write(tmp_path, {"lfw": result(0.5, 0.4)}, name="protocols", lfw={"embedding": BOTH})
    assert found(tmp_path).origin == f"domains/hard of {tmp_path}/evaluation/7"
    assert "faces more like yours may say otherwise: --protocol=lfw." in found(tmp_path).choice
    for options in ({"protocol": "lfw"}, {"name": "protocols"}):
        means = found(tmp_path, **options)
        assert means.same == 0.5 and means.origin.endswith("7-protocols") and not means.choice


def test_people_that_were_not_trained_on_are_preferred_and_others_told(tmp_path):
    card = {"embedding": BOTH, "people seen in training": 9}
    both = {"domains/easy": result(0.4, 0.3)}
    write_evaluation(evaluation_directory(tmp_path, 7), both, card)
    means = found(tmp_path)
    assert means.same == 0.4
    assert means.warning.startswith(f"ATTENTION: 9 people of domains/easy of {tmp_path}/evaluation")
    write(tmp_path, {"lfw": result(0.5, 0.4)}, name="protocols", lfw={"embedding": BOTH})
    assert (found(tmp_path).same, found(tmp_path).warning) == (0.5, "")
    assert "9 people" in found(tmp_path, protocol="domains/easy").warning
    others = card | {"people seen in training": 0}
    write_evaluation(evaluation_directory(tmp_path, 7, "b"), {"domains/x": result(0.6)}, others)
    assert found(tmp_path).same == 0.6


def test_what_was_embedded_or_compared_otherwise_has_no_say(tmp_path):
    results = {name: result(0.5, 0.4) for name in ("domains/easy", "ijbc/N1D1F1", "cox/v2s/cam1")}
    write(
        tmp_path,
        results | {"lfw": result(0.3, 0.2)},
        own=ALONE,
        ijbc={"embedding": "N1 keeps its length"},
        cox={"embedding": BOTH, "video": "mean of its frames"},
        lfw={"embedding": BOTH},
    )
    assert found(tmp_path).same == 0.3
    assert found(tmp_path, flip=False).same == 0.5
    with pytest.raises(UserError, match=r"--protocol: no 'cox/v2s/cam1' .* there are: lfw"):
        found(tmp_path, protocol="cox/v2s/cam1")


def test_another_step_has_other_weights(tmp_path):
    assert found(tmp_path) is None
    write(tmp_path, {"domains/easy": result(0.4, 0.3)}, step=70)
    (tmp_path / "evaluation" / "7").mkdir()  # of a run that was killed in it
    assert found(tmp_path) is None
    with pytest.raises(UserError, match=r"--name: .* has no evaluation 'few' of step 7"):
        found(tmp_path, name="few")


def test_a_threshold_of_ones_own():
    means = calibration.given(0.3)
    assert [means.verdict(each) for each in (0.3, 0.29)] == ["same", "different"]
    assert means.explain(0.2) == "Different people: 0.200 is below 0.300, which is --threshold."
    for wrong in (1.5, -2, np.nan):
        with pytest.raises(UserError, match="give a cosine"):
            calibration.given(wrong)
