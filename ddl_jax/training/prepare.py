"""Everything that can go wrong before a run starts, and what the run is made of if nothing does.

Nothing is written into the work directory here, and no file of the data is changed, except that
synthetic_faces is rendered when it is missing.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from etils import epath
from jax.sharding import Mesh

from ddl_jax import config as config_lib
from ddl_jax import parallel
from ddl_jax.config import Config
from ddl_jax.data import pairs as pairs_lib
from ddl_jax.data.augment import Augment, make_augment
from ddl_jax.data.made_domains import MadeDomains
from ddl_jax.data.open_source import open_source
from ddl_jax.data.pipeline import HostBatches
from ddl_jax.data.sampling import (
    DDLSampler,
    IdentitySampler,
    ImageSampler,
    MixedSampler,
    Sampler,
)
from ddl_jax.data.shared_batches import check_room
from ddl_jax.data.source import RecordIndex, Source
from ddl_jax.errors import UserError
from ddl_jax.evaluation.evaluate import (
    EvaluationData,
    check_same_protocol,
    open_evaluation,
    protocol_card,
)
from ddl_jax.models import ModelCard
from ddl_jax.training import identities, init_from
from ddl_jax.training.checkpoint import Checkpoints, Meta, NoAccess, config_path, read_config
from ddl_jax.training.fine_tuning import FineTuning, make_fine_tuning
from ddl_jax.training.objective import head_names, make_objective
from ddl_jax.training.optimizer import make_optimizer
from ddl_jax.training.state import TrainState, init_state, make_card, make_module, padded_classes
from ddl_jax.training.step import LossOf, make_loss, make_update

# Settings that may change between two starts of a run without making it another experiment. The
# first only where the learning rate does not depend on where the run ends.
_FREE = ("steps", "parallelism", "devices", "log_every", "profile", "max_skipped")
_FREE += ("checkpoint.", "evaluation.")
# The fingerprint tells whether the data are the same.
_FREE_DATA = ("data.path", "data.workers", "data.changed")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is ready to start."""

    config: Config
    workdir: epath.Path
    mesh: Mesh
    images: Source  # those there are
    source: Source  # the same, and the domains that are made of them
    augment: Augment
    evaluation_data: EvaluationData | None  # None where nothing is ever evaluated
    sampler: Sampler | None  # None where no step is made
    pairs: pairs_lib.Pairs | None
    pairs_file: epath.Path | None  # where the pairs came from; None when they are new
    module: nn.Module
    card: ModelCard
    fine_tuning: FineTuning
    optimizer: optax.GradientTransformation
    meta: Meta
    changed: str  # what to tell of data that are others than at the last checkpoint, or ""
    start: init_from.Start | None

    @property
    def classes(self) -> int:
        """Identities of the training data."""
        return self.source.index.classes

    @property
    def images_of_a_row(self) -> int:
        """Images of a row of a batch."""
        return config_lib.images_of_a_row(self.config.batch)

    @functools.cached_property
    def seen(self) -> int:
        """Identities of the evaluation that this run, or the one it starts from, is trained on."""
        if self.evaluation_data is None or self.evaluation_data.source is None:
            return 0
        config, evaluated = self.config, config_lib.evaluation_data(self.config)
        trained = identities.trained_on(config.init_from.path)
        if config.steps:
            trained.append(identities.Known.of(config.data, config.synthetic, self.source.index))
        index = self.evaluation_data.source.index
        return identities.seen(trained, identities.Known.of(evaluated, config.synthetic, index))

    @functools.cached_property
    def loss(self) -> LossOf:
        """The loss of a batch on one device; see `step.make_loss`."""
        return make_loss(
            self.fine_tuning.freeze(self.module),
            self.card,
            make_objective(self.config, self.classes),
            seed=self.config.seed,
            micro_batches=self.config.micro_batches,
        )

    @functools.cached_property
    def train_step(self) -> Callable[[TrainState, Any], tuple[TrainState, Any]]:
        """The compiled step over all devices; see `parallel.map_step`."""
        decay = self.config.optimizer.ema_decay
        step = make_update(self.loss, self.optimizer, self.fine_tuning, ema_decay=decay)
        how = self.config.parallelism
        return parallel.map_step(step, self.mesh, jax.eval_shape(self.new_state), how=how)

    def check_step(self) -> None:
        """Traces the step, so that what cannot be computed is refused before anything is written.

        jit keeps the trace for arrays of these shapes and shardings: training does not pay again.
        """
        b, m = self.config.batch_size, self.images_of_a_row
        rows = parallel.row_sharding(self.mesh)
        batch = {
            "image": jax.ShapeDtypeStruct(
                (b, m, *self.card.input_size, 3), np.uint8, sharding=rows
            ),
            "label": jax.ShapeDtypeStruct((b, m), np.int32, sharding=rows),
        }
        state = jax.eval_shape(self.new_state)
        placed = parallel.shardings(self.mesh, state)
        self.train_step.eval_shape(jax.tree.map(parallel.abstract, state, placed), batch)

    def protocol_card(self, step: int) -> dict[str, Any]:
        """What the results of an evaluation at `step` mean."""
        settings = self.config.evaluation
        return protocol_card(self.card, self.evaluation_data, settings, step, self.seen)

    def batches(self) -> HostBatches:
        """This host's rows of all batches, where there are any."""
        return HostBatches(
            self.source,
            self.sampler,
            size=self.card.input_size,
            augment=self.augment,
            steps=self.config.steps,
            host=jax.process_index(),
            hosts=jax.process_count(),
        )

    def new_state(self) -> TrainState:
        """The state of step 0, before `init_from`."""
        return init_state(
            self.config,
            self.module,
            self.card,
            self.optimizer,
            classes=self.classes,
            mesh=self.mesh,
            fine_tuning=self.fine_tuning,
        )

    def first_state(self) -> TrainState:
        """The state of step 0, with what `init_from` says taken over."""
        state = self.new_state()
        if self.start is None:
            return state
        return init_from.apply(
            self.start,
            state,
            self.config,
            module=self.module,
            card=self.card,
            source=self.images,
            mesh=self.mesh,
        )


