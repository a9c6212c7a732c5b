"""A file of weights that appears only if it embeds as the network that it was made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.files import check_target, written
from ddl_jax.models import ModelCard

LOWEST_COSINE = 0.9999
# Of the norms of two embeddings: quality is read from them, and a cosine does not see them.
_NORM_DIFFERENCE = 0.01
RANDOM_IMAGES = 16

# Unlike sizes: rows that a file mixed up, or a size that it has by heart, would show.
_BATCH, _BATCH_OF_FILE = 16, 8

Embed = Callable[[np.ndarray], jax.Array]


class Checked(NamedTuple):
    """What the comparison of a file with its network found.

    Attributes:
      lowest_cosine: of an image's embedding by the file with that by the network.
      random, given: images of either kind that were compared.
    """

    lowest_cosine: float
    random: int
    given: int


def embedder(module: nn.Module, variables: Any, card: ModelCard) -> Embed:
    """A network with all it needs as one function, jitted: the weights are constants inside.

    Args:
      module, variables, card: as of `load_checkpoint`.

    Returns:
      From `[B,H,W,3]` uint8 RGB to embeddings `[B,D]`, float32, not normalised to length 1.
    """

    def embed(images: jax.Array) -> jax.Array:
        return module.apply(variables, card.normalise(images)).astype(jnp.float32)

    return jax.jit(embed)


def check_pixels(images: Any, card: ModelCard) -> None:
    """Refuses what is not a batch of pixels of the network's size; nothing is resized here.

    Raises:
      UserError: another type or shape than uint8 `[N,H,W,3]`, or no image.
    """
    shape, dtype = np.shape(images), getattr(images, "dtype", type(images).__name__)
    height, width = card.input_size
    if dtype != np.uint8 or shape[1:] != (height, width, 3) or shape[0] == 0:
        raise UserError(
            f"images are {dtype} {shape}, expected uint8 (N, {height}, {width}, 3), N at least 1"
        )


def write_checked(
    path: epath.PathLike,
    write: Callable[[epath.Path], None],
    read: Callable[[epath.Path], Embed],
    embed: Embed,
    card: ModelCard,
    images: np.ndarray | None = None,
) -> Checked:
    """Writes a file beside `path`, reads it back, and renames it only if it embeds as it should.

    Args:
      path: of the file; a file that is there is replaced, or left as it is by a refusal.
      write: makes the file at the path it is given.
      read: from the path of the file to what embeds as it says.
      embed: the network itself.
      card: of the network.
      images: `[N,H,W,3]` uint8 RGB, compared beside the random ones.

    Returns:
      What the comparison found.

    Raises:
      UserError: an unfit path or images, a cosine below `LOWEST_COSINE`, or another norm by more
        than 1 %; nothing is left.
    """
    path = epath.Path(path)
    check_target(path)
    if images is not None:
        check_pixels(images, card)
    with written(path) as temporary:
        write(temporary)
        return _compare(read(temporary), embed, card, images, path)


def _compare(
    file: Embed, network: Embed, card: ModelCard, given: np.ndarray | None, path: epath.Path
) -> Checked:
    size = (RANDOM_IMAGES, *card.input_size, 3)
    images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    if given is not None:
        images = np.concatenate([images, given])
    wanted = _embed(network, images, _BATCH)
    if not np.isfinite(wanted).all():
        raise UserError(
            f"{path} is not written: the network's own embeddings are not finite; its training "
            "diverged, choose another step"
        )
    found = _embed(file, images, _BATCH_OF_FILE)
    lowest = float(np.min(_cosines(found, wanted)))  # of NaNs a NaN
    if not lowest >= LOWEST_COSINE:
        raise UserError(
            f"{path} is not written: its embeddings are not the network's, the lowest cosine is "
            f"{lowest:.6f}, expected {LOWEST_COSINE} or more; try again, and report what stays so"
        )
    ratios = np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    furthest = float(ratios[np.argmax(np.abs(ratios - 1))])
    if not abs(furthest - 1) <= _NORM_DIFFERENCE:
        raise UserError(
            f"{path} is not written: its embeddings are not the network's, one is {furthest:.4g} "
            f"times as long, expected within {_NORM_DIFFERENCE:.0%}; try again, and report what "
            "stays so"
        )
    return Checked(lowest, RANDOM_IMAGES, len(images) - RANDOM_IMAGES)


def _embed(embed: Embed, images: np.ndarray, batch: int) -> np.ndarray:
    """`[N,D]` in float64; the last batch is filled up, for one shape is one compilation."""
    rows = np.arange(-(-len(images) // batch) * batch).clip(max=len(images) - 1)
    parts = [np.asarray(embed(images[some])) for some in rows.reshape(-1, batch)]
    return np.concatenate(parts)[: len(images)].astype(np.float64)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore"):  # embeddings of zeros have none
        return np.sum(a * b, axis=1) / lengths
