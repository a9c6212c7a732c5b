"""A backbone as PyTorch weights that are known to embed as it does."""

from typing import Any

import flax.linen as nn
import numpy as np
from etils import epath

from ddl_jax.interop.checked_file import Checked, Embed, embedder, write_checked
from ddl_jax.interop.torch_backbone import load_torch_backbone, save_torch_backbone
from ddl_jax.models import ModelCard


def export_torch(
    path: epath.PathLike,
    module: nn.Module,
    variables: Any,
    card: ModelCard,
    *,
    images: np.ndarray | None = None,
) -> Checked:
    """Writes a backbone as a PyTorch state dict that its authors' code loads, without PyTorch.

    The file is read back and compared with the network before it appears.

    Args:
      path: of the file, overwritten.
      module: the backbone.
      variables: its `{"params": ..., "batch_stats": ...}`.
      card: its name, and what it expects of its images, which the file does not hold.
      images: `[N,H,W,3]` uint8 RGB, to be compared beside the random ones.

    Returns:
      The lowest cosine between embeddings of the file and of the network, and over how many images.

    Raises:
      UserError: variables of another network than the card's, images of another size, a path that
        cannot be written, or a file that embeds otherwise; nothing is left.
    """

    def write(file: epath.Path) -> None:
        save_torch_backbone(file, card.network, variables)

    def read(file: epath.Path) -> Embed:
        again = load_torch_backbone(file, card.network, input_size=card.input_size)
        return embedder(module, again, card)

    return write_checked(path, write, read, embedder(module, variables, card), card, images)
