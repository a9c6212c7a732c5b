"""Runs side by side: tests on the same pairs, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation import difference, mcnemar, pairs_protocol
from ddl_jax.evaluation.compare import compare
from ddl_jax.evaluation.comparison_report import comparison_table, write_comparison
from ddl_jax.evaluation.evaluate import write_evaluation
from ddl_jax.evaluation.evidence import Evidence
from ddl_jax.evaluation.result import ProtocolResult

CARD = {"embedding": "image", "protocols": {"lfw": {"data": "d", "pairs": "600"}}, "model": "m"}


def _result(noise: float, *, people: bool = True, model: int = 0):
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(60), 4)
    truth = rng.normal(size=(60, 8))[who]
    first = rng.integers(0, 240, 1200)
    second = rng.integers(0, 240, 1200)
    second[::2] = 4 * (first[::2] // 4) + (first[::2] + 1) % 4
    same = who[first] == who[second]
    own = np.random.default_rng(model).normal(size=(240, 8))
    return pairs_protocol(
        truth + noise * own,
        first,
        second,
        same,
        fold=np.arange(1200) % 10,
        identities=who if people else None,
        samples=200,
        fars=[0.1, 1e-3],
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The first run, the same again, a much better one, and one that hardly differs."""
    root = tmp_path_factory.mktemp("runs")
    noises = {"first": (0.9, 0), "same": (0.9, 0), "better": (0.5, 0), "alike": (0.89, 0)}
    results = {name: _result(noise, model=model) for name, (noise, model) in noises.items()}
    for name, result in results.items():
        card = CARD | {"model": name}  # may differ
        write_evaluation(root / name, {"lfw": result, "note": result.__class__({"n": 1})}, card)
    return root, results


def _directories(root, *names):
    return {name: root / name for name in names}


def test_a_run_does_not_differ_from_itself(runs):
    root, _ = runs
    compared = compare(_directories(root, "first", "same"))
    assert len(compared.comparisons) == 7  # all but TAR@FAR 1e-3, of which nothing is known
    for each in compared.comparisons:
        assert (each.difference.value, each.p_value, each.verdict) == (0, 1, "")
    assert "7 comparisons with first: 0 better and 0 worse" in compared.summary


def test_a_better_run_is_told_by_the_tests_on_the_same_pairs(runs):
    root, results = runs
    compared = compare(_directories(root, "first", "better", "alike"))
    found = {(each.metric, each.run): each for each in compared.comparisons}
    assert len(found) == 14
    one, two = (results[name].evidence for name in ("first", "better"))
    accuracy = found["accuracy", "better"]
    assert accuracy.mcnemar == mcnemar(one.right["accuracy"], two.right["accuracy"])
    assert accuracy.mcnemar.only_second > accuracy.mcnemar.only_first
    for metric in ("eer", "accuracy", "separation"):
        test = difference(two.drawn[metric], one.drawn[metric])
        each = found[metric, "better"]
        np.testing.assert_allclose(each.difference, test, rtol=1e-5, atol=1e-7)
        decided = each.mcnemar.p_value if each.mcnemar else 0
        assert each.p_value == max(each.difference.p_value, decided)
        assert each.verdict == "better"
    # Of EER less is better.
    assert found["eer", "better"].difference.value < 0 < accuracy.difference.value
    backwards = compare(_directories(root, "better", "first")).comparisons
    assert {each.verdict for each in backwards} == {"worse"}
    # Benjamini and Hochberg by hand: the largest p is as it is, none shrinks.
    p, adjusted = zip(*sorted((each.p_value, each.adjusted) for each in compared.comparisons))
    expected = np.minimum.accumulate((np.array(p) * len(p) / (1 + np.arange(len(p))))[::-1])[::-1]
    np.testing.assert_allclose(adjusted, np.minimum(expected, 1))


