"""A trained network to look at data with: of a work directory of ours, or of a PyTorch file."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from etils import epath

from ddl_jax import parallel
from ddl_jax.config import Data, Synthetic
from ddl_jax.data.source import RecordIndex
from ddl_jax.errors import UserError
from ddl_jax.evaluation.embedding import embed
from ddl_jax.evaluation.images import Images
from ddl_jax.interop import TorchWeights, read_torch_backbone
from ddl_jax.models import PREPROCESSING, ModelCard, create_backbone
from ddl_jax.training import identities
from ddl_jax.training.checkpoint import (
    Checkpoints,
    load_checkpoint,
    newest_step,
    read_config,
)

TORCH = (".pt", ".pth", ".ckpt")


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which network.

    Attributes:
      path: a work directory of ours, or a file of PyTorch's.
      step: of a work directory; None for the newest.
      network, input_size, colour, mean, deviation: of a file of PyTorch's, as in a model card;
        None for what the names of its tensors tell.
    """

    path: str
    step: int | None = None
    network: str | None = None
    input_size: tuple[int, int] | None = None
    colour: str | None = None
    mean: tuple[float, float, float] | None = None
    deviation: tuple[float, float, float] | None = None


class Recognizer(NamedTuple):
    """A network with its weights, and what it expects of an image.

    Attributes:
      module, variables, card: as of `load_checkpoint`.
      step: of the checkpoint; None of a file of PyTorch's.
      flip: whether its run's evaluations add the mirror image's embedding.
    """

    module: nn.Module
    variables: Any
    card: ModelCard
    step: int | None = None
    flip: bool = True

    def embed(self, images: Images, **options: Any) -> np.ndarray:
        """Embeddings `[n, D]` of all images on all devices, each with its mirror image's added.

        `options` are those of `evaluation.embedding.embed`.
        """
        options = {"mesh": parallel.make_mesh(jax.device_count()), "progress": True} | options
        return embed(self.module, self.variables, self.card, images, **options)


def load_recognizer(choice: Choice) -> Recognizer:
    """Reads the network.

    Raises:
      UserError: nothing there, not a network, or a PyTorch file whose images nothing describes.
    """
    if not epath.Path(choice.path).exists():
        raise UserError(f"no {choice.path!r}; give a work directory or a .pt file")
    if choice.path.endswith(TORCH):
        return _of_torch(choice)
    for name, value in vars(choice).items():
        if name not in ("path", "step") and value is not None:
            raise UserError(
                f"--{name} is for a PyTorch file; the work directory {choice.path} has its own"
            )
    config = read_config(choice.path)
    with Checkpoints(choice.path, read_only=True) as checkpoints:
        step = newest_step(choice.path, checkpoints, choice.step)
    return Recognizer(*load_checkpoint(choice.path, step), step, config.evaluation.flip)


def _of_torch(choice: Choice) -> Recognizer:
    if choice.step is not None:
        raise UserError(f"--step is for a work directory; {choice.path} has one set of weights")
    size = choice.input_size or (112, 112)
    weights = read_torch_backbone(choice.path, choice.network, input_size=size)
    told = {name: getattr(choice, name) for name in PREPROCESSING if getattr(choice, name)}
    card = ModelCard(
        network=weights.network,
        input_size=size,
        embedding_size=weights.variables["batch_stats"]["features"]["mean"].shape[0],
        source=choice.path,
        sha256=weights.sha256,
        **preprocessing(weights, choice.path, told, "--"),
    )
    module = create_backbone(weights.network, embedding_size=card.embedding_size)
    return Recognizer(module, weights.variables, card)


def preprocessing(
    weights: TorchWeights, path: str, told: Mapping[str, Any], setting: str
) -> dict[str, Any]:
    """Colour, mean and deviation of PyTorch weights: those told, else their authors'.

    Args:
      weights, path: what was read, and where.
      told: some of the three.
      setting: what stands before their names where they are told.

    Raises:
      UserError: one is not told, and nothing in the file tells whose it is.
    """
    origin = weights.origin
    known = {name: getattr(origin, name) for name in PREPROCESSING} if origin.colour else {}
    known |= told
    missing = [f"{setting}{name}" for name in PREPROCESSING if name not in known]
    if missing:
        raise UserError(
            f"{path} does not tell what its authors trained with; give {', '.join(missing)} "
            "(colour RGB or BGR; mean and deviation R,G,B of pixels 0..255, 127.5,127.5,127.5 "
            "where they scaled to -1..1)"
        )
    return known


def trained_on_warning(choice: Choice, data: Data, index: RecordIndex) -> str:
    """What to tell of images that the network was trained on; "" if of none, as far as is known."""
    known = identities.Known.of(data, Synthetic(), index)
    count = identities.seen(identities.trained_on(choice.path), known)
    if not count:
        return ""
    return (
        f"ATTENTION: {choice.path} was trained on {count} of the {index.classes} identities: what "
        "it has learned by heart looks easy, wrong labels too; judge by a network that knows none"
    )
