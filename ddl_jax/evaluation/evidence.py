"""What error bars and comparisons of a result rest on, and the file that keeps it.

Kept are not the scores but what two models are compared by: every metric on the same bootstrap
samples of people, and which cases were decided rightly. That is as small for 16 million pairs as
for 6,000, about 40 KB a result, and holds no data of a person.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.evaluation.bootstrap import PairSamples, interval
from ddl_jax.evaluation.kept_files import reading
from ddl_jax.evaluation.resampled import verification_samples
from ddl_jax.files import write_atomically

FILE = "evidence.npz"
_FORMAT = 1  # of the file; another number is another layout
_POINTS = 100  # of a curve


class RocBand(NamedTuple):
    """TAR at rising FARs, and the middle 95 % of its bootstrap samples; NaN where it has none."""

    far: np.ndarray
    tar: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Of one result.

    Attributes:
        rests_on: what is resampled, "1,680 people" or "6,000 pairs".
        drawn: `{metric: [S + 1]}`, its value and those of the bootstrap samples, which are the same
            for every model on the same data.
        right: `{metric: [N] bool}`, the cases that a share is of: decided rightly or not.
        curve: the ROC curve.
    """

    rests_on: str
    drawn: dict[str, np.ndarray]
    right: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    curve: RocBand | None = None


def people_or_pairs(people: int | None, pairs: int) -> str:
    """What is resampled, in words: pairs where nobody says who is who."""
    return f"{pairs:,} pairs" if people is None else f"{people:,} people"


def pair_evidence(
    scores: np.ndarray,
    genuine: np.ndarray,
    samples: PairSamples,
    fars: Sequence[float],
    *,
    rests_on: str,
) -> Evidence:
    """Verification measures of pairs on bootstrap samples, with the band of their ROC curve.

    Arguments as of `verification_samples`. The curve begins at the FAR of one false accept.
    """
    repeats = np.ones(len(scores)) if samples.repeats is None else samples.repeats
    grid = np.geomspace(1 / np.sum(repeats[~genuine]), 1, _POINTS)
    names = [f"tar_at_far_{far:g}" for far in fars]
    drawn = verification_samples(scores, genuine, samples, [*fars, *grid])
    kept = {name: values for name, values in drawn.items() if "_at_far_" not in name}
    kept |= {name: drawn[name] for name in names}
    tars = (interval(drawn[f"tar_at_far_{far:g}"]) for far in grid)
    return Evidence(rests_on, kept, curve=RocBand(grid, *map(np.array, zip(*tars))))


def write_evidence(directory: epath.Path, results: Mapping[str, Evidence]) -> None:
    """Writes the evidence of `{protocol: evidence}`; samples as float32, decisions as bits."""
    arrays: dict[str, np.ndarray] = {}
    told = {}
    for protocol, evidence in results.items():
        cases = {metric: len(right) for metric, right in evidence.right.items()}
        told[protocol] = {"rests_on": evidence.rests_on, "cases": cases}
        for metric, values in evidence.drawn.items():
            arrays[f"{protocol}|drawn|{metric}"] = values.astype(np.float32)
        for metric, right in evidence.right.items():
            arrays[f"{protocol}|right|{metric}"] = np.packbits(right)
        if evidence.curve is not None:
            arrays[f"{protocol}|curve"] = np.stack(evidence.curve).astype(np.float32)
    arrays["told"] = np.array(json.dumps({"format": _FORMAT, "results": told}))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(directory / FILE, buffer.getvalue())


def read_evidence(directory: epath.Path) -> dict[str, Evidence]:
    """What `write_evidence` wrote.

    Raises:
      UserError: there is no such file, or it is damaged or of another version.
    """
    path = directory / FILE
    if not path.exists():
        raise UserError(
            f"{directory} keeps nothing to compare (no {FILE}); run eval.py on that run again"
        )
    with reading(path):
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file}
        told = json.loads(str(arrays["told"]))
        if told["format"] != _FORMAT:
            raise UserError(
                f"{path} has format {told['format']}, this version reads {_FORMAT}; run eval.py on "
                "that run again"
            )
        return {name: _read(name, about, arrays) for name, about in told["results"].items()}


def _read(protocol: str, about: Mapping, arrays: Mapping[str, np.ndarray]) -> Evidence:
    start = f"{protocol}|drawn|"
    curve = arrays.get(f"{protocol}|curve")
    return Evidence(
        rests_on=about["rests_on"],
        drawn={
            name.removeprefix(start): values.astype(np.float64)
            for name, values in arrays.items()
            if name.startswith(start)
        },
        right={
            metric: np.unpackbits(arrays[f"{protocol}|right|{metric}"], count=cases).astype(bool)
            for metric, cases in about["cases"].items()
        },
        curve=None if curve is None else RocBand(*curve.astype(np.float64)),
    )
