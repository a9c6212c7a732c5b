"""A network as one program for CPU, CUDA and TPU, with its model card: StableHLO by `jax.export`.

A file is a zip archive of two entries that are stored as they are: the card, and what
`jax.export.Exported.serialize` returns, which plain JAX reads (docs/export.md).
"""

import contextlib
import importlib.util
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import export as jax_export

from ddl_jax.errors import UserError
from ddl_jax.interop.checked_file import Checked, Embed, check_pixels, embedder, write_checked
from ddl_jax.interop.open_file import opened
from ddl_jax.interop.torch_checkpoint import DAMAGED_ARCHIVE
from ddl_jax.models import ModelCard

PLATFORMS = ("cpu", "cuda", "tpu")

_CARD, _PROGRAM = "card.json", "model.jax_export"


def export_stablehlo(
    path: epath.PathLike,
    module: nn.Module,
    variables: Any,
    card: ModelCard,
    *,
    platforms: Sequence[str] = PLATFORMS,
    images: np.ndarray | None = None,
) -> Checked:
    """Writes a network, its preprocessing and its weights as one program that JAX runs.

    The program takes `[b,H,W,3]` uint8 RGB of any b, normalises it as the card says, and returns
    embeddings `[b,D]`, float32, not normalised to length 1. The file is read back and compared with
    the network before it appears.

    Args:
      path: of the file, overwritten.
      module: the backbone.
      variables: its `{"params": ..., "batch_stats": ...}`.
      card: what it expects of its images.
      platforms: that the program is for, of `PLATFORMS`, this machine's among them.
      images: `[N,H,W,3]` uint8 RGB, to be compared beside the random ones.

    Returns:
      The lowest cosine between embeddings of the file and of the network, and over how many images.

    Raises:
      UserError: an unknown platform, variables or a card of another network, images of another
        size, a path that cannot be written, or a file that embeds otherwise; nothing is left.
    """
    _check_flatbuffers()
    platforms = _check_platforms(platforms)
    variables = jax.device_get(variables)
    _check_network(module, variables, card)
    embed = embedder(module, variables, card)

    def write(file: epath.Path) -> None:
        _write(file, _program(embed, card, platforms), card)

    return write_checked(path, write, lambda file: load_stablehlo(file)[0], embed, card, images)


def load_stablehlo(path: epath.PathLike) -> tuple[Embed, ModelCard]:
    """Reads what `export_stablehlo` wrote.

    The file is a program that XLA runs, not data: open one of somebody you trust only.

    Args:
      path: of the file.

    Returns:
      `(embed, card)`: `embed` takes `[B,H,W,3]` uint8 RGB of `card.input_size`, and returns
      embeddings `[B,D]`, float32, not normalised to length 1; a UserError names images of another
      type or size.

    Raises:
      UserError: no such file, another or a damaged one, of a jax that this one does not read, or
        for other platforms than this machine's.
    """
    _check_flatbuffers()
    card, program = _read(path)
    call = _open_program(program, card, os.fspath(path))

    def embed(images: jax.Array) -> jax.Array:
        check_pixels(images, card)
        return call(images)

    return embed, card


def _open_program(program: bytes, card: ModelCard, path: str) -> Embed:
    here = jax_export.default_export_platform()
    try:
        exported = jax_export.deserialize(bytearray(program))
        call = jax.jit(exported.call)
        if here in exported.platforms:  # only now is the program read, not what is around it alone
            call.lower(jax.ShapeDtypeStruct((1, *card.input_size, 3), jnp.uint8))
    except Exception as error:  # of another version, and that may trip over anything
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{path}: jax {jax.__version__} does not read it ({told[:200]}): take the jax it was "
            "written with, or export it again with this one"
        ) from error
    if here not in exported.platforms:
        raise UserError(
            f"{path} is for {', '.join(exported.platforms)}, and this machine is {here}: export it "
            "again with this platform"
        )
    return call


def _check_flatbuffers() -> None:
    """JAX needs it for this alone, and does not declare it."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError("StableHLO files need flatbuffers; pip install flatbuffers")


def _check_platforms(platforms: Sequence[str]) -> tuple[str, ...]:
    for platform in platforms:
        if platform not in PLATFORMS:
            raise UserError(f"unknown platform {platform!r}; use some of {', '.join(PLATFORMS)}")
    here = jax_export.default_export_platform()
    if here not in platforms:
        given = ", ".join(platforms) or "empty"
        raise UserError(
            f"platforms are {given}; add {here}, this machine's, or the file could not be checked"
        )
    return tuple(dict.fromkeys(platforms))


def _check_network(module: nn.Module, variables: Any, card: ModelCard) -> None:
    images = jax.ShapeDtypeStruct((1, *card.input_size, 3), jnp.float32)
    embeddings, own = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
    wanted, found = _shapes(own), _shapes(variables)
    for name in sorted(wanted | found):
        one, other = found.get(name, "none"), wanted.get(name, "none")
        if one != other:
            raise UserError(
                f"the variables are not those of the module: {name} is {one}, expected {other}; "
                "check the network and the card's input_size"
            )
    if embeddings.shape[1] != card.embedding_size:
        raise UserError(
            f"the card's embedding_size is {card.embedding_size}, the network's "
            f"{embeddings.shape[1]}; give the card of this network"
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}


def _program(embed: Embed, card: ModelCard, platforms: tuple[str, ...]) -> bytes:
    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *card.input_size, 3), jnp.uint8)
    with _without_source_lines():
        exported = jax_export.export(embed, platforms=platforms)(images)
    return bytes(exported.serialize())


@contextlib.contextmanager
def _without_source_lines() -> Iterator[None]:
    """Where our source lies on this machine is nobody's business, and equal networks stay equal
    files."""
    limit = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)


def _write(path: epath.Path, program: bytes, card: ModelCard) -> None:
    entries = {_CARD: json.dumps(card.to_json(), indent=2).encode(), _PROGRAM: program}
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            entry = zipfile.ZipInfo(name)  # with a fixed date
            entry.external_attr = 0o644 << 16  # what unzip makes of it can be read
            archive.writestr(entry, data)


def _read(path: epath.PathLike) -> tuple[ModelCard, bytes]:
    name = os.fspath(path)
    try:
        with opened(path, "a file of export_stablehlo") as file, zipfile.ZipFile(file) as archive:
            card, program = json.loads(archive.read(_CARD)), archive.read(_PROGRAM)
    except UserError:
        raise
    except DAMAGED_ARCHIVE as error:
        raise UserError(
            f"{name}: not a file of export_stablehlo, or damaged ({error}): export it again"
        ) from error
    return ModelCard.from_json(card), program
