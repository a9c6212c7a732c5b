"""Did two models decide the same pairs, or identify the same probes, differently by chance?

`difference` of `bootstrap` answers for any measure and knows about people; `mcnemar` answers for
right and wrong decisions, exactly, as if these were independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class McNemar(NamedTuple):
    """How many cases only one of two models decided rightly, and the two-sided p-value."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two models' decisions on the same cases.

    Cases that both decide alike say nothing; of the others, if the models are equally good, each
    model is right in one half: binomial. Cases are taken as independent, so that pairs which share
    people give too small a p-value: see `difference` then.

    Args:
        first, second: `[N]` bool, decided rightly: `verification_decisions`, or `ranks <= 1`.

    Raises:
        ValueError: no case, or not the same cases.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError(f"decisions {first.shape} and {second.shape} must both be [N], N > 0")
    for decisions in (first, second):
        if decisions.dtype != bool:
            raise ValueError(f"decisions are {decisions.dtype}: give bool, right or wrong")
    from scipy import stats  # slow to import, and training needs none of it

    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    differing = only_first + only_second
    p_value = stats.binomtest(only_first, differing).pvalue if differing else 1.0
    return McNemar(only_first, only_second, float(p_value))
