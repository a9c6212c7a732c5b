"""How a run starts: its first files, its first state, and what it says about both."""

import contextlib
from collections.abc import Iterator

import jax
import numpy as np
from etils import epath

from ddl_jax import config as config_lib
from ddl_jax import parallel
from ddl_jax.data import pairs as pairs_lib
from ddl_jax.data.tfds_source import DATA_CARD
from ddl_jax.errors import UserError
from ddl_jax.files import write_atomically
from ddl_jax.training import identities, init_from
from ddl_jax.training.checkpoint import Checkpoints, config_path
from ddl_jax.training.optimizer import learning_rate
from ddl_jax.training.prepare import Run, pairs_directories
from ddl_jax.training.state import TrainState


def make_workdir(workdir: epath.Path) -> None:
    """Makes the directory of a run, as nothing is wrong with it any more.

    Raises:
      UserError: it cannot be made.
    """
    if jax.process_index() == 0:
        with _writing(workdir):
            workdir.mkdir(parents=True, exist_ok=True)
    parallel.wait_for_all("work directory")


@contextlib.contextmanager
def _writing(workdir: epath.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--workdir={workdir} cannot be written: {error.strerror or error}; give another"
        ) from error


def write_start(run: Run) -> epath.Path | None:
    """Writes the first files -> where the pairs are kept, if any."""
    if jax.process_index() != 0:
        return run.pairs_file
    with _writing(run.workdir):
        write_atomically(config_path(run.workdir), config_lib.to_json(run.config).encode())
        identities.write(run.workdir, run.source.index)
        _keep_data_card(run)
        if run.start is not None and run.start.weights is not None:
            report = f"{run.start.weights.report()}\n".encode()
            write_atomically(run.workdir / "weights.txt", report)
    if run.pairs is not None and run.pairs_file is None:
        index, seed = run.source.index, run.config.seed
        name = pairs_lib.pairs_name(index, run.config.batch, seed)
        directories = pairs_directories(run.config, run.workdir)
        return pairs_lib.keep_pairs(index, run.pairs, name, directories)
    return run.pairs_file


def _keep_data_card(run: Run) -> None:
    """What `python -m ddl_jax.data prepare` has written about the data, if it made them."""
    data = run.config.data
    card = epath.Path(data.path) / DATA_CARD
    if data.source == "tfds" and card.exists():
        write_atomically(run.workdir / DATA_CARD, card.read_bytes())


def first_state(run: Run, checkpoints: Checkpoints) -> tuple[TrainState, str]:
    """Own checkpoint before init_from before scratch; and which it was."""
    if checkpoints.steps():
        state, damaged = checkpoints.restore_newest(run.new_state(), run.mesh)
        lines = [
            f"ATTENTION: the checkpoint of step {step} is damaged; it is in {place} now"
            for step, place in damaged.items()
        ]
        return state, "\n".join([*lines, f"going on from step {state.step} of {run.workdir}"])
    if run.start is None:
        return run.first_state(), "starting from scratch"
    head = run.config.init_from.head
    return run.first_state(), f"starting from {run.start.path}, head: {head}"


def describe(run: Run, state: TrainState, origin: str, pairs_file: epath.Path | None) -> str:
    index, mesh = run.source.index, run.mesh
    domains = run.config.batch.domains or tuple(np.unique(index.domains))
    images = ", ".join(f"{len(index.rows_of(domain))} {domain}" for domain in domains)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params["backbone"]))
    lines = [
        origin,
        f"{run.card.network}: {size:,} parameters; "
        f"{images} images of {run.classes} identities; "
        f"{run.config.batch_size} x {run.images_of_a_row} images a step on {mesh.size} "
        f"{mesh.devices.flat[0].platform} device(s)",
    ]
    if run.changed:
        lines.append(run.changed)
    if jax.process_count() > 1:
        hosts = ", ".join(f"{i} on {host}" for i, host in enumerate(parallel.hosts()))
        lines.append(f"processes: {hosts}")
    if (rate := learning_rate(run.config)) != (given := run.config.optimizer.learning_rate):
        lines.append(
            f"learning rate {rate:g}: {given:g} for {run.config.optimizer.rate_for_batch} rows, in "
            f"proportion for {run.config.batch_size}"
        )
    if learning := run.fine_tuning.describe(state.params):
        lines.append(learning)
    for domain, recipe in run.augment.made.items():
        lines.append(f"made on the fly: {domain} of {domains[0]} by {recipe}")
    for share, recipe in run.augment.shares:
        lines.append(f"augmentation of {share:.0%} of the images: {recipe}")
    if run.pairs is not None:
        pairs = ", ".join(f"{len(rows)} {domain}" for domain, rows in run.pairs.items())
        lines.append(f"positive pairs: {pairs}; kept in {pairs_file}")
    if run.pairs is not None and not run.config.init_from.path:
        lines.append(
            "ATTENTION: no config.init_from.path; distillation is made for a recognizer that has "
            "learned already, one trained on easy faces"
        )
    if run.start is not None and (advice := init_from.advice(run.start)):
        lines.append(advice)
    if seen := run.seen:
        lines.append(identities.warning(seen))
    return "\n".join(lines)