def test_one_real_difference_among_many_comparisons_is_called(tmp_path):
    rng = np.random.default_rng(0)
    common = {f"rank_{k}": 0.5 + 0.01 * rng.normal(size=1001) for k in range(1, 41)}
    shift = 0.05 + 0.005 * rng.normal(size=1001)
    for name, first in (("one", common["rank_1"]), ("two", common["rank_1"] + shift)):
        drawn = common | {"rank_1": first}
        metrics = {metric: float(values[0]) for metric, values in drawn.items()}
        result = ProtocolResult(metrics, evidence=Evidence("60 people", drawn))
        write_evaluation(tmp_path / name, {"many": result}, CARD)
    compared = compare(_directories(tmp_path, "one", "two"))
    assert len(compared.comparisons) == 40  # 40 x 2 / 1,001 is more than 5 %
    assert {each.metric for each in compared.comparisons if each.significant} == {"rank_1"}


def test_a_smaller_gap_of_a_run_that_is_worse_everywhere_is_not_better(tmp_path):
    rng = np.random.default_rng(0)
    for name, easy, hard in (("one", 0.8, 0.5), ("two", 0.6, 0.45)):
        noise = 0.01 * rng.normal(size=(2, 1001))
        separation, gap = hard + noise[0], easy - hard + noise[1]
        drawn = {"separation": separation, "gap": gap, "accuracy_std_of_races": gap}
        metrics = {metric: float(values[0]) for metric, values in drawn.items()}
        result = ProtocolResult(metrics, evidence=Evidence("60 people", drawn))
        write_evaluation(tmp_path / name, {"domains/hard": result}, CARD)
    compared = compare(_directories(tmp_path, "one", "two"))
    found = {each.metric: each for each in compared.comparisons}
    assert found["separation"].verdict == "worse"
    for metric in ("gap", "accuracy_std_of_races"):
        assert found[metric].significant and found[metric].difference.value < 0
        assert found[metric].verdict == ""
    assert "3 comparisons with one: 0 better and 1 worse" in compared.summary


def test_the_files_of_a_comparison(runs, tmp_path):
    root, _ = runs
    compared = compare(_directories(root, "first", "better"))
    table = comparison_table(compared)
    (line,) = [line for line in table.splitlines() if line.startswith("| lfw | accuracy |")]
    assert ": better** |" in line and "[" in line and ", p " in line
    assert "7 comparisons with first: 7 better and 0 worse" in table
    page = write_comparison(tmp_path, compared).read_text()
    assert "<script" not in page and "http" not in page and "<link" not in page
    assert "bootstrap samples of 60 people" in page and page.count("data:image/png") == 2
    content = json.loads((tmp_path / "compare.json").read_text(), parse_constant=pytest.fail)
    assert content["against"] == "first" and content["comparisons"] == 7
    assert {each["verdict"] for each in content["results"]} == {"better"}


def test_a_comparison_leaves_the_files_of_an_evaluation_alone(runs, tmp_path):
    root, _ = runs
    shutil.copytree(root / "better", tmp_path / "run")
    for picture in ("roc_lfw.png", "distributions_lfw.png"):  # of the run's own report
        (tmp_path / "run" / picture).write_bytes(b"its own")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    compared = compare({"first": root / "first", "run": tmp_path / "run"})
    write_comparison(tmp_path / "run", compared)
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert after.keys() - before.keys() == {"compare.html", "compare.json"}
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    "told, card",
    [
        (r"\(lfw data: e; .*d\)", CARD | {"protocols": {"lfw": {"data": "e", "pairs": "600"}}}),
        (r"\(embedding: image \+ mirror", CARD | {"embedding": "image + mirror image"}),
        ("protocols: agedb_30; ", CARD | {"protocols": {"agedb_30": {}}}),
    ],
)
def test_other_data_and_other_ways_are_refused(runs, tmp_path, told, card):
    root, results = runs
    write_evaluation(tmp_path / "other", {"lfw": results["first"]}, card)
    with pytest.raises(UserError, match=told) as raised:
        compare({"first": root / "first", "other": tmp_path / "other"})
    assert "in the same way as" in str(raised.value) and "\n" not in str(raised.value)


def test_samples_of_other_units_are_refused(runs, tmp_path):
    root, _ = runs
    write_evaluation(tmp_path / "pairs", {"lfw": _result(0.9, people=False)}, CARD)
    with pytest.raises(UserError, match="rests on 1,200 pairs, in .*first on 60 people"):
        compare({"first": root / "first", "pairs": tmp_path / "pairs"})
    with pytest.raises(UserError, match="1 run given"):
        compare({"first": root / "first"})
