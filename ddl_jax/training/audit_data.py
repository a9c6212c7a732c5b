"""Who is in a data set twice, who is in another one too, and which labels look wrong."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from ddl_jax import config as config_lib
from ddl_jax.data.open_source import open_source
from ddl_jax.data.source import RecordIndex, Source
from ddl_jax.data.table import table_text
from ddl_jax.errors import UserError
from ddl_jax.evaluation import centers
from ddl_jax.evaluation.embedding_cache import EmbeddingCache
from ddl_jax.evaluation.similarity import unit_rows
from ddl_jax.files import write_atomically
from ddl_jax.training.recognizer import Choice, Recognizer, load_recognizer, trained_on_warning

LABELS, DUPLICATES, OVERLAP, EXCLUDE = "labels.csv", "duplicates.csv", "overlap.csv", "exclude.txt"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to look at.

    Attributes:
      data: the data set.
      against: another one, whose people should not be in it; None for none.
      same_at: cosine of two centres from which they are one person; None for
        `same_person_similarity`.
      margin: below which a label is taken for wrong; None for `wrong_label_margin`.
      seed: of the halves that `same_person_similarity` compares.
    """

    data: config_lib.Data
    against: config_lib.Data | None = None
    same_at: float | None = None
    margin: float | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class _People:
    """A data set as a network sees it."""

    index: RecordIndex
    unit: np.ndarray
    centers: np.ndarray

    @classmethod
    def of(cls, recognizer: Recognizer, source: Source, cache: EmbeddingCache | None) -> "_People":
        unit, index = unit_rows(recognizer.embed(source, cache=cache)), source.index
        return cls(index, unit, centers.identity_centers(unit, index.labels, index.classes))

    @property
    def names(self) -> np.ndarray:
        """Of the identities, by label."""
        return self.index.identities[np.unique(self.index.labels, return_index=True)[1]]

    @property
    def images(self) -> np.ndarray:
        """Number of images of each identity."""
        return np.bincount(self.index.labels)


def audit_data(
    plan: Plan, out: epath.PathLike, choice: Choice, cache: EmbeddingCache | None = None
) -> str:
    """Writes what it finds into `out` -> what to tell.

    Args:
      plan: what to look at.
      out: a folder for the files; a list of exclusions that is there already is not overwritten.
      choice: the network.
      cache: of embeddings; None keeps none.

    Raises:
      UserError: something is missing or wrong; nothing has been written.
    """
    out = epath.Path(out)
    if (out / EXCLUDE).exists():
        raise UserError(f"{out / EXCLUDE} exists already; remove it or give another --out")
    recognizer = load_recognizer(choice)
    source = open_source(plan.data, config_lib.Synthetic(), "")
    if source.index.classes < 2:
        raise UserError(f"{plan.data.path} has one identity only; give two or more to compare")
    other = plan.against and open_source(plan.against, config_lib.Synthetic(), "--against")
    people = _People.of(recognizer, source, cache)
    found = _Found({}, [], [])
    same_at = _look_within(plan, people, found)
    if other is not None:
        _look_across(people, _People.of(recognizer, other, cache), same_at, found)
    for name, text in found.files.items():
        write_atomically(out / name, text.encode())
    write_atomically(out / EXCLUDE, "".join(f"{line}\n" for line in found.excluded).encode())
    warning = trained_on_warning(choice, plan.data, people.index)
    return "\n".join(
        [
            *found.told,
            *filter(None, [warning]),
            f"Look at {', '.join(found.files)} in {out}, edit {EXCLUDE}, and train with",
            *config_lib.as_flags({"data.exclude": out / EXCLUDE}),
        ]
    )


class _Found(NamedTuple):
    """What is written and told: texts of files by their names, lines to print, lines to exclude."""

    files: dict[str, str]
    told: list[str]
    excluded: list[str]


