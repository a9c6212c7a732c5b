"""What a cosine means: thresholds and similarities that an evaluation of the same weights found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.evaluation.evaluate import SEEN, evaluations_of, read_results
from ddl_jax.evaluation.kept_files import read_card
from ddl_jax.evaluation.pictures import read_similarities
from ddl_jax.evaluation.result import FARS
from ddl_jax.evaluation.similarity import Similarities

SAME, UNDECIDED, DIFFERENT = "same", "undecided", "different"
_FRR = 0.01  # of one person's pairs, those that may be called different people
_LEAST_GENUINE = 30  # fewer say nothing of how unlike photos of one person may be


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Two thresholds on cosines, which may be one and the same, and where they are from.

    Attributes:
      same: from here on up it is the same person.
      different: below it is not; between the two nobody can tell. None: nobody measured it, and
        below `same` nobody can tell.
      reached: what reaches `same`, and what `different`, in words.
      far: the false accept rate at `same`; None where nobody measured it.
      origin: what they were measured on, in words.
      similarities: what was measured, or a sample of it; None where it is not kept.
      seen: how many of the people that they were measured on were trained on.
      others: what else was measured, each with thresholds of its own.
    """

    same: float
    different: float | None
    reached: tuple[str, str]
    far: float | None = None
    origin: str = ""
    similarities: Similarities | None = None
    seen: int = 0
    others: tuple[str, ...] = ()

    @property
    def choice(self) -> str:
        """What to tell where other faces were measured too; "" elsewhere."""
        if not self.others:
            return ""
        return (
            f"Thresholds are of {self.origin}; those of faces more like yours may say otherwise: "
            f"--protocol={', '.join(self.others)}."
        )

    @property
    def warning(self) -> str:
        """What to tell where the network knows the people it was measured on; "" elsewhere."""
        if not self.seen:
            return ""
        return (
            f"ATTENTION: {self.seen} people of {self.origin} are trained on: of people that the "
            "network does not know, more pairs are on the wrong side; evaluate it on others "
            "(config.evaluation.data, --name), or choose a benchmark by --protocol."
        )

    def verdict(self, cosine: float) -> str:
        """SAME, UNDECIDED or DIFFERENT."""
        if cosine >= self.same:
            return SAME
        if self.different is None or cosine >= self.different:
            return UNDECIDED
        return DIFFERENT

    def explain(self, cosine: float) -> str:
        """The verdict on two images in a plain sentence."""
        same = f"{self.same:.3f}, which {self.reached[0]}"
        verdict = self.verdict(cosine)
        if verdict == SAME:
            return f"The same person: {cosine:.3f} is not below {same}."
        if self.different is None:
            return (
                f"Not shown to be the same person, nor different people: {cosine:.3f} is below "
                f"{same}; {self.reached[1]}."
            )
        different = f"{self.different:.3f}, which {self.reached[1]}"
        if verdict == UNDECIDED:
            return f"Undecided: {cosine:.3f} is between {different}, and {same}."
        return f"Different people: {cosine:.3f} is below {different}."

    def shares(self, cosine: float) -> str:
        """How many of the measured pairs are as similar; "" where none are kept."""
        if self.similarities is None:
            return ""
        negative, positive = self.similarities.negative, self.similarities.positive
        above, below = np.mean(negative >= cosine), np.mean(positive < cosine)
        return (
            f"Of {len(negative):,} pairs of different people in {self.origin}, {_share(above)} "
            f"as similar or more; of {len(positive):,} of one person, {_share(below)} less similar."
        )

    def missed(self) -> str:
        """How many of one person's measured pairs are below `same`; "" where none are kept."""
        if self.similarities is None:
            return ""
        positive = self.similarities.positive
        share = _share(np.mean(positive < self.same))
        return f"of {len(positive):,} pairs of one person {share} below it"


def given(threshold: float) -> Calibration:
    """A threshold that a user has from elsewhere, and decides by both ways.

    Raises:
      UserError: no cosine.
    """
    if not -1 <= threshold <= 1:
        raise UserError(f"--threshold is {threshold}; give a cosine, -1 to 1")
    return Calibration(threshold, threshold, ("is --threshold",) * 2)


