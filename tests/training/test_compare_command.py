"""`eval.py compare` as a user meets it."""

import json
import shutil

import pytest

from ddl_jax import command_line

from .test_benchmarks import home, write_bin  # noqa: F401

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _run(*arguments: str) -> int:
    return command_line.run(command_line.evaluate, ["eval.py", *arguments])


@pytest.fixture
def runs(home):  # noqa: F811
    """`run` and its copy `a/run`, both evaluated on lfw.bin."""
    assert _run("--workdir=run", "--config.evaluation.protocols=lfw=lfw.bin") == 0
    shutil.copytree("run", "a/run")
    return home


def test_two_runs(runs, capsys):
    capsys.readouterr()
    assert _run("compare", "run", "a/run") == 0
    printed = capsys.readouterr().out
    # The copies' paths tell them apart.
    assert f"| {runs.name}/run | a/run |" in printed and "; 0.000" not in printed
    assert "0 better and 0 worse than chance explains" in printed
    folder = runs / "a/run/evaluation/7-protocols"
    assert printed.strip().endswith("a/run/evaluation/7-protocols/compare.html")
    assert json.loads((folder / "compare.json").read_text())["comparisons"] > 3
    assert _run("compare", "run", "a/run", "--name=protocols", "--out=there") == 0
    assert (runs / "there/compare.html").exists()


def test_a_mistake_is_one_line_and_no_file(runs, capsys):
    shutil.copytree("a/run", "b/run")
    (runs / "b/run/evaluation/7-protocols").rename(runs / "b/run/evaluation/6-protocols")
    write_bin("other.bin", seed=1)
    assert _run("--workdir=b/run", "--config.evaluation.protocols=lfw=other.bin") == 0
    (runs / "file").write_text("mine")
    other = ("run", "a/run", "--name=other")
    before = sorted(runs.rglob("*"))
    for told, *arguments in (
        ("compare takes two or more work directories; 1 given", "run"),
        ("no work directory 'nowhere'", "run", "nowhere"),
        ("a run is given twice", "run", "./run"),
        ("--name is 'a b'", "run", "a/run", "--name=a b"),
        ("was evaluated otherwise (lfw data: ", "run", "b/run"),
        ("--out=file: 'file' is a file; give a folder", "run", "a/run", "--out=file"),
        ("--out=file/x: 'file' is a file", "run", "a/run", "--out=file/x"),
        ("run has no evaluation 'other'; run eval.py --workdir=run --name=other first", *other),
    ):
        capsys.readouterr()
        assert _run("compare", *arguments) == 2
        printed = capsys.readouterr()
        assert told in printed.err and printed.err.count("\n") == 1 and not printed.out
        assert sorted(runs.rglob("*")) == before


def test_a_place_that_cannot_be_written_is_one_line(runs, capsys):
    (runs / "there/compare.json").mkdir(parents=True)
    capsys.readouterr()
    assert _run("compare", "run", "a/run", "--out=there") == 2
    printed = capsys.readouterr()
    assert "there cannot be written: " in printed.err and printed.err.count("\n") == 1


def test_runs_without_any_evaluation_are_told_as_such(runs, capsys):
    shutil.rmtree("a/run/evaluation")
    capsys.readouterr()
    assert _run("compare", "run", "a/run") == 2
    assert "has no evaluation; run eval.py --workdir=" in capsys.readouterr().err
