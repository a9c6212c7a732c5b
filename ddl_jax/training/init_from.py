"""What a fine-tuning run takes from a run before it, or from somebody else's weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh

from ddl_jax import parallel
from ddl_jax.config import Config
from ddl_jax.data.source import Source, Subset
from ddl_jax.errors import UserError
from ddl_jax.evaluation.embedding import embed
from ddl_jax.interop import TorchWeights, read_torch_backbone
from ddl_jax.models import PREPROCESSING, ModelCard
from ddl_jax.training.checkpoint import Checkpoints, Meta, newest_step, read_config
from ddl_jax.training.recognizer import TORCH, preprocessing
from ddl_jax.training.state import TrainState, padded_classes, told_preprocessing

# Enough images for the mean of a class; one of a thousand images need not be embedded whole.
_IMAGES_OF_CLASS = 32


@dataclasses.dataclass(frozen=True)
class Start:
    """Where the weights come from.

    Attributes:
      path: a work directory of ours, or a file of PyTorch's.
      step, meta: of our checkpoint; None for a file of PyTorch's.
      weights: of a file of PyTorch's: it is small enough to be read at once.
      card: of a run that starts from them.
    """

    path: str
    card: ModelCard
    step: int | None = None
    meta: Meta | None = None
    weights: TorchWeights | None = None


def check(config: Config, card: ModelCard) -> Start:
    """Finds the weights and compares their model card with that of `config.model`.

    Raises:
      UserError: nothing there, weights of another model, or some that do not tell what they expect
        of an image where `config.model` does not either.
    """
    path = config.init_from.path
    if not epath.Path(path).exists():
        raise UserError(f"config.init_from.path: no {path!r}; give a work directory or a .pt file")
    if path.endswith(TORCH):
        if config.init_from.head == "keep":
            raise UserError(
                f"config.init_from.head is 'keep' but {path} has no class centres of ours; "
                "choose class_means or reset"
            )
        weights = read_torch_backbone(path, card.network, input_size=card.input_size)
        _check_embedding_size(weights, path, card)
        expected = preprocessing(weights, path, told_preprocessing(config), "config.model.")
        card = dataclasses.replace(card, source=path, sha256=weights.sha256, **expected)
        return Start(path, card, weights=weights)
    if not epath.Path(path).is_dir():
        raise UserError(
            f"config.init_from.path: {path!r} is a file; give a work directory, or weights that "
            f"end in {', '.join(TORCH)}"
        )
    with Checkpoints(path, read_only=True) as checkpoints:
        step = newest_step(path, checkpoints)
        meta = checkpoints.read_meta(step)
    theirs = ModelCard.from_json(meta.card)
    card = going_on(card, theirs, config)
    _check_same_model(theirs, card, path)
    return Start(path, dataclasses.replace(card, source=theirs.source or path), step, meta)


def going_on(card: ModelCard, before: ModelCard, config: Config) -> ModelCard:
    """The card of `config.model`, with what it does not say from that of the weights before.

    That is where those came from, a file perhaps, and what they expect of an image.
    """
    told = told_preprocessing(config)
    kept = {name: getattr(before, name) for name in PREPROCESSING if name not in told}
    return dataclasses.replace(card, source=before.source, sha256=before.sha256, **kept)


def _check_same_model(theirs: ModelCard, ours: ModelCard, path: str) -> None:
    for field in dataclasses.fields(ModelCard):
        if field.name in ("source", "sha256"):
            continue
        there, here = getattr(theirs, field.name), getattr(ours, field.name)
        if there != here:
            raise UserError(
                f"config.init_from.path: {path} is of another model: its {field.name} is {there}, "
                f"the config's is {here}; set config.model to the checkpoint's"
            )


def advice(start: Start) -> str:
    """What the authors of PyTorch weights want of an image, where `config.model` says otherwise."""
    origin = start.weights.origin if start.weights is not None else None
    if origin is None or origin.colour is None:
        return ""
    card, theirs = start.card, (origin.colour, origin.mean, origin.deviation)
    if theirs == (card.colour, card.mean, card.deviation):
        return ""
    return (
        f"ATTENTION: {start.path} is saved as {origin.project} saves, whose networks want "
        f"colour={origin.colour}, mean={origin.mean}, deviation={origin.deviation}; config.model "
        f"has {card.colour}, {card.mean}, {card.deviation}"
    )


def check_head(start: Start, config: Config, meta: Meta) -> None:
    """Refuses to keep a head whose rows stand for other identities."""
    if config.init_from.head != "keep" or start.meta is None:
        return
    if start.meta.identities != meta.identities:
        raise UserError(
            f"config.init_from.head is 'keep' but {start.path} was trained on {start.meta.classes} "
            f"other identities (here {meta.classes}); choose class_means or reset"
        )
    missing = [name for name in meta.heads if name not in start.meta.heads]
    if missing and len(start.meta.heads) != 1:
        raise UserError(
            f"config.init_from.head is 'keep' but {start.path} has no head {missing[0]!r}, only "
            f"{', '.join(start.meta.heads)}; choose class_means or reset"
        )


def apply(
    start: Start,
    state: TrainState,
    config: Config,
    *,
    module: Any,
    card: ModelCard,
    source: Source,
    mesh: Mesh,
) -> TrainState:
    """The state of step 0 with the backbone, and the head as `init_from.head` says, taken over."""
    if start.step is None:
        variables = start.weights.variables
        backbone, batch_stats = variables["params"], variables["batch_stats"]
        old_heads = None
    else:
        backbone, batch_stats, old_heads = _read(start, state, mesh)
    heads = state.params["heads"]
    if config.init_from.head == "keep" and old_heads is not None:
        # One head before and one per domain now: every domain starts with that one.
        only = next(iter(old_heads.values()))
        heads = {name: old_heads.get(name, only) for name in heads}
    elif config.init_from.head == "class_means":
        variables = {"params": backbone, "batch_stats": batch_stats}
        centers = class_means(module, variables, card, source, mesh)
        heads = {name: {"class_centers": centers} for name in heads}
    params = {"backbone": backbone, "heads": heads}
    averaged = state.averaged and {"params": backbone, "batch_stats": batch_stats}
    new = state.replace(params=params, batch_stats=batch_stats, averaged=averaged)
    placed = parallel.shardings(mesh, new)
    # Copies: two heads must not share a buffer that the step will donate.
    copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=placed)
    return copy(jax.device_put(new, placed))


def _read(start: Start, state: TrainState, mesh: Mesh) -> tuple[Any, Any, Any]:
    with Checkpoints(start.path, read_only=True) as checkpoints:
        size = next(iter(state.params["heads"].values()))["class_centers"].shape[1]
        shape = jax.ShapeDtypeStruct((padded_classes(start.meta.classes), size), jnp.float32)
        shapes = {
            "variables": {"params": state.params["backbone"], "batch_stats": state.batch_stats},
            "heads": {name: {"class_centers": shape} for name in start.meta.heads},
        }
        wanted = jax.tree.map(parallel.abstract, shapes, parallel.shardings(mesh, shapes))
        heads = checkpoints.restore_parts(start.step, {"heads": wanted["heads"]})["heads"]
        config = read_config(start.path)
        found = checkpoints.restore_variables(start.step, wanted["variables"], config)
    return found["params"], found["batch_stats"], heads


def _check_embedding_size(weights: TorchWeights, path: str, card: ModelCard) -> None:
    """Refuses PyTorch weights of another embedding size; reading them checked all else."""
    (size,) = weights.variables["batch_stats"]["features"]["mean"].shape
    if size != card.embedding_size:
        raise UserError(
            f"config.model.embedding_size is {card.embedding_size}, but the embeddings of {path} "
            f"have {size} numbers; set it to {size}"
        )


def class_means(
    module: Any, variables: Any, card: ModelCard, source: Source, mesh: Mesh
) -> jax.Array:
    """Class centres `[C padded, D]` of length 1: the mean direction of each class's images."""
    labels = source.index.labels
    order = np.argsort(labels, kind="stable")
    place = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    rows = order[place < _IMAGES_OF_CLASS]  # the first images of every class
    embeddings = embed(module, variables, card, Subset(source, rows), mesh=mesh, flip=False)
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    centers = np.zeros((padded_classes(source.index.classes), unit.shape[1]), np.float32)
    np.add.at(centers, labels[rows], unit)
    centers /= np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-12)
    return jnp.asarray(centers)