def _look_within(plan: Plan, people: _People, found: _Found) -> float:
    """Adds duplicates and wrong labels of a set -> the cosine from which centres are one person."""
    same_at, margin, labels = _thresholds(plan, people)
    duplicates = centers.similar_centers(people.centers, None, at_least=same_at)
    wrong = np.flatnonzero(labels.margin < margin)
    wrong = wrong[np.argsort(labels.margin[wrong])]
    found.files[LABELS] = _label_table(people, labels)
    found.files[DUPLICATES] = _pair_table(people, people, duplicates)
    found.told.append(_duplicates_told(people, duplicates, same_at))
    found.told.append(_labels_told(people.index, wrong, margin))
    about = "nearer to another identity than to their own"
    found.excluded.extend(_section(about, people.index.paths[wrong]))
    about = "the smaller of two that look like one"
    found.excluded.extend(_section(about, _smaller(people, duplicates)))
    return same_at


def _look_across(people: _People, others: _People, same_at: float, found: _Found) -> None:
    """Adds who is in another set, too."""
    overlap = centers.similar_centers(people.centers, others.centers, at_least=same_at)
    known = np.unique(overlap.first)
    found.files[OVERLAP] = _pair_table(people, others, overlap)
    found.told.append(
        f"overlap: {len(known)} of {people.index.classes} identities look like one of the "
        f"{others.index.classes} of the other set (cosine of centres at least {same_at:.3f})"
    )
    found.excluded.extend(_section("in the other set too", people.names[known]))


def _thresholds(plan: Plan, people: _People) -> tuple[float, float, centers.LabelCheck]:
    """`same_at`, `margin`, and the labels that the second is about."""
    labels = people.index.labels
    check = centers.check_labels(people.unit, labels)
    try:
        same_at, margin = plan.same_at, plan.margin
        if same_at is None:
            same_at = centers.same_person_similarity(people.unit, labels, seed=plan.seed)
        if margin is None:
            margin = centers.wrong_label_margin(check)
    except ValueError as error:
        raise UserError(f"{plan.data.path}: {error}; or --same_at and --margin") from error
    return same_at, margin, check


def _label_table(people: _People, check: centers.LabelCheck) -> str:
    """Every image, the most doubtful first; those without another of their identity last."""
    order = np.argsort(np.where(np.isnan(check.margin), np.inf, check.margin), kind="stable")
    index, names = people.index, people.names
    columns = (
        index.paths[order].tolist(),
        index.identities[order].tolist(),
        index.domains[order].tolist(),
        check.own[order].tolist(),
        names[check.nearest[order]].tolist(),
        check.other[order].tolist(),
        check.margin[order].tolist(),
    )
    head = ("path", "identity", "domain", "own", "nearest", "other", "margin")
    return table_text(head, zip(*columns, strict=True))


def _pair_table(first: _People, second: _People, pairs: centers.CenterPairs) -> str:
    columns = (
        first.names[pairs.first].tolist(),
        second.names[pairs.second].tolist(),
        pairs.similarity.tolist(),
        first.images[pairs.first].tolist(),
        second.images[pairs.second].tolist(),
    )
    head = ("first", "second", "similarity", "first_images", "second_images")
    return table_text(head, zip(*columns, strict=True))


def _smaller(people: _People, pairs: centers.CenterPairs) -> list[str]:
    """Of every pair the identity of fewer images, of equal ones the later: the largest stays."""
    images = people.images
    smaller = np.where(images[pairs.first] < images[pairs.second], pairs.first, pairs.second)
    return people.names[np.unique(smaller)].tolist()


def _section(about: str, names: Iterable[str]) -> list[str]:
    lines: Sequence[str] = list(names)
    return [f"# {len(lines)} {about}", *lines]


def _duplicates_told(people: _People, pairs: centers.CenterPairs, same_at: float) -> str:
    return (
        f"duplicates: {len(pairs.first)} pairs of the {people.index.classes} identities look like "
        f"one person (cosine of centres at least {same_at:.3f})"
    )


def _labels_told(index: RecordIndex, wrong: np.ndarray, margin: float) -> str:
    """How many labels look wrong, by domain: a network finds hard images wrong that are not."""
    domains, counts = np.unique(index.domains, return_counts=True)
    shares = [
        f"{np.sum(index.domains[wrong] == domain)} of {count} of domain {domain}"
        for domain, count in zip(domains, counts)
    ]
    return (
        f"labels: {len(wrong)} of {len(index)} images are nearer to another identity than to their "
        f"own by {-margin:.3f} or more: {', '.join(shares)}"
    )
