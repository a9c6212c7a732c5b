"""Runs side by side: every metric, its interval, and whether it differs from the first run's.

Runs must have been evaluated on the same files in the same way; what is compared was kept then
(`evidence`), so neither images nor networks are needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.evaluation.bootstrap import Difference, difference
from ddl_jax.evaluation.evaluate import check_same_protocol, read_results
from ddl_jax.evaluation.evidence import Evidence, read_evidence
from ddl_jax.evaluation.kept_files import read_card
from ddl_jax.evaluation.paired import McNemar, mcnemar
from ddl_jax.evaluation.report import Results

LEVEL = 0.05
_LOWER_IS_BETTER = ("eer", "overlap")
# Distances between groups: less where the hard ones gain, and where the easy ones lose more.
_NEITHER = ("gap", "accuracy_std_of_races")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric of one run against the first run's.

    Attributes:
        difference: this run's less the first run's, its interval and p-value by the paired
            bootstrap.
        mcnemar: of rates of right decisions; `only_first` are right in the first run alone.
        p_value: the larger one of both tests'.
        adjusted: after Benjamini and Hochberg's correction for the number of comparisons.
    """

    protocol: str
    metric: str
    run: str
    difference: Difference
    mcnemar: McNemar | None
    p_value: float
    adjusted: float

    @property
    def significant(self) -> bool:
        return self.adjusted <= LEVEL

    @property
    def verdict(self) -> str:
        """ "better", "worse"; nothing where it may be chance or is neither (`_NEITHER`)."""
        if not self.significant or self.metric in _NEITHER:
            return ""
        lower = self.metric in _LOWER_IS_BETTER
        return "better" if (self.difference.value > 0) != lower else "worse"


@dataclasses.dataclass(frozen=True)
class ComparedRuns:
    """Runs in the order given; the first is what the others are compared with."""

    directories: Mapping[str, epath.Path]
    results: Mapping[str, Results]
    evidence: Mapping[str, Mapping[str, Evidence]]
    comparisons: Sequence[Comparison]

    @property
    def summary(self) -> str:
        """How many comparisons were made, how many count, and how that was decided."""
        first, *others = self.results
        verdicts = [each.verdict for each in self.comparisons]
        better, worse = (verdicts.count(verdict) for verdict in ("better", "worse"))
        return (
            f"{len(self.comparisons)} comparisons with {first}: {better} better and {worse} worse "
            f"than chance explains (paired tests, false discovery rate {100 * LEVEL:g} % over all "
            "comparisons by Benjamini and Hochberg)"
        )


def compare(directories: Mapping[str, epath.Path]) -> ComparedRuns:
    """Compares evaluations with the first of them.

    Args:
      directories: two or more, by the names of their columns.

    Raises:
      UserError: fewer, or evaluations on other files or in another way, or without evidence.
    """
    if len(directories) < 2:
        raise UserError(f"{len(directories)} run given; give two or more to compare")
    first, *others = directories
    card = read_card(directories[first])
    advice = f"evaluate it on the same files in the same way as {directories[first]}"
    for run in others:
        check_same_protocol(directories[run], card, advice)
    results = {run: read_results(path) for run, path in directories.items()}
    evidence = {run: read_evidence(path) for run, path in directories.items()}
    found = []
    for run in others:
        _check_same_samples(directories, evidence, first, run)
        found += _against(results, evidence, first, run)
    from scipy import stats  # slow to import, and training needs none of it

    adjusted = stats.false_discovery_control([each.p_value for each in found]) if found else []
    found = [dataclasses.replace(each, adjusted=float(p)) for each, p in zip(found, adjusted)]
    return ComparedRuns(directories, results, evidence, found)


def _check_same_samples(
    directories: Mapping[str, epath.Path],
    evidence: Mapping[str, Mapping[str, Evidence]],
    first: str,
    run: str,
) -> None:
    """Same cards have the same samples, unless another version drew them otherwise."""
    for protocol in evidence[first].keys() & evidence[run].keys():
        ours, theirs = evidence[first][protocol], evidence[run][protocol]
        sizes = [len(values) for each in (ours, theirs) for values in each.drawn.values()]
        if ours.rests_on != theirs.rests_on or len(set(sizes)) > 1:
            raise UserError(
                f"{directories[run]}: {protocol} rests on {theirs.rests_on}, in "
                f"{directories[first]} on {ours.rests_on}; evaluate both with this version"
            )


def _against(
    results: Mapping[str, Results],
    evidence: Mapping[str, Mapping[str, Evidence]],
    first: str,
    run: str,
) -> list[Comparison]:
    found = []
    for protocol, ours in evidence[first].items():
        theirs = evidence[run].get(protocol)
        if theirs is None:
            continue
        for metric in ours.drawn:
            values = [results[name][protocol].get(metric, np.nan) for name in (first, run)]
            if metric not in theirs.drawn or not np.isfinite(values).all():
                continue
            test = difference(theirs.drawn[metric], ours.drawn[metric])
            if np.isnan(test.p_value):
                continue
            exact = test._replace(value=values[1] - values[0])  # samples may stand for all pairs
            decided = None
            if metric in ours.right and metric in theirs.right:
                decided = mcnemar(ours.right[metric], theirs.right[metric])
            p_value = max(test.p_value, decided.p_value if decided else 0.0)
            found.append(Comparison(protocol, metric, run, exact, decided, p_value, np.nan))
    return found
