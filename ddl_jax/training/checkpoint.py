"""Checkpoints of a work directory, by Orbax: whole or absent, written beside the training."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from orbax.checkpoint import checkpoint_managers as policies

from ddl_jax import config as config_lib
from ddl_jax import parallel
from ddl_jax.errors import UserError
from ddl_jax.files import absolute
from ddl_jax.models import ModelCard
from ddl_jax.training.preservation import preservation
from ddl_jax.training.state import TrainState, init_backbone, make_module

_AVERAGED = "averaged"


@dataclasses.dataclass(frozen=True)
class Meta:
    """What lies beside the arrays of a checkpoint.

    Attributes:
      card: the model card, as a dict.
      classes: identities of the training data.
      identities: a hash of their names in order: what the rows of a head stand for.
      heads: names of the heads.
      data: fingerprint of the training data, pairs included.
    """

    card: dict[str, Any]
    classes: int
    identities: str
    heads: list[str]
    data: str


def config_path(workdir: epath.PathLike) -> epath.Path:
    """Where a work directory keeps its config."""
    return epath.Path(workdir) / "config.json"


def read_config(workdir: epath.PathLike) -> config_lib.Config:
    """The config a work directory was made with.

    Raises:
      UserError: the directory is none of ours.
    """
    path = config_path(workdir)
    if not path.exists():
        raise UserError(f"{workdir} is no work directory (no config.json); run train.py first")
    with _reading_of(path):
        text = path.read_bytes()
    return config_lib.from_json(text, os.fspath(path))


@contextlib.contextmanager
def _reading_of(path: epath.Path) -> Iterator[None]:
    """Another user's files, as a rule."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}; have its owner let you, or give "
            "another work directory"
        ) from error


class NoAccess(UserError):
    """A checkpoint that is not damaged, but cannot be read here or now."""


