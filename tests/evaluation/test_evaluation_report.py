"""Files of results: strict JSON, whole or not at all, and pages that fetch nothing."""

import html.parser
import json

import numpy as np
import pytest
from PIL import Image

from ddl_jax.evaluation.hardest import FacePair
from ddl_jax.evaluation.report import markdown_table, write_report, write_results

RUNS = {
    "before": {"domains/easy": {"rank_1": 0.5, "images": 1200, "gap": np.nan}},
    "after": {"domains/easy": {"rank_1": 1.0, "separation": 0.1234}, "extra": {"eer": 0.02}},
}


def test_results_are_strict_json(tmp_path):
    values = {"a": np.float32(0.5), "n": np.int64(3), "nan": np.nan, "inf": -np.inf, "ok": np.True_}
    values |= {"folds": np.array([1.0, np.nan]), "none": None}
    path = write_results(tmp_path / "evaluation" / "7", {"p": values})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "p": {"a": 0.5, "n": 3, "nan": None, "inf": None, "ok": True}
        | {"folds": [1.0, None], "none": None}
    }


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_results(tmp_path, {"p": {"a": 1.0}})
    with pytest.raises(TypeError):
        write_results(tmp_path, {"p": {"a": object()}})
    assert json.loads(path.read_text()) == {"p": {"a": 1.0}}
    write_results(tmp_path, {"p": {"a": 2.0}})
    assert json.loads(path.read_text()) == {"p": {"a": 2.0}}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_markdown():
    assert markdown_table(RUNS) == (
        "| protocol | metric | before | after |\n"
        "|---|---|---:|---:|\n"
        "| domains/easy | rank_1 | 50.00 % | 100.00 % |\n"
        "| domains/easy | images | 1,200 | - |\n"
        "| domains/easy | gap | insufficient data | - |\n"
        "| domains/easy | separation | - | 0.123 |\n"
        "| extra | eer | - | 2.00 % |\n"
    )
    assert markdown_table({"a|b": {}}) == "| protocol | metric | a\\|b |\n|---|---|---:|\n"
    assert "images" not in markdown_table(RUNS, metrics=["rank_1"])


def test_report_is_one_escaped_page(tmp_path):
    Image.new("P", (1400, 10)).save(tmp_path / "p.png")
    path = tmp_path / "report.html"
    card = {"data": "faces & <more>", "folds": 10}
    write_report(
        path, title="<run>", runs=RUNS, pictures={'"d" & r': tmp_path / "p.png"}, card=card
    )
    page = path.read_text(encoding="utf-8")
    tags = []

    class Tags(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append((tag, dict(attributes)))

    Tags().feed(page)
    names = {tag for tag, _ in tags}
    assert not names & {"script", "link", "iframe", "run", "more"} and {"table", "dl"} <= names
    (source,) = [attributes["src"] for tag, attributes in tags if tag == "img"]
    assert source.startswith("data:image/png;base64,") and "http" not in page
    for text in ("&lt;run&gt;", "faces &amp; &lt;more&gt;", "insufficient data", "50.00 %"):
        assert text in page
    assert 'lang="en"' in page and "prefers-color-scheme: dark" in page
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")


def test_report_of_one_run_has_a_column_for_each_part_and_says_what_intervals_rest_on(tmp_path):
    parts = {"rfw/Asian": {"eer": 0.02, "eer_low": 0.01, "eer_high": 0.03}, "rfw/Indian": {}}
    results = {**parts, "rfw": {"accuracy_mean_of_races": 0.9}, "lfw": {"eer": np.nan}}
    rests_on = {"rfw/Asian": "600 pairs", "rfw/Indian": "600 pairs", "lfw": "58 people"}
    cards = {"protocols": {"rfw": {"rule": "the <rule>"}}}
    report = tmp_path / "r.html"
    write_report(report, title="t", runs={"run": results}, card=cards, rests_on=rests_on, faces={})
    page = report.read_text()
    assert '<th scope="col">Asian</th><th scope="col">Indian</th>' in page
    assert "<td>2.00 %<small>1.00 – 3.00</small></td><td>–</td>" in page
    assert "bootstrap samples of 600 pairs." in page and "bootstrap samples of 58 people." in page
    assert page.count("the &lt;rule&gt;") == 1
    # Faces are shown on request only, and that is said.
    assert "hardest errors are not shown" in page and "jpeg" not in page


def test_faces_are_shown_where_they_may_be(tmp_path):
    pair = FacePair(False, 0.81, ("a/<1>.jpg", "b/2.jpg"), ("data:image/jpeg;base64,AA",) * 2)
    report = tmp_path / "r.html"
    runs = {"run": {"lfw": {"eer": 0.1}}}
    write_report(report, title="t", runs=runs, faces={"lfw": [pair]})
    page = report.read_text()
    assert 'alt="a/&lt;1&gt;.jpg" src="data:image/jpeg;base64,AA"' in page
    assert "different people, most alike" in page and "cosine 0.810" in page
    assert "not shown" not in page


def test_bounds_stand_behind_their_metric():
    values = {"eer": 0.02, "eer_low": 0.011, "eer_high": 0.0349, "gap": 0.1, "gap_low": np.nan}
    values |= {"gap_high": np.nan, "d_prime": np.nan, "d_prime_low": 1.0, "d_prime_high": 2.0}
    table = markdown_table({"run": {"p": values}})
    assert "| p | eer | 2.00 % [1.10, 3.49] |" in table
    assert "| p | gap | 0.100 |" in table
    assert "| p | d_prime | insufficient data |" in table
    assert "_low" not in table and "_high" not in table
