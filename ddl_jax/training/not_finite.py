"""What was not finite in a step that changed nothing."""

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ddl_jax import parallel
from ddl_jax.files import write_atomically
from ddl_jax.training.prepare import Run
from ddl_jax.training.state import TrainState


def report_not_finite(run: Run, state: TrainState, metrics: Mapping[str, Any]) -> str:
    """Looks at the last step again, which changed nothing, and writes what was not finite.

    Args:
      run: whose step it was.
      state: after the step.
      metrics: of the step.

    Returns:
      The first culprits and the file with everything: `not_finite-<step>.json` in the work
      directory, with every term and norm of the step, the tensors with a gradient that is not
      finite, and the images of the batch.
    """
    step = int(state.step) - 1
    terms = {name: float(value) for name, value in metrics.items()}
    gradients = _broken_gradients(run, state.replace(step=state.step - 1), step)
    index = run.source.index
    records = run.sampler.records(step)
    report = {
        "step": step + 1,
        "metrics": {name: v if math.isfinite(v) else str(v) for name, v in terms.items()},
        "gradients": gradients,
        "images": [[str(index.paths[n]) for n in row] for row in records],
    }
    path = run.workdir / f"not_finite-{step + 1}.json"
    if jax.process_index() == 0:
        write_atomically(path, json.dumps(report, indent=2).encode())
    broken = [name for name, value in terms.items() if not math.isfinite(value)]
    tensors = f"; gradient of {gradients[0]}" if gradients else ""
    more = f" and {len(gradients) - 1} more" if len(gradients) > 1 else ""
    return f"{', '.join(broken)}{tensors}{more} (all of it in {path})"


def _broken_gradients(run: Run, state: TrainState, step: int) -> list[str]:
    """The parameters whose gradient is not finite."""

    def look(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        gradients = jax.grad(run.loss, has_aux=True)(state.params, state, batch)[0]
        broken = jax.tree.map(lambda leaf: jnp.any(~jnp.isfinite(leaf)), gradients)
        return state, jax.lax.pmax(jax.tree.map(jnp.int32, broken), parallel.AXIS)

    batch = run.batches()[step]
    mapped = parallel.map_step(look, run.mesh, state, how=run.config.parallelism)
    _, broken = mapped(state, parallel.global_batch(run.mesh, batch))
    flat, _ = jax.tree_util.tree_flatten_with_path(broken)
    return ["/".join(key.key for key in path) for path, value in flat if int(value)]
