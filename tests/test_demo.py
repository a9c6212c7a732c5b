"""What `make demo` concludes from its three runs; the demo itself is in `make test-all`."""

import os
import resource
import subprocess
import sys

import pytest

from ddl_jax import demo
from ddl_jax.evaluation.evaluate import latest_evaluation, read_results
from ddl_jax.evaluation.report import write_results

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def write_runs(root, gaps):
    """Three work directories whose one hard domain has these gaps."""
    workdirs = {}
    for name, gap in gaps.items():
        workdirs[name] = root / name
        easy = {"rank_1": 0.95, "separation": 0.8}
        hard = {"rank_1": 0.5, "separation": 0.8 - gap, "gap": gap}
        directory = root / name / "evaluation" / "7"
        write_results(directory, {"domains/easy": easy, "domains/dark": hard})
        for file in ("card.json", "similarities.npz"):  # an evaluation has these too
            (directory / file).touch()
    return workdirs


@pytest.mark.parametrize(
    "margin_only, ddl, status",
    [(0.3, 0.2, 0), (0.1, 0.2, 1), (0.3, 0.45, 1), (0.3, 0.3, 1)],
)
def test_success_means_narrower_than_before_and_than_margin_alone(
    tmp_path, capsys, margin_only, ddl, status
):
    workdirs = write_runs(tmp_path, {"before": 0.4, "margin_only": margin_only, "ddl": ddl})
    assert demo._conclude(workdirs) == status
    output = capsys.readouterr().out
    assert f"| dark | 50.0 | 0.400 | 0.400 | 50.0 | {0.8 - margin_only:.3f}" in output
    assert f"before 0.400, margin_only {margin_only:.3f}, ddl {ddl:.3f}" in output


def test_a_run_without_evaluation_is_said(tmp_path, capsys):
    workdirs = write_runs(tmp_path, {"before": 0.4, "margin_only": 0.3})
    assert demo._conclude(workdirs | {"ddl": tmp_path / "ddl"}) == 2
    assert "has no evaluation" in capsys.readouterr().err


def _seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.long
def test_ddl_narrows_the_gap_within_eight_minutes_of_two_cores(tmp_path):
    # Other tests run beside it: its own work is counted, not the time on the wall. Alone, 192 s on
    # the wall were 328 s of work, so that 480 s are 820.
    spent = _seconds_of_children()
    command = [sys.executable, "-m", "ddl_jax.demo", f"--workdir={tmp_path}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert _seconds_of_children() - spent < 820
    assert "DDL narrowed the gap" in result.stdout
    # What makes the embedded data worth something: easy views are learned, hard ones are not.
    results = read_results(latest_evaluation(tmp_path / "before"))
    ranks = {name: metrics["rank_1"] for name, metrics in results.items()}
    assert ranks.pop("domains/easy") >= 0.95
    assert len(ranks) == 4 and max(ranks.values()) <= 0.70, ranks
