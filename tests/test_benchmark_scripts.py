"""The scripts whose commands stand beside the figures of docs/benchmarks.md: they still run."""

import ast
import importlib
import pathlib
import types

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_takes_of_the_library_is_there(name):
    tree = ast.parse((ROOT / f"benchmarks/{name}.py").read_text())
    modules = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.module.split(".")[0] != "ddl_jax":
            continue
        home = importlib.import_module(node.module)
        for alias in node.names:
            if not hasattr(home, alias.name):
                importlib.import_module(f"{node.module}.{alias.name}")
            found = getattr(home, alias.name)
            if isinstance(found, types.ModuleType):
                modules[alias.asname or alias.name] = found
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if home := modules.get(node.value.id):
                assert hasattr(home, node.attr), f"{node.value.id}.{node.attr}, {node.lineno}"


# The clock of the processors' seconds has 100 ticks a second: a timed part must take a few.
_QUICK = ["--people=2", "--batch=8", "--batches=50", "--workers=1", "--rounds=1"]


@pytest.mark.parametrize(
    "name, arguments, told",
    [
        ("data", ["--source=tfds", *_QUICK], "| mirrored | worker processes | ours |"),
        pytest.param(
            "data",
            ["--source=recordio", *_QUICK],
            "| mirrored, resize:12..32 | threads | ours |",
            marks=pytest.mark.long,
        ),
        ("prepare", ["--images=20", "--workers=1", "--landmarks"], "1 processes: "),
        ("coverage", ["--people=10", "--tries=2", "--samples=20"], "d_prime = "),
        pytest.param(
            "evaluation_share",
            ["--network=iresnet_tiny", "--size=32", "--batch=8", "--pairs=4", "--rounds=1"],
            "ms1mv3_iresnet50: every 2000 steps of 1024: ",
            marks=pytest.mark.long,
        ),
        ("depthwise", ["--batch=1", "--size=8", "--channels=8", "--rounds=1"], "ms"),
    ],
)
def test_a_script_runs_small(name, arguments, told, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)  # programs that it starts find the package there
    monkeypatch.setattr("sys.argv", [name, *arguments])
    importlib.import_module(f"benchmarks.{name}").main()
    assert told in capsys.readouterr().out
