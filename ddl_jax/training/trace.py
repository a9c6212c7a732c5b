"""A trace of some steps, for TensorBoard's profiler or Perfetto."""

from typing import Any

import jax
from etils import epath

# The first steps compile and fill the pipeline.
_SKIPPED = 10


class Trace:
    """Records `steps` steps of a run, after its first ten, into `workdir/profile`."""

    def __init__(self, workdir: epath.Path, steps: int):
        self._directory, self._steps, self._running = workdir / "profile", steps, False

    def before_step(self, done: int, state: Any) -> None:
        """Starts or ends the recording; `done` steps are done since the start, `state` theirs."""
        if self._steps and done == _SKIPPED:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self._directory))
            self._running = True
        elif self._running and done == _SKIPPED + self._steps:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Ends a recording that is still on."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
