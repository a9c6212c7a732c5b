"""What the terms of a DDL run pull at, and how steadily: the analysis in docs/results.md.

    python -m benchmarks.ddl_gradients --config=configs/mobilefacenet_ddl.py --workdir=NEW \
        --config.data.path=FACES --config.init_from.path=WEIGHTS ... --batches=8

WEIGHTS may be the work directory of a run; nothing is written to NEW. For these weights it prints,
for each term of the loss with its weight inside DDL and for DDL as a whole: the length of its
gradient to the backbone's parameters beside that of the margin softmax; the cosine between the two,
of a batch and of the means over the batches; and how steady it is: the length of the mean gradient
beside the mean length. Independent directions in n batches give 1 / sqrt(n).
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.flatten_util import ravel_pytree

from ddl_jax import command_line, parallel
from ddl_jax import config as config_lib
from ddl_jax.data.pipeline import batches
from ddl_jax.training.objective import make_objective
from ddl_jax.training.prepare import Run, prepare
from ddl_jax.training.state import TrainState
from ddl_jax.training.step import make_loss


def _flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("batches", 10, "How many batches.", lower_bound=2, flag_values=values)


def main(argv: list[str]) -> None:
    line = config_lib.parse(argv, define=_flags)
    if line.config is None:
        print(f"{__doc__}\n{line.flags.get_help()}")
        return
    line.config.devices = 1
    run = prepare(line.config, line.workdir)
    _print(_gradients(run, run.first_state(), line.flags.batches))


def _terms(run: Run) -> dict[str, float]:
    """Names of the loss's terms and their weights against the margin softmax, at DDL weight 1."""
    options = run.config.loss.distillation
    weights = {"margin_softmax": 1.0, "order": options.order_weight}
    for student in run.config.batch.domains[1:]:
        weights[f"positive_divergence/{student}"] = options.positive_weight
        weights[f"negative_divergence/{student}"] = options.negative_weight
    return {name: weight for name, weight in weights.items() if weight}


def _gradients(run: Run, state: TrainState, number: int) -> dict[str, np.ndarray]:
    """`[number, parameters]` of every term, weighted."""
    weights = _terms(run)
    loss_of = make_loss(
        run.fine_tuning.freeze(run.module),
        run.card,
        make_objective(run.config, run.classes),
        seed=run.config.seed,
    )

    def gradients_of(state, batch):
        def terms_of(backbone):
            _, (_, _, terms) = loss_of(state.params | {"backbone": backbone}, state, batch)
            return {name: weight * terms[name] for name, weight in weights.items()}

        values, pull_back = jax.vjp(terms_of, state.params["backbone"])
        zeros = jax.tree.map(jnp.zeros_like, values)
        # With the step its random numbers go on, as in training.
        return state.replace(step=state.step + 1), {
            name: ravel_pytree(pull_back(zeros | {name: jnp.ones_like(values[name])})[0])[0]
            for name in weights
        }

    mapped = parallel.map_step(gradients_of, run.mesh, state, how="shard_map")
    data, found = batches(run.batches(), step=0, workers=0), []
    for _ in range(number):
        state, gradients = mapped(state, parallel.global_batch(run.mesh, next(data)))
        found.append(gradients)
    data.close()
    return {
        name: np.stack([np.asarray(one[name], np.float64) for one in found]) for name in weights
    }


def _print(gradients: dict[str, np.ndarray]) -> None:
    softmax = gradients["margin_softmax"]
    ddl = sum(own for own in gradients.values() if own is not softmax)
    print(
        "| term, weighted | length | cosine with the softmax's | of the means | steadiness |\n"
        "|---|---:|---:|---:|---:|"
    )
    for name, own in (gradients | {"DDL, all its terms": ddl}).items():
        relative = np.mean(_length(own) / _length(softmax))
        cosine = np.mean(_cosine(own, softmax))
        of_means = _cosine(own.mean(axis=0), softmax.mean(axis=0))
        steady = _length(own.mean(axis=0)) / np.mean(_length(own))
        print(f"| {name} | {relative:.4f} | {cosine:+.2f} | {of_means:+.2f} | {steady:.2f} |")


def _length(gradients: np.ndarray) -> np.ndarray:
    return np.linalg.norm(gradients, axis=-1)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=-1) / (_length(a) * _length(b))


if __name__ == "__main__":
    sys.exit(command_line.run(main, sys.argv))
