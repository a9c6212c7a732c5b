"""Does DDL help a pretrained recognizer on real profile faces? The protocol of docs/results.md.

    python -m benchmarks.frontal_profile train --faces=FACES --weights=mobilefacenet.pt
    python -m benchmarks.frontal_profile choose --faces=FACES
    python -m benchmarks.frontal_profile train --faces=FACES --weights=mobilefacenet.pt --weight=W
    python -m benchmarks.frontal_profile test --faces=FACES --weight=W --picture=FILE.png

FACES holds `identity/frontal/*.jpg` and `identity/profile/*.jpg`. `train` makes the runs of seed 0,
with a weight those of all seeds, and goes on where it was stopped; `choose` looks at identities
151-200, `test` at 201-250, once.
"""

import argparse
import pathlib
import subprocess
import sys
from typing import NamedTuple

import numpy as np

import ddl_jax
from ddl_jax import parallel
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.evaluation.all_pairs import AllPairs, identity_samples, interval, rank_one
from ddl_jax.evaluation.embedding import embed
from ddl_jax.evaluation.plots import plot_distributions
from ddl_jax.evaluation.similarity import Similarities

_TRAIN, _CHOOSE, _TEST = "001..150", "151..200", "201..250"
_RULES = ("*/frontal/*=easy", "*/profile/*=hard")
_SEEDS = (0, 1, 2)
_CANDIDATES = (8, 32, 128)
_FARS = (0.01, 0.001)
_SAMPLES = 2000
_CHOSEN_BY = "profile tar_at_far_0.01"


def _name(weight: int, seed: int) -> str:
    return f"ddl{weight}-{seed}" if weight else f"margin-{seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "choose", "test"))
    parser.add_argument("--faces", required=True)
    parser.add_argument("--weights", default="", help="the pretrained weights; train")
    parser.add_argument("--runs", default="runs/frontal_profile")
    parser.add_argument("--weight", type=int, default=0, help="the chosen weight of DDL")
    parser.add_argument("--picture", default="", help="where to draw the distributions; test")
    options = parser.parse_args()
    if options.what == "train" and not options.weights:
        parser.error("train needs --weights")
    if options.weight not in (_CANDIDATES if options.what == "test" else (0, *_CANDIDATES)):
        parser.error(f"--weight is {options.weight}; give the chosen one of {_CANDIDATES}")
    {"train": _train, "choose": _choose, "test": _test}[options.what](options)


def _train(options: argparse.Namespace) -> None:
    """The untouched weights and every candidate with the first seed; a chosen one with all."""
    runs = [("pretrained", 0, 0, 0)]
    runs += [(_name(weight, 0), weight, 0, 200) for weight in (0, 1, *_CANDIDATES)]
    if options.weight:
        rows = (0, 1, options.weight)
        runs += [(_name(weight, seed), weight, seed, 200) for seed in _SEEDS for weight in rows]
    for name, weight, seed, steps in dict.fromkeys(runs):
        if (pathlib.Path(options.runs, name, "evaluation", str(steps), "results.json")).exists():
            continue
        command = [
            sys.executable,
            "train.py",
            "--config=configs/mobilefacenet_ddl.py",
            f"--workdir={options.runs}/{name}",
            f"--config.data.path={options.faces}",
            f"--config.data.identities={_TRAIN}",
            f"--config.evaluation.data.identities={_CHOOSE}",
            f"--config.init_from.path={options.weights}",
            f"--config.loss.distillation.weight={weight}",
            f"--config.seed={seed}",
            f"--config.steps={steps}",
        ]
        print("$", *command, flush=True)
        subprocess.run(command, check=True)


class _People(NamedTuple):
    """The images of some identities, and how they are paired."""

    source: ImageFolderSource
    identities: np.ndarray
    frontal: np.ndarray
    profile: np.ndarray
    gallery: np.ndarray
    samples: np.ndarray