def prepare(config: Config, workdir: epath.PathLike) -> Run:
    """Checks and opens everything a run needs.

    Raises:
      UserError: the first thing that is wrong.
    """
    config_lib.validate(config)
    workdir = epath.Path(workdir)
    mesh = parallel.make_mesh(config.devices)
    _check_workdir(config, workdir)
    card, module = make_card(config), make_module(config)
    fine_tuning = make_fine_tuning(config, module)
    step, saved = _saved(config, workdir) or (0, None)
    # A run that goes on has its weights already: those it began with may be gone by now.
    begins = bool(config.init_from.path) and saved is None
    start = init_from.check(config, card) if begins else None
    if saved is not None:
        card = init_from.going_on(card, ModelCard.from_json(saved.card), config)
    elif start is not None:
        card = start.card
    parallel.check_divides(mesh, config.batch_size, padded_classes(1))
    _check_micro_batches(config, mesh)
    images = parallel.first_alone(lambda: open_source(config.data, config.synthetic))
    augment = make_augment(config.batch, config.seed)
    source = MadeDomains(images, config.batch.domains[0], augment.made) if augment.made else images
    sampler, pairs, pairs_file = _sampler(config, source.index, workdir)
    meta = Meta(
        card=card.to_json(),
        classes=source.index.classes,
        identities=identities_hash(source.index),
        heads=list(head_names(config)),
        data=_data_hash(config, source.index, pairs, augment),
    )
    if start is not None:
        init_from.check_head(start, config, meta)
    changed = "" if saved is None else _changed_data(config, workdir, saved, meta)
    run = Run(
        config=config,
        workdir=workdir,
        mesh=mesh,
        images=images,
        source=source,
        augment=augment,
        evaluation_data=_evaluation_data(config),
        sampler=sampler,
        pairs=pairs,
        pairs_file=pairs_file,
        module=module,
        card=card,
        fine_tuning=fine_tuning,
        optimizer=make_optimizer(config, fine_tuning),
        meta=meta,
        changed=changed,
        start=start,
    )
    _check_evaluations(run, step)
    if step < config.steps:
        check_room(run.batches(), config.data.workers)
    if config.steps:
        run.check_step()
    return run


def _check_micro_batches(config: Config, mesh: Mesh) -> None:
    rows = config.batch_size // mesh.size
    if rows % config.micro_batches:
        raise UserError(
            f"config.micro_batches is {config.micro_batches}, but each of {mesh.size} devices has "
            f"{rows} rows of a batch; take a number that divides them"
        )


def _evaluation_data(config: Config) -> EvaluationData | None:
    if config.evaluation.every < 0:
        return None
    return parallel.first_alone(lambda: open_evaluation(config))


def identities_hash(index: RecordIndex) -> str:
    """A hash of the identities' names in the order of their labels."""
    _, first = np.unique(index.labels, return_index=True)
    return hashlib.sha256("\n".join(index.identities[first]).encode()).hexdigest()[:16]


def _sampler(
    config: Config, index: RecordIndex, workdir: epath.Path
) -> tuple[Sampler | None, pairs_lib.Pairs | None, epath.Path | None]:
    """What chooses the records of every batch, and the pairs it takes, of which file."""
    batch = config.batch
    _check_domains(index, batch.domains)
    if batch.kind != "ddl":
        sampler = _image_sampler(config, index) if config.steps else None
        return sampler, None, None
    pairs, file = pairs_lib.load_or_make_pairs(
        index, batch, config.seed, pairs_directories(config, workdir)
    )
    if not config.steps:  # the pairs are of the data's fingerprint: the run may go on with steps
        return None, pairs, file
    sampler = DDLSampler(index, pairs, batch_size=config.batch_size, seed=config.seed)
    return sampler, pairs, file


