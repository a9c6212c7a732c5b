"""Writing the backbone of a checkpoint for other programs."""

import os
from collections.abc import Sequence

from etils import epath

from ddl_jax.data.read_images import read_images
from ddl_jax.errors import UserError
from ddl_jax.files import check_target
from ddl_jax.interop import export_stablehlo, export_torch
from ddl_jax.interop.stablehlo import PLATFORMS
from ddl_jax.training.checkpoint import load_checkpoint

# Of a file's name, to the format.
_SUFFIXES = {".stablehlo": "stablehlo", ".pt": "torch", ".pth": "torch"}


def export_workdir(
    workdir: epath.PathLike,
    out: epath.PathLike,
    *,
    step: int | None = None,
    file_format: str = "",
    platforms: Sequence[str] | None = None,
    images: str = "",
) -> str:
    """Writes a checkpoint's backbone into one file -> a line that says what is in it.

    The file is read back and compared with the network before it appears.

    Args:
      workdir: of the run.
      out: the file, overwritten.
      step: the checkpoint; None for the newest.
      file_format: "stablehlo" or "torch"; empty for what `out` ends in.
      platforms: of StableHLO: see `export_stablehlo`; None for all.
      images: a folder or a file of images of the network's size, compared beside random ones.

    Raises:
      UserError: something is missing or wrong, or the file embeds otherwise; nothing is left of it.
    """
    file_format = _chosen_format(out, file_format)
    if platforms is not None and file_format != "stablehlo":
        raise UserError("--platforms is for --format=stablehlo; leave it out")
    check_target(out)
    module, variables, card = load_checkpoint(workdir, step)
    given = read_images(images, card.input_size) if images else None
    if file_format == "stablehlo":
        platforms = PLATFORMS if platforms is None else platforms
        checked = export_stablehlo(out, module, variables, card, platforms=platforms, images=given)
    else:
        checked = export_torch(out, module, variables, card, images=given)
    return (
        f"{os.fspath(out)}: {card.network}, {card.embedding_size} numbers, lowest cosine "
        f"{checked.lowest_cosine:.6f} over {checked.random} random and {checked.given} given images"
    )


def _chosen_format(out: epath.PathLike, file_format: str) -> str:
    if not os.fspath(out):
        raise UserError(f"--out is missing; give a file that ends in {', '.join(_SUFFIXES)}")
    formats = sorted(set(_SUFFIXES.values()))
    if file_format and file_format not in formats:
        raise UserError(f"unknown --format {file_format!r}; use one of {', '.join(formats)}")
    by_suffix = _SUFFIXES.get(epath.Path(out).suffix)
    if file_format and by_suffix not in (None, file_format):
        raise UserError(f"--out={os.fspath(out)} ends as {by_suffix}, --format is {file_format}")
    chosen = file_format or by_suffix
    if chosen is None:
        raise UserError(
            f"--out={os.fspath(out)} ends in none of {', '.join(_SUFFIXES)}; give --format="
            f"{' or '.join(formats)}"
        )
    return chosen
