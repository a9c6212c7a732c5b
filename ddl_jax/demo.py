"""`make demo`: does DDL narrow the gap between easy and hard faces? A few minutes on two cores.

Pretrains on the easy views of synthetic_faces, fine-tunes twice from that checkpoint on the same
batches, with the margin softmax alone and with DDL, and compares the three on people that none of
them has seen. Every part is a command of train.py or eval.py, printed before it runs.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.evaluation.evaluate import latest_evaluation, read_results

_EXPLANATION = """
People that training never saw. rank-1: identification against one easy image of each; distance:
E[S+] - E[S-], between the mean similarities of genuine and of impostor pairs; gap: the easy
domain's distance minus this domain's.
"""
_BEFORE, _MARGIN, _DDL = "before", "margin_only", "ddl"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="where data and runs are kept")
    parser.add_argument("--seed", type=int, default=0, help="of networks and batches")
    arguments = parser.parse_args()
    seconds = {}
    for phase, command in _phases(arguments.workdir, arguments.seed).items():
        start = time.perf_counter()
        status = _run(phase, command)
        if status:
            return status
        seconds[phase] = time.perf_counter() - start
    print("\n" + "\n".join(f"{phase}: {spent:.0f} s" for phase, spent in seconds.items()))
    root = epath.Path(arguments.workdir)
    return _conclude({name: root / name for name in (_BEFORE, _MARGIN, _DDL)})


def _phases(root: str, seed: int) -> dict[str, list[str]]:
    """The commands of the demo, by what they do."""
    common = [f"--config.data.path={root}/data", f"--config.seed={seed}"]
    start = f"--config.init_from.path={root}/{_BEFORE}"
    tune = ["train.py", "--config=configs/synthetic_ddl.py", *common, start]
    pretrain = ["train.py", "--config=configs/synthetic_pretrain.py", *common]
    before = f"--before={root}/{_BEFORE},{root}/{_MARGIN}"
    return {
        "rendering and pretraining": [*pretrain, f"--workdir={root}/{_BEFORE}"],
        "fine-tuning, margin softmax alone": [
            *tune,
            f"--workdir={root}/{_MARGIN}",
            "--config.loss.distillation.weight=0",
        ],
        "fine-tuning, DDL": [*tune, f"--workdir={root}/{_DDL}"],
        "report": ["eval.py", f"--workdir={root}/{_DDL}", before],
    }


def _run(phase: str, command: list[str]) -> int:
    print(f"\n=== {phase}\n$ python {' '.join(command)}", flush=True)
    return subprocess.run([sys.executable, *command]).returncode


def _conclude(workdirs: Mapping[str, epath.Path]) -> int:
    """Prints the table -> 0 if DDL narrowed the gap, else 1."""
    try:
        results = {name: read_results(latest_evaluation(path)) for name, path in workdirs.items()}
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(_EXPLANATION)
    print(_table(results))
    gaps = {name: _mean_gap(result) for name, result in results.items()}
    told = ", ".join(f"{name} {gap:.3f}" for name, gap in gaps.items())
    report = latest_evaluation(workdirs[_DDL]) / "report.html"
    print(f"\nmean gap of the hard domains: {told}\nreport: {report}")
    if gaps[_DDL] < min(gaps[_BEFORE], gaps[_MARGIN]):
        print("DDL narrowed the gap between easy and hard faces.")
        return 0
    print("DDL did NOT narrow the gap between easy and hard faces.", file=sys.stderr)
    return 1


def _table(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """A row a domain, three columns a run."""
    head = "| domain | " + " | ".join(f"{name}: rank-1 % | distance | gap" for name in results)
    lines = [head + " |", "|---|" + "---:|---:|---:|" * len(results)]
    for protocol in next(iter(results.values())):
        cells = []
        for result in results.values():
            values = result[protocol]
            gap = f"{values['gap']:.3f}" if "gap" in values else ""
            cells += [f"{100 * values['rank_1']:.1f}", f"{values['separation']:.3f}", gap]
        lines.append(f"| {protocol.removeprefix('domains/')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean_gap(result: Mapping[str, Mapping[str, float]]) -> float:
    return float(np.mean([values["gap"] for values in result.values() if "gap" in values]))


if __name__ == "__main__":
    sys.exit(main())
