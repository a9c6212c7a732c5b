"""Which checkpoints stay when newer ones have come."""

import json
import math
from collections.abc import Sequence

from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from ddl_jax.config import Checkpoint
from ddl_jax.evaluation.evaluate import evaluation_directory

# Of these metrics less is better.
_ERRORS = ("eer",)


def preservation(workdir: epath.PathLike, settings: Checkpoint) -> policies.PreservationPolicy:
    """The newest, those of every so many steps, and the best."""
    kept: list[policies.PreservationPolicy] = [policies.LatestN(settings.keep)]
    if settings.keep_every:
        kept.append(policies.EveryNSteps(settings.keep_every))
    if settings.best:
        kept.append(_Best(epath.Path(workdir), settings.best))
    return policies.AnyPreservationPolicy(kept)


class _Best(policies.PreservationPolicy):
    """The checkpoint whose evaluation has the best value of a metric; of equals the last."""

    def __init__(self, workdir: epath.Path, name: str):
        self._workdir = workdir
        self._protocol, _, self._metric = name.rpartition("/")

    def should_preserve(
        self,
        checkpoints: Sequence[policies.PolicyCheckpointInfo],
        *,
        context: policies.PreservationContext,
    ) -> Sequence[bool]:
        del context
        values = [self._value(checkpoint.step) for checkpoint in checkpoints]
        best = max(values, default=-math.inf)
        place = len(values) - 1 - values[::-1].index(best) if math.isfinite(best) else None
        return [number == place for number in range(len(values))]

    def _value(self, step: int) -> float:
        """The metric, so that more is better; -inf of a step without it."""
        path = evaluation_directory(self._workdir, step) / "results.json"
        if not path.exists():
            return -math.inf
        value = json.loads(path.read_text()).get(self._protocol, {}).get(self._metric)
        if value is None:
            return -math.inf
        return -value if self._metric in _ERRORS else value
