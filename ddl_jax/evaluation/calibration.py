"""What a cosine means: thresholds and similarities that an evaluation of the same weights found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.evaluation.evaluate import evaluations_of, read_results
from ddl_jax.evaluation.pictures import read_similarities
from ddl_jax.evaluation.result import FARS
from ddl_jax.evaluation.similarity import Similarities

SAME, UNDECIDED, DIFFERENT = "same", "undecided", "different"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Two thresholds on cosines, which may be one and the same, and where they are from.

    Attributes:
      same: from here on up it is the same person.
      different: below it is not; between the two nobody can tell.
      reached: by what `same` and `different` are reached, in words.
      far: the false accept rate at `same`; None where nobody measured it.
      origin: what they were measured on, in words.
      similarities: what was measured, or a sample of it; None where it is not kept.
    """

    same: float
    different: float
    reached: tuple[str, str]
    far: float | None = None
    origin: str = ""
    similarities: Similarities | None = None

    def verdict(self, cosine: float) -> str:
        """SAME, UNDECIDED or DIFFERENT."""
        if cosine >= self.same:
            return SAME
        return DIFFERENT if cosine < self.different else UNDECIDED

    def explain(self, cosine: float) -> str:
        """The verdict on two images in a plain sentence."""
        same, different = (
            f"{value:.3f}{f', which {reached}' if reached else ''}"
            for value, reached in zip((self.same, self.different), self.reached)
        )
        return {
            SAME: f"The same person: {cosine:.3f} is not below {same}.",
            UNDECIDED: f"Undecided: {cosine:.3f} is between {different}, and {same}.",
            DIFFERENT: f"Different people: {cosine:.3f} is below {different}.",
        }[self.verdict(cosine)]

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


def given(threshold: float) -> Calibration:
    """A threshold that a user has from elsewhere.

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

    Thresholds are those at FAR 1e-3 and 1e-2, as far as they are measured; else that of the best
    accuracy. Benchmarks that compare several images at a time (IJB's templates, COX's videos), or
    that treat mirror images otherwise, have no say.

    Args:
      workdir, step: of the checkpoint; other steps have other weights.
      flip: whether the mirror image's embedding is added.
      name: of the evaluation; the run's own before others when empty.
      protocol: of its results; the first with a threshold when empty.

    Raises:
      UserError: there is no such `name` or `protocol`.
    """
    directories = evaluations_of(workdir, step, name)
    if name and not directories:
        raise UserError(f"--name: {workdir} has no evaluation {name!r} of step {step}")
    fit = {}
    for directory in directories:
        card = json.loads((directory / "card.json").read_text())
        for result, metrics in read_results(directory).items():
            if not _is_of_images(result, card, flip):
                continue
            found = _calibration(metrics, f"{result} of {directory}")
            if found is None:
                continue
            if protocol in ("", result):
                kept = read_similarities(directory).get(result)
                return dataclasses.replace(found, similarities=kept)
            fit.setdefault(result, directory)
    if protocol:
        raise UserError(
            f"--protocol: no {protocol!r} with a threshold for two images in the evaluations of "
            f"step {step} of {workdir}; there are: {', '.join(fit) or 'none'}"
        )
    return None


def _is_of_images(result: str, card: Mapping[str, Any], flip: bool) -> bool:
    """Whether a result compares image with image, embedded as here."""
    kind = result.split("/")[0]
    own = card if kind in ("domains", "pairs") else card.get("protocols", {}).get(kind, {})
    rule = "image + mirror image" if flip else "image"
    return own.get("embedding") == rule and "video" not in own


def _calibration(metrics: Mapping[str, float], origin: str) -> Calibration | None:
    at = {far: metrics.get(f"threshold_at_far_{far:g}", np.nan) for far in sorted(FARS)}
    at = {far: float(value) for far, value in at.items() if np.isfinite(value)}
    if at:
        fars = list(at)
        reached = [f"1 of {round(1 / far):,} pairs of different people reach" for far in fars]
        ends = reached[0], reached[-1]
        return Calibration(at[fars[0]], at[fars[-1]], ends, fars[0], origin)
    best = metrics.get("threshold", np.nan)
    if not np.isfinite(best):
        return None
    text = f"tells {100 * metrics['accuracy']:.1f} % of the pairs apart"
    return Calibration(float(best), float(best), (text, text), None, origin)


def _share(share: float) -> str:
    return f"{100 * share:.3g} % are" if share else "none is"
