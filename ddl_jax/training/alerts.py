"""What a log line says that somebody should look at."""

from collections import deque
from collections.abc import Mapping

from ddl_jax.config import Batch

# How far the teacher's mean similarity of positive pairs may fall, in cosine: several times what
# the means of batches of 16 pairs scatter by.
_FALL = 0.1
_LINES = 5  # in which a term must move


class Alerts:
    """Watches the DDL's terms from line to line of the log.

    The known failure of the KL terms alone: the two distributions come together because the easy
    one falls, not because the hard one rises. And a divergence that does not move has no gradient:
    its histograms do not overlap, or its weight is 0.
    """

    def __init__(self, batch: Batch):
        self._teacher = f"positive_mean/{batch.domains[0]}" if batch.kind == "ddl" else ""
        self._highest = -1.0
        self._past: dict[str, deque[float]] = {}

    def lines(self, row: Mapping[str, float]) -> list[str]:
        """What there is to say about this line of the log; each thing once."""
        return [*self._fallen(row), *self._stuck(row)] if self._teacher else []

    def _fallen(self, row: Mapping[str, float]) -> list[str]:
        mean = row[self._teacher]
        self._highest = max(self._highest, mean)
        if mean > self._highest - _FALL:
            return []
        before, self._highest = self._highest, mean
        return [
            f"the teacher's E[S+] fell from {before:.3f} to {mean:.3f}: the easy faces get worse; "
            "a higher config.loss.distillation.order_weight or stop_teacher_gradient holds them"
        ]

    def _stuck(self, row: Mapping[str, float]) -> list[str]:
        told = []
        for name, value in row.items():
            if "_divergence/" not in name:
                continue
            past = self._past.setdefault(name, deque(maxlen=_LINES))
            past.append(value)
            if len(past) == _LINES and max(past) == min(past):
                told.append(f"{name} has been {value:g} for {_LINES} lines: it does not learn")
                past.clear()
        return told
