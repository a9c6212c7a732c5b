"""Does DDL help a pretrained recognizer on real profile faces? The protocols of docs/results.md.

    python -m benchmarks.frontal_profile train --faces=FACES --weights=mobilefacenet.pt \
        --ddl 0 1 8 32 128 --seeds 0
    python -m benchmarks.frontal_profile choose --faces=FACES --ddl 0 1 8 32 128 --seeds 0
    python -m benchmarks.frontal_profile train --faces=FACES --weights=mobilefacenet.pt --ddl 0 1 32
    python -m benchmarks.frontal_profile test --faces=FACES --ddl 0 1 32 --picture=FILE.png

FACES holds `identity/frontal/*.jpg` and `identity/profile/*.jpg`. `--ddl` are weights of DDL, 0 the
margin softmax alone; `--variation` changes more settings of all these runs, explained in
docs/results.md. `train` makes those that are missing; `choose` measures them on identities 151-200,
`test` on 201-250.
"""

import argparse
import pathlib
import subprocess
import sys

import numpy as np

from benchmarks.frontal_profile_measures import (
    Measured,
    measure,
    people_of,
    print_spread,
    print_table,
)
from ddl_jax.errors import UserError
from ddl_jax.evaluation.plots import plot_distributions

_TRAIN, _CHOOSE, _TEST = "001..150", "151..200", "201..250"
_CHOSEN_BY = "profile tar_at_far_0.01"
_PRETRAINED = "pretrained"
_EASY_HARD = ("--config.batch.pairs=easy_hard",)
_SHORT = (*_EASY_HARD, "--config.steps=100", "--config.optimizer.drop_steps=(50,)")
_VARIATIONS = {
    "protocol": (),
    "all_images": ("--config.loss.softmax_images=all",),
    "easy_hard": _EASY_HARD,
    "memory": (*_EASY_HARD, "--config.loss.distillation.past_embeddings=512"),
    "short": _SHORT,
    "short_frozen": (*_SHORT, "--config.model.batch_norm=frozen"),
    "short_tenfold_rate": (*_SHORT, "--config.optimizer.learning_rate=1e-2"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "choose", "test"))
    parser.add_argument("--faces", required=True)
    parser.add_argument("--weights", default="", help="the pretrained weights; train")
    parser.add_argument("--runs", default="runs/frontal_profile", help="%(default)s")
    parser.add_argument("--ddl", type=int, nargs="+", default=[0, 32], help="%(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="%(default)s")
    parser.add_argument(
        "--variation", default="protocol", choices=tuple(_VARIATIONS), help="%(default)s"
    )
    parser.add_argument("--picture", default="", help="where to draw the distributions; test")
    options = parser.parse_args()
    if options.what == "train" and not options.weights:
        parser.error("train needs --weights")
    if options.what == "test" and 0 not in options.ddl:
        parser.error("test compares with the margin softmax alone; give --ddl 0 as well")
    try:
        {"train": _train, "choose": _choose, "test": _test}[options.what](options)
    except UserError as error:
        parser.error(f"{error} (the command `train` here makes the runs)")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)  # the run itself has said why


def _name(variation: str, weight: int, seed: int) -> str:
    return f"{variation}-ddl{weight}-{seed}" if weight else f"{variation}-margin-{seed}"


def _row(weight: int) -> str:
    return f"DDL, weight {weight}" if weight else "margin softmax alone"


def _train(options: argparse.Namespace) -> None:
    """The untouched weights and every run asked for, where it is not finished yet."""
    _run(options, _PRETRAINED, ("--config.steps=0",))
    for seed in options.seeds:
        for weight in options.ddl:
            changes = (
                f"--config.loss.distillation.weight={weight}",
                f"--config.seed={seed}",
                *_VARIATIONS[options.variation],
            )
            _run(options, _name(options.variation, weight, seed), changes)


def _run(options: argparse.Namespace, name: str, changes: tuple[str, ...]) -> None:
    evaluations = pathlib.Path(options.runs, name, "evaluation")
    if any(evaluations.glob("*/results.json")):  # made once, after the last step
        return
    command = [
        sys.executable,
        "train.py",
        "--config=configs/mobilefacenet_ddl.py",
        f"--workdir={options.runs}/{name}",
        f"--config.data.path={options.faces}",
        f"--config.data.identities={_TRAIN}",
        f"--config.evaluation.data.identities={_CHOOSE}",
        f"--config.init_from.path={options.weights}",
        *changes,
    ]
    print("$", *command, flush=True)
    subprocess.run(command, check=True)


def _measured(options: argparse.Namespace, identities: str) -> dict[str, list[Measured]]:
    """Row by row, the runs of all seeds."""
    people = people_of(options.faces, identities)
    names = {_PRETRAINED: [_PRETRAINED]} | {
        _row(weight): [_name(options.variation, weight, seed) for seed in options.seeds]
        for weight in options.ddl
    }
    return {
        row: [measure(pathlib.Path(options.runs, name), people) for name in own]
        for row, own in names.items()
    }


def _choose(options: argparse.Namespace) -> None:
    rows = _measured(options, _CHOOSE)
    values = {row: [one.values for one in runs] for row, runs in rows.items()}
    print_table(values)
    print("\nThe distributions, first seed\n")
    for kind in rows[_PRETRAINED][0].similarities:
        print_spread(kind, {row: runs[0].similarities[kind] for row, runs in rows.items()})
    weights = [weight for weight in options.ddl if weight]
    mean = lambda weight: np.mean([one[_CHOSEN_BY][0] for one in values[_row(weight)]])  # noqa: E731
    if weights:
        print(f"\nhighest {_CHOSEN_BY}: weight {max(weights, key=mean)}")


def _test(options: argparse.Namespace) -> None:
    rows = _measured(options, _TEST)
    values = {row: [one.values for one in runs] for row, runs in rows.items()}
    print("Every run\n")
    for row, seeds in values.items():
        print_table({f"seed {s}": [one] for s, one in zip(options.seeds, seeds)}, head=row)
    print("\nMean over the seeds [95 % over identities]\n")
    print_table(values, intervals=True)
    print("\nPaired difference to the margin softmax alone\n")
    base = values[_row(0)]
    differences = {
        row: [{name: one[name] - b[name] for name in one} for one, b in zip(values[row], base)]
        for row in (_row(weight) for weight in options.ddl if weight)
    }
    print_table(differences, intervals=True)
    if options.picture:
        pictures = {row: runs[0].similarities for row, runs in rows.items()}
        plot_distributions(pictures, options.picture)


if __name__ == "__main__":
    main()