def _image_sampler(config: Config, index: RecordIndex) -> Sampler:
    """The sampler of a batch with one image a row."""
    batch, size, seed = config.batch, config.batch_size, config.seed
    if batch.shares:
        shares = dict(zip(batch.domains, batch.shares, strict=True))
        return MixedSampler(index, shares, batch_size=size, seed=seed)
    rows = np.flatnonzero(np.isin(index.domains, batch.domains or np.unique(index.domains)))
    if batch.kind == "images":
        return ImageSampler(rows, batch_size=size, seed=seed)
    each = batch.images_per_identity
    return IdentitySampler(rows, index.labels, batch_size=size, images_per_identity=each, seed=seed)


def pairs_directories(config: Config, workdir: epath.Path) -> list[epath.Path]:
    """Where the pairs may be kept: with the data or, if those cannot be written, with the run."""
    if not config.data.path:
        return [workdir]
    data = epath.Path(config.data.path)
    return [(data.parent if data.is_file() else data) / ".ddl_jax", workdir]


def _check_domains(index: RecordIndex, domains: tuple[str, ...]) -> None:
    there = sorted(set(index.domains.tolist()))
    for domain in domains:
        if domain not in there:
            raise UserError(
                f"config.batch.domains names {domain!r}; the data has {', '.join(there)}"
            )


def _data_hash(
    config: Config, index: RecordIndex, pairs: pairs_lib.Pairs | None, augment: Augment
) -> str:
    digest = hashlib.sha256(index.fingerprint().encode())
    digest.update(repr((config.model.input_size, config.batch.flip)).encode())
    # As steps and ranges: what a preset stands for may be another with another version.
    for name, recipe in (*augment.shares, *augment.made.items()):
        digest.update(f"{name}={recipe}".encode())
    for domain, rows in (pairs or {}).items():
        digest.update(domain.encode() + rows.tobytes())
    return digest.hexdigest()[:16]


def _check_workdir(config: Config, workdir: epath.Path) -> None:
    """A work directory belongs to one experiment: another config must not go on in it."""
    there = next(path for path in (workdir, *workdir.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"--workdir={workdir}: {there} is a file, no directory; give another")
    if not config_path(workdir).exists():
        if workdir.exists() and (workdir / "checkpoints").exists():
            raise UserError(f"{workdir} has checkpoints but no config.json; give another --workdir")
        return
    free = _FREE if config.optimizer.schedule == "drops" else _FREE[1:]
    changed = [
        key
        for key in config_lib.changed_keys(read_config(workdir), config)
        if not key.startswith(free) and key not in _FREE_DATA
    ]
    if changed:
        more = f" (and {', '.join(changed[1:])})" if changed[1:] else ""
        raise UserError(
            f"{workdir} belongs to a run with another config.{changed[0]}{more}; "
            "give another --workdir, or the old value to go on"
        )


def _check_evaluations(run: Run, step: int) -> None:
    """A run that goes on from a step must not put results on other data in the place of earlier."""
    folder = run.workdir / "evaluation"
    if run.evaluation_data is None or not folder.exists():
        return
    card = run.protocol_card(step)
    for path in folder.iterdir():
        if path.name.isdecimal() and int(path.name) >= step:
            check_same_protocol(path, card, "eval.py --name=NAME evaluates on other data")


def _saved(config: Config, workdir: epath.Path) -> tuple[int, Meta] | None:
    """The step from which the run goes on, and what lies beside it; None if it has not begun.

    Never backwards.
    """
    if not (workdir / "checkpoints").exists():
        return None
    with Checkpoints(workdir, read_only=True) as checkpoints:
        steps = checkpoints.steps()
        if not steps:
            return None
        if steps[-1] > config.steps:
            raise UserError(f"{workdir} is at step {steps[-1]}, beyond config.steps={config.steps}")
        for step in reversed(steps):
            try:
                return step, checkpoints.read_meta(step)
            except NoAccess:
                raise
            except UserError:  # a damaged one; the loop says so
                continue
        return steps[-1], checkpoints.read_meta(steps[-1])


def _changed_data(config: Config, workdir: epath.Path, old: Meta, meta: Meta) -> str:
    """What to tell where a run goes on with other data than it had; "" for the same.

    Raises:
      UserError: they are others, and nobody has insisted on them, or their identities are others.
    """
    if old.data == meta.data:
        return ""
    if old.classes != meta.classes and config.data.changed != "accept":
        raise UserError(
            f"the data have {meta.classes} identities; {workdir} is trained on {old.classes}: "
            "restore them, or start anew in another --workdir"
        )
    told = (
        f"the data of {workdir} have changed since its checkpoint (fingerprint {old.data}, now "
        f"{meta.data})"
    )
    if config.data.changed != "accept":
        raise UserError(
            f"{told}; restore them, start anew in another --workdir, or insist with "
            "--config.data.changed=accept"
        )
    if old.identities != meta.identities:
        raise UserError(
            f"{told}, and are of other identities ({old.classes} before, now {meta.classes}), for "
            "which the head has no rows; start anew in another --workdir with "
            f"--config.init_from.path={workdir}"
        )
    return (
        f"ATTENTION: {told}; config.data.changed=accept goes on with them: no other run repeats "
        "this one, and its next checkpoint has the new fingerprint"
    )