def measured(
    workdir: epath.PathLike, step: int, *, flip: bool, name: str = "", protocol: str = ""
) -> Calibration | None:
    """What the evaluations of a checkpoint say; None where none has a threshold for two images.

    It is the same person from the threshold at FAR 1e-3 on, or else at 1e-2, or else at that of
    the best accuracy; different people where at most 1 % of one person's pairs are as unlike.
    Benchmarks that compare several images at a time (IJB's templates, COX's videos), or that treat
    mirror images otherwise, have no say.

    Args:
      workdir, step: of the checkpoint; other steps have other weights.
      flip: whether the mirror image's embedding is added.
      name: of the evaluation; the run's own before others when empty.
      protocol: of its results; when empty the first with a threshold, of people that were not
        trained on if there is one.

    Raises:
      UserError: there is no such `name` or `protocol`.
    """
    directories = evaluations_of(workdir, step, name)
    if name and not directories:
        raise UserError(f"--name: {workdir} has no evaluation {name!r} of step {step}")
    found = [each for directory in directories for each in _found(directory, flip)]
    wanted = [each for each in found if protocol in ("", each.result)]
    if protocol and not wanted:
        fit = ", ".join(dict.fromkeys(each.result for each in found))
        raise UserError(
            f"--protocol: no {protocol!r} with a threshold for two images in the evaluations of "
            f"step {step} of {workdir}; there are: {fit or 'none'}"
        )
    if not wanted:
        return None
    chosen = min(wanted, key=lambda each: each.seen > 0)
    others = dict.fromkeys(each.result for each in wanted if each.result != chosen.result)
    return dataclasses.replace(_calibration(chosen), others=tuple(others))


class _Found(NamedTuple):
    """A result with a threshold for two images."""

    directory: epath.Path
    result: str
    same: float
    reached: str
    far: float | None
    seen: int


def _found(directory: epath.Path, flip: bool) -> Iterator[_Found]:
    card = read_card(directory)
    for result, metrics in read_results(directory).items():
        same = _same(metrics)
        if same is not None and _is_of_images(result, card, flip):
            seen = card.get(SEEN, 0) if _is_own(result) else 0
            yield _Found(directory, result, *same, seen)


def _is_own(result: str) -> bool:
    """Whether it is of the run's data set, not of a benchmark."""
    return result.split("/")[0] in ("domains", "pairs")


def _is_of_images(result: str, card: Mapping[str, Any], flip: bool) -> bool:
    """Whether a result compares image with image, embedded as here."""
    own = card if _is_own(result) else card.get("protocols", {}).get(result.split("/")[0], {})
    rule = "image + mirror image" if flip else "image"
    return own.get("embedding") == rule and "video" not in own


def _same(metrics: Mapping[str, float]) -> tuple[float, str, float | None] | None:
    """`Calibration.same`, by what it is reached, and its FAR; None where nothing is measured."""
    for far in sorted(FARS):
        threshold = metrics.get(f"threshold_at_far_{far:g}", np.nan)
        if np.isfinite(threshold):
            return float(threshold), f"1 of {round(1 / far):,} pairs of different people reach", far
    best = metrics.get("threshold", np.nan)
    if not np.isfinite(best):
        return None
    return float(best), f"tells {100 * metrics['accuracy']:.1f} % of the pairs apart", None


def _calibration(found: _Found) -> Calibration:
    origin = f"{found.result} of {found.directory}"
    same, reached = found.same, found.reached
    kept = read_similarities(found.directory).get(found.result)
    also = {"far": found.far, "origin": origin, "similarities": kept, "seen": found.seen}
    genuine = 0 if kept is None else len(kept.positive)
    if genuine < _LEAST_GENUINE:
        why = f"{genuine or 'no'} pairs of one person are kept, {_LEAST_GENUINE} are needed to say"
        return Calibration(same, None, (reached, why), **also)
    limit = np.sort(kept.positive)[int(_FRR * genuine)]
    different = min(float(limit), same)  # what many strangers do not reach needs no third answer
    below = np.mean(kept.positive < different)
    missed = f"{100 * below:.3g} % of {genuine:,} pairs of one person do not reach"
    ends = reached, missed if below else f"all of {genuine:,} pairs of one person reach"
    return Calibration(same, different, ends, **also)


def _share(share: float) -> str:
    return f"{100 * share:.3g} % are" if share else "none is"
