"""Which scores tell profile from frontal faces, and how much of what is planted does an audit find?

    python -m benchmarks.easy_hard --faces=FACES --workdir=RUN

FACES holds `identity/frontal/*.jpg` and `identity/profile/*.jpg`, RUN is a work directory whose
network looks at them (`--config.steps=0` makes one of pretrained weights). Prints Markdown tables:

* for each score the area under the ROC curve of "profile", and the precision and recall of the rule
  that takes as many images as there are profiles;
* for planted faults, with three seeds each: how many there are, how many the audit lists by its own
  thresholds, and how many of these are planted. Duplicates are half of the images of every tenth
  person, or all their profiles, under a new name; wrong labels 1, 3 and 10 % of all images or of
  the frontal ones, each under a random other name.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.image_scores import image_scores
from ddl_jax.evaluation import centers
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import unit_rows
from ddl_jax.training.recognizer import Choice, load_recognizer

_RULES = ("*/frontal/*=easy", "*/profile/*=hard")
_SEEDS = range(3)
_SHARES = (0.01, 0.03, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", required=True)
    parser.add_argument("--workdir", required=True)
    options = parser.parse_args()
    source = ImageFolderSource(options.faces, domain_rules=_RULES)
    embeddings = load_recognizer(Choice(options.workdir)).embed(source)
    unit, labels = unit_rows(embeddings), source.index.labels
    profile = source.index.domains == "hard"
    scores = image_scores(source, ("symmetry", "sharpness", "brightness"))
    scores["norm"] = np.linalg.norm(embeddings, axis=1) / 2
    scores["similarity"] = centers.own_similarities(unit, labels)
    _table("score | area | precision = recall", _by_score(scores, profile))
    head = "planted | seed | there | listed | of these planted"
    _table(head, _duplicates(unit, labels, profile))
    _table(head, _wrong_labels(unit, labels, profile))


def _table(head: str, rows: Iterator[str]) -> None:
    print(f"| {head} |\n|---|{'---:|' * head.count('|')}")
    for row in rows:
        print(f"| {row} |", flush=True)
    print()


def _by_score(scores: dict[str, np.ndarray], profile: np.ndarray) -> Iterator[str]:
    for name, values in scores.items():
        curve = RocCurve.from_scores(-values[profile], [-values[~profile]])
        area = np.trapezoid([0, *curve.tar], [0, *curve.far])
        lowest = np.argsort(values, kind="stable")[: profile.sum()]
        yield f"{name} | {area:.3f} | {profile[lowest].mean():.3f}"


def _duplicates(unit: np.ndarray, labels: np.ndarray, profile: np.ndarray) -> Iterator[str]:
    people = int(labels.max()) + 1
    for what in ("half of the images", "all profiles"):
        for seed in _SEEDS:
            rng = np.random.default_rng(seed)
            twice = rng.choice(people, people // 10, replace=False)
            planted = labels.copy()
            for number, person in enumerate(twice):
                rows = np.flatnonzero(labels == person)
                half = rng.permutation(rows)[: len(rows) // 2]
                planted[rows[profile[rows]] if what == "all profiles" else half] = people + number
            same_at = centers.same_person_similarity(unit, planted)
            found = centers.similar_centers(
                centers.identity_centers(unit, planted, people + len(twice)),
                None,
                at_least=same_at,
            )
            new = found.second >= people
            right = new & (twice[(found.second - people) * new] == found.first)
            yield f"{what} | {seed} | {len(twice)} | {len(right)} | {right.sum()}"


def _wrong_labels(unit: np.ndarray, labels: np.ndarray, profile: np.ndarray) -> Iterator[str]:
    people = int(labels.max()) + 1
    for what, rows in (("all", np.arange(len(labels))), ("frontal", np.flatnonzero(~profile))):
        for share in _SHARES:
            for seed in _SEEDS:
                rng = np.random.default_rng(seed)
                wrong = rng.choice(len(rows), round(share * len(rows)), replace=False)
                planted = labels[rows]
                planted[wrong] += rng.integers(1, people, len(wrong))
                check = centers.check_labels(unit[rows], planted % people)
                below = [
                    np.flatnonzero(check.margin < bound)
                    for bound in (centers.wrong_label_margin(check), 0)
                ]
                listed, nearer = ((len(b), np.isin(b, wrong).sum()) for b in below)
                yield (
                    f"{share:.0%} of {what} images | {seed} | {len(wrong)} | {listed[0]} "
                    f"(nearer to another at all: {nearer[0]}) | {listed[1]} ({nearer[1]})"
                )


if __name__ == "__main__":
    main()
