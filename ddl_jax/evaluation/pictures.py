"""The pictures of a report: from the files of evaluations to PNGs beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from etils import epath

from ddl_jax.evaluation.evidence import Evidence, RocBand
from ddl_jax.evaluation.kept_files import reading
from ddl_jax.evaluation.plots import plot_distributions, plot_roc_bands
from ddl_jax.evaluation.report import group_of
from ddl_jax.evaluation.similarity import Similarities

_LINES = 6  # of one picture
_ROWS = 6

Pictures = dict[str, dict[str, epath.Path]]  # {group: {caption: PNG}}


def distribution_pictures(directory: epath.Path, runs: Mapping[str, epath.Path]) -> Pictures:
    """Similarity distributions of every group of results, a column for each run that has it.

    Args:
      directory: of the pictures.
      runs: evaluation directories by the names of their columns.
    """
    found = {run: read_similarities(path) for run, path in runs.items()}
    names = [
        name for name in list(found.values())[-1] if all(name in each for each in found.values())
    ]
    pictures: Pictures = {}
    for group, some in _parts(names, _ROWS):
        title = {name: name.removeprefix(f"{group}/") for name in some}
        columns = {run: {title[name]: each[name] for name in some} for run, each in found.items()}
        caption = f"Similarities: genuine and impostor pairs of {_told(group, title.values())}"
        if len(some) > 1:
            caption += f". Outlined: {title[some[0]]}, to compare with"
        path = _place(directory, "distributions", group, pictures)
        plot_distributions(columns, path, first="teacher" if group == "domains" else "")
        pictures.setdefault(group, {})[caption] = path
    return pictures


def roc_pictures(directory: epath.Path, runs: Mapping[str, Mapping[str, Evidence]]) -> Pictures:
    """ROC curves with bands: of one run those of a group in one picture, of several one a result.

    Args:
      directory: of the pictures.
      runs: `{run: {protocol: evidence}}`.
    """
    *_, last = runs.values()
    names = [name for name, one in last.items() if one.curve is not None]
    pictures: Pictures = {}
    for group, some in _parts(names, _LINES if len(runs) == 1 else 1):
        title = {name: name.removeprefix(f"{group}/") for name in some}
        curves: dict[str, RocBand] = {}
        for run, found in runs.items():
            for name in some:
                line = title[name] if len(runs) == 1 else run
                if name in found and found[name].curve is not None:
                    curves[line] = found[name].curve
        caption = f"TAR against FAR of {_told(group, title.values())}; bands: 95 %, see below"
        path = _place(directory, "roc", group, pictures)
        plot_roc_bands(curves, path)
        pictures.setdefault(group, {})[caption] = path
    return pictures


def read_similarities(directory: epath.Path) -> dict[str, Similarities]:
    """The similarities.npz of an evaluation."""
    path = directory / "similarities.npz"
    with reading(path), np.load(io.BytesIO(path.read_bytes())) as arrays:
        protocols = dict.fromkeys(name.rsplit("|", 1)[0] for name in arrays)
        return {
            protocol: Similarities(
                arrays[f"{protocol}|positive"],
                arrays[f"{protocol}|negative"],
                *map(float, arrays[f"{protocol}|means"]),
            )
            for protocol in protocols
        }


def _parts(names: list[str], most: int) -> list[tuple[str, list[str]]]:
    """(group, at most so many of its results), in order."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    return [
        (group, some[start : start + most])
        for group, some in groups.items()
        for start in range(0, len(some), most)
    ]


def _place(directory: epath.Path, kind: str, group: str, pictures: Pictures) -> epath.Path:
    number = len(pictures.get(group, {}))
    return directory / f"{kind}_{group}{f'_{number + 1}' if number else ''}.png"


def _told(group: str, parts) -> str:
    names = list(parts)
    return group if names == [group] else f"{group}: {', '.join(names)}"