class Checkpoints:
    """The checkpoints of one work directory. Use as a context: leaving it waits for the writing."""

    def __init__(
        self,
        workdir: epath.PathLike,
        settings: config_lib.Checkpoint | None = None,
        *,
        read_only: bool = False,
    ):
        self._directory = absolute(epath.Path(workdir) / "checkpoints")  # as Orbax wants it
        with _errors_only() if read_only else contextlib.nullcontext():
            options = ocp.CheckpointManagerOptions(
                preservation_policy=preservation(workdir, settings or config_lib.Checkpoint()),
                # The loop decides when; the manager must not skip what it is told to save.
                save_decision_policy=policies.FixedIntervalPolicy(1),
                create=not read_only,
                read_only=read_only,
            )
            with _reading_of(self._directory):
                self._manager = ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            with self._writing():
                self._manager.close()
        except UserError:
            if kind is None:  # an error on its way out tells more
                raise

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, rising."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, meta: Meta) -> None:
        """Starts to write the state of its step; returns when the arrays may be changed again."""
        parts = {name: ocp.args.StandardSave(part) for name, part in _split(state).items()}
        meta_args = ocp.args.JsonSave(dataclasses.asdict(meta))
        with self._writing():
            self._manager.save(int(state.step), args=ocp.args.Composite(meta=meta_args, **parts))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """What fails in the background, a full disk, comes up in the next call."""
        try:
            yield
        except Exception as error:  # of the file system, of Orbax or of what is below it
            whole = ocp.utils.checkpoint_steps(
                self._directory
            )  # the manager forgot those of before
            raise UserError(
                f"a checkpoint cannot be written to {self._directory} ({_last_words(error)}); the "
                f"older ones are whole, the newest is of step {max(whole, default='none')}: make "
                "room and start the same command again"
            ) from error

    def read_meta(self, step: int) -> Meta:
        """What lies beside the arrays.

        Raises:
          UserError: the checkpoint is damaged.
        """
        with self._reading(step):
            item = ocp.args.Composite(meta=ocp.args.JsonRestore())
            return Meta(**self._manager.restore(step, args=item).meta)

    def restore(self, step: int, state: TrainState, mesh: Mesh) -> TrainState:
        """The saved state, placed as `state` is; `state` gives shapes only."""
        placed = parallel.shardings(mesh, state)
        wanted = _split(jax.tree.map(parallel.abstract, state, placed))
        return _join(self.restore_parts(step, wanted))

    def restore_variables(self, step: int, wanted: Any, config: config_lib.Config) -> Any:
        """The backbone of a checkpoint: the averaged one, where its run keeps an average.

        Args:
          step: of the checkpoint.
          wanted: `{"params": ..., "batch_stats": ...}` as shapes with their placement.
          config: that of the run.
        """
        if config.optimizer.ema_decay:
            return self.restore_parts(step, {_AVERAGED: wanted})[_AVERAGED]
        parts = {"backbone": wanted["params"], "batch_stats": wanted["batch_stats"]}
        found = self.restore_parts(step, parts)
        return {"params": found["backbone"], "batch_stats": found["batch_stats"]}

    def restore_parts(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
        """Some parts of a checkpoint, by trees of their shapes and placement."""
        args = {name: ocp.args.StandardRestore(part) for name, part in wanted.items()}
        with self._reading(step):
            found = self._manager.restore(step, args=ocp.args.Composite(**args))
            return {name: found[name] for name in wanted}

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        try:
            yield
        except (PermissionError, ConnectionError, TimeoutError) as error:
            raise NoAccess(
                f"{self._directory / str(step)} cannot be read: {error.strerror or error}; have "
                "its owner let you, or try again where it is on a network"
            ) from error
        except Exception as error:  # other names or shapes than those wanted, lost or cut files
            raise UserError(
                f"{self._directory / str(step)} cannot be read: it was written by another version "
                f"of ddl_jax, or is damaged ({_last_words(error)})"
            ) from error

    def restore_newest(self, state: TrainState, mesh: Mesh) -> tuple[TrainState, dict[int, str]]:
        """The state of the newest checkpoint that can be read; `state` gives shapes only.

        Newer ones, which cannot, are moved out of the way, so that training can write theirs anew.

        Returns:
          `(state, damaged)`: where the others were put, by step.

        Raises:
          NoAccess: the newest one cannot be read here or now; nothing has been moved.
          UserError: none can be read; nothing has been moved.
        """
        errors: dict[int, UserError] = {}
        for step in reversed(self.steps()):
            try:
                self.read_meta(step)
                found = self.restore(step, state, mesh)
            except NoAccess:
                raise
            except UserError as error:
                errors[step] = error
            else:
                return found, {step: self._set_aside(step, why) for step, why in errors.items()}
        raise next(iter(errors.values()))

    def _set_aside(self, step: int, why: UserError) -> str:
        target = self._directory.parent / "damaged" / str(step)
        if jax.process_index() == 0:
            target.parent.mkdir(exist_ok=True)
            # In a bucket a folder is there when something is in it.
            (target.parent / f"{step}.txt").write_text(f"{why}\n")
            if target.exists():
                target.rmtree()
            (self._directory / str(step)).rename(target)
        parallel.wait_for_all(f"damaged {step}")
        self._manager.reload()
        return str(target)


def _last_words(error: Exception) -> str:
    """The first line of what a library says, its end: the reason follows long names of files."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    line = re.split(r" \[(?:source locations|tensorstore)|[,.] See full TensorStore", line)[0]
    return line if len(line) < 200 else f"... {line[-200:]}"


def _split(state: TrainState) -> dict[str, Any]:
    parts = {
        "backbone": state.params["backbone"],
        "heads": state.params["heads"],
        "batch_stats": state.batch_stats,
        "progress": {
            "step": state.step,
            "loss": state.loss_state,
            "optimizer": state.opt_state,
            "skipped": state.skipped,
        },
    }
    return parts if state.averaged is None else parts | {_AVERAGED: state.averaged}


def _join(parts: dict[str, Any]) -> TrainState:
    progress = parts["progress"]
    return TrainState(
        step=progress["step"],
        params={"backbone": parts["backbone"], "heads": parts["heads"]},
        batch_stats=parts["batch_stats"],
        loss_state=progress["loss"],
        opt_state=progress["optimizer"],
        skipped=progress["skipped"],
        averaged=parts.get(_AVERAGED),
    )


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """Orbax warns that a manager which is asked to be read-only is read-only."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


def newest_step(workdir: epath.PathLike, checkpoints: Checkpoints, step: int | None = None) -> int:
    """The newest checkpoint's step, or the given one if it is there."""
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{workdir} has no checkpoint; run train.py to its end first")
    if step is not None and step not in steps:
        raise UserError(f"{workdir} has no checkpoint of step {step}; it has {steps}")
    return steps[-1] if step is None else step


def load_checkpoint(
    workdir: epath.PathLike, step: int | None = None, *, mesh: Mesh | None = None
) -> tuple[nn.Module, Any, ModelCard]:
    """A trained backbone for anybody's own code.

    Args:
      workdir: of a run of train.py.
      step: which checkpoint; the newest by default.
      mesh: whose devices, of all processes, all get the variables; None for one of this process.

    Returns:
      `(module, variables, card)`: `module.apply(variables, card.normalise(images))` embeds
      `[B, H, W, 3]` RGB images.

    Raises:
      UserError: no such work directory or checkpoint.
    """
    config = read_config(workdir)
    with Checkpoints(workdir, read_only=True) as checkpoints:
        step = newest_step(workdir, checkpoints, step)
        card = ModelCard.from_json(checkpoints.read_meta(step).card)
        module = make_module(config, axis_name=None)
        shapes = jax.eval_shape(lambda: init_backbone(module, card, jax.random.key(0)))
        alone = SingleDeviceSharding(jax.local_devices()[0])
        place = alone if mesh is None else NamedSharding(mesh, PartitionSpec())
        abstract = jax.tree.map(lambda leaf: parallel.abstract(leaf, place), shapes)
        return module, checkpoints.restore_variables(step, abstract, config), card