def _people(faces: str, identities: str) -> _People:
    source = ImageFolderSource(faces, identities=identities, domain_rules=_RULES)
    index = source.index
    frontal, profile = index.rows_of("easy"), index.rows_of("hard")
    _, first = np.unique(index.labels[frontal], return_index=True)
    samples = identity_samples(index.classes, _SAMPLES)
    return _People(source, index.labels, frontal, profile, frontal[first], samples)


def _measure(workdir: pathlib.Path, people: _People) -> tuple[dict[str, np.ndarray], dict]:
    """All measures for the data as they are and every bootstrap sample; and the similarities."""
    module, variables, card = ddl_jax.load_checkpoint(workdir)
    embeddings = embed(module, variables, card, people.source, mesh=parallel.make_mesh())
    found, similarities = {}, {}
    for kind, others in (("frontal", None), ("profile", people.profile)):
        pairs = AllPairs.of(embeddings, people.identities, people.frontal, others)
        genuine = pairs.first == pairs.second
        similarities[kind] = Similarities(pairs.scores[genuine], pairs.scores[~genuine])
        measured = pairs.metrics(people.samples, _FARS)
        found |= {f"{kind} {name}": values for name, values in measured.items()}
    found["profile rank_1"] = rank_one(
        embeddings, people.identities, people.profile, people.gallery, people.samples
    )
    return found, similarities


def _choose(options: argparse.Namespace) -> None:
    people = _people(options.faces, _CHOOSE)
    runs = {"pretrained": "pretrained", "margin": _name(0, 0), "1": _name(1, 0)}
    runs |= {str(weight): _name(weight, 0) for weight in _CANDIDATES}
    measured = {
        row: _measure(pathlib.Path(options.runs, name), people)[0] for row, name in runs.items()
    }
    _print_table({row: [values] for row, values in measured.items()})
    best = max(_CANDIDATES, key=lambda weight: measured[str(weight)][_CHOSEN_BY][0])
    print(f"\nchosen by {_CHOSEN_BY}: --weight={best}")


def _test(options: argparse.Namespace) -> None:
    people = _people(options.faces, _TEST)
    weights = {"margin softmax alone": 0} | {f"DDL, weight {w}": w for w in (1, options.weight)}
    runs = {"pretrained": ["pretrained"]}
    runs |= {row: [_name(weight, seed) for seed in _SEEDS] for row, weight in weights.items()}
    measured, pictures = {}, {}
    for row, names in runs.items():
        pairs = [_measure(pathlib.Path(options.runs, name), people) for name in names]
        measured[row], pictures[row] = [found for found, _ in pairs], pairs[0][1]
    print("Every run\n")
    for row, all_values in measured.items():
        _print_table({name: [v] for name, v in zip(runs[row], all_values)}, head=row)
    print("\nMean over the seeds [95 % over identities]\n")
    _print_table(measured, intervals=True)
    print("\nPaired difference to the margin softmax alone\n")
    base = measured["margin softmax alone"]
    _print_table(
        {
            row: [{name: one[name] - b[name] for name in one} for one, b in zip(values, base)]
            for row, values in measured.items()
            if row.startswith("DDL")
        },
        intervals=True,
    )
    if options.picture:
        plot_distributions(pictures, options.picture)


def _print_table(
    rows: dict[str, list[dict[str, np.ndarray]]], *, head: str = "", intervals: bool = False
) -> None:
    """A Markdown row for each row, values of its seeds averaged; % but for the separation."""
    names = list(next(iter(rows.values()))[0])
    print(f"| {head} | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for row, seeds in rows.items():
        cells = []
        for name in names:
            factor, digits = (1, 3) if "separation" in name else (100, 1)
            values = factor * np.mean([one[name] for one in seeds], axis=0)
            low, high = interval(values)
            cell = f"{values[0]:.{digits}f}"
            cells.append(f"{cell} [{low:.{digits}f}, {high:.{digits}f}]" if intervals else cell)
        print(f"| {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
