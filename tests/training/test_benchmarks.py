"""Benchmarks on a real network, through eval.py and train.py."""

import json
import pathlib

import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.interop import write_verification_bin

from ..data.image_files import encode, pixels
from .work_directory import write_work_directory

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch) -> pathlib.Path:
    """The current directory: a work directory `run`, with a BGR network, and `lfw.bin`."""
    write_work_directory(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    write_bin("lfw.bin")
    return tmp_path


def write_bin(path: str, *, pairs: int = 40, seed: int = 0) -> None:
    """Pairs of blurred noise; the second picture of a genuine pair is the first, somewhat changed.

    The people differ in red; in blue all pictures are alike but for noise.
    """
    rng = np.random.default_rng(seed)
    images, same = [], []
    for pair in range(pairs):
        first = pixels(f"{seed} {pair}", (32, 32, 3)).astype(float)
        other = first if pair % 2 else pixels(f"{seed} other {pair}", (32, 32, 3))
        changed = np.clip(0.8 * other + 0.2 * rng.integers(0, 256, first.shape), 0, 255)
        images += [encode(image.astype(np.uint8)) for image in (first, changed)]
        same.append(bool(pair % 2))
    write_verification_bin(path, images, same)


def _evaluate(*arguments: str) -> int:
    return command_line.run(command_line.evaluate, ["eval.py", "--workdir=run", *arguments])


def test_a_benchmark_alone_needs_no_other_data(home, capsys):
    assert _evaluate("--config.evaluation.protocols=lfw=lfw.bin") == 0
    printed = capsys.readouterr().out
    folder = home / "run/evaluation/7-protocols"
    results = json.loads((folder / "results.json").read_text())
    assert list(results) == ["lfw"] and results["lfw"]["pairs"] == 40
    low, value, high = (100 * results["lfw"][f"accuracy{end}"] for end in ("_low", "", "_high"))
    assert f"| lfw | accuracy | {value:.2f} % [{low:.2f}, {high:.2f}] |" in printed
    assert "Intervals: 95 % over bootstrap samples of 40 pairs." in printed
    card = json.loads((folder / "card.json").read_text())
    assert "40, 20 of them genuine" in card["protocols"]["lfw"]["pairs"]
    assert card["protocols"]["lfw"]["embedding"] == "image + mirror image"
    assert card["model colour"] == "BGR" and card["checkpoint step"] == 7
    page = (folder / "report.html").read_text()
    assert "squared L2" in page and "genuine and impostor pairs of lfw" in page
    assert "over pairs, as nobody says who is who" in page


def test_other_files_do_not_take_the_place_of_the_first(home, capsys):
    assert _evaluate("--config.evaluation.protocols=lfw=lfw.bin") == 0
    assert _evaluate("--config.evaluation.protocols=lfw=lfw.bin") == 0
    write_bin("other.bin", seed=1)
    capsys.readouterr()
    assert _evaluate("--config.evaluation.protocols=lfw=other.bin") == 2
    told = capsys.readouterr().err
    assert "was evaluated otherwise (lfw data: " in told and "--name=NAME" in told
    assert _evaluate("--config.evaluation.protocols=lfw=lfw.bin,more=other.bin") == 2
    assert "(protocols: lfw; now lfw, more)" in capsys.readouterr().err
    assert _evaluate("--config.evaluation.protocols=lfw=other.bin", "--name=other") == 0
    assert (home / "run/evaluation/7-other/results.json").exists()


@pytest.mark.parametrize(
    "told, arguments",
    [
        ("no file 'none.bin'", ["--config.evaluation.protocols=lfw=none.bin"]),
        ("has 'lfw'; write NAME=PATH", ["--config.evaluation.protocols=lfw"]),
        ("names 'a' twice", ["--config.evaluation.protocols=a=lfw.bin,a=lfw.bin"]),
        ("'pairs' is taken", ["--config.evaluation.protocols=pairs=lfw.bin"]),
        ("leaves nothing to evaluate on", ["--config.evaluation.data.source=none"]),
        (
            "source=none takes no other setting",
            ["--config.evaluation.data.source=none", "--config.evaluation.data.path=x"],
        ),
        (
            "evaluation.pairs is about images of config.evaluation.data",
            ["--config.evaluation.data.source=none", "--config.evaluation.pairs=x.csv"],
        ),
        (
            "nowhere is no work directory",
            ["--workdir=nowhere", "--config.evaluation.protocols=lfw=lfw.bin"],
        ),
    ],
)
def test_a_mistake_is_one_line_and_no_file(home, capsys, told, arguments):
    before = sorted(home.rglob("*"))
    assert _evaluate(*arguments) == 2
    printed = capsys.readouterr()
    assert told in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert sorted(home.rglob("*")) == before


def test_an_image_that_cannot_be_read_is_named(home, capsys):
    images = [encode(pixels(f"{n}", (32, 32, 3))) for n in range(39)] + [b"\x89PNG"]
    write_verification_bin("cut.bin", images, [True, False] * 10)
    assert _evaluate("--config.evaluation.protocols=cut=cut.bin") == 2
    told = "cut: cut.bin image 39 is not a readable image; mend or remove it"
    assert capsys.readouterr().err == f"eval.py: {told}\n"
    assert not (home / "run/evaluation").exists()


def test_training_evaluates_on_benchmarks_alone(home, capsys):
    arguments = [
        f"--config={ROOT / 'configs' / 'evaluate.py'}",
        "--workdir=taken",
        "--config.init_from.path=run",
        "--config.model.name=iresnet_tiny",
        "--config.model.embedding_size=16",
        "--config.model.input_size=32,32",
        "--config.model.colour=BGR",
        f"--config.data.path={home / 'faces'}",
        "--config.devices=1",
        "--config.evaluation.protocols=lfw=lfw.bin",
    ]
    assert command_line.run(command_line.train, ["train.py", *arguments]) == 0
    assert "evaluation of step 0" in capsys.readouterr().out
    assert _evaluate("--config.evaluation.protocols=lfw=lfw.bin") == 0
    ours, theirs = (
        json.loads((home / folder / "results.json").read_text())
        for folder in ("taken/evaluation/0", "run/evaluation/7-protocols")
    )
    assert ours == theirs  # one code, and the same weights
    # eval.py without a word evaluates what the run itself was evaluated on, beside another run.
    table = command_line.run(command_line.evaluate, ["eval.py", "--workdir=taken"])
    assert table == 0
    arguments = ["--workdir=taken", "--before=run", "--config.evaluation.protocols=lfw=lfw.bin"]
    assert command_line.run(command_line.evaluate, ["eval.py", *arguments]) == 0
    assert "| run | taken |" in capsys.readouterr().out


def test_nothing_to_evaluate_on_is_told(home, capsys):
    arguments = [f"--config={ROOT / 'configs' / 'evaluate.py'}", "--workdir=new"]
    arguments += [f"--config.data.path={home / 'faces'}", "--config.devices=1"]
    assert command_line.run(command_line.train, ["train.py", *arguments]) == 2
    assert "leaves nothing to evaluate on" in capsys.readouterr().err
    assert not (home / "new").exists()
