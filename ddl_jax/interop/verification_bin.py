"""insightface's verification sets (`lfw.bin`, `cfp_fp.bin`, ...): a pickle of images and pairs."""

import io
import os
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddl_jax.errors import UserError
from ddl_jax.files import written
from ddl_jax.interop import restricted_pickle
from ddl_jax.interop.one_line import short
from ddl_jax.interop.open_file import opened


def read_verification_bin(path: str | os.PathLike) -> tuple[list[bytes], np.ndarray]:
    """Reads a verification set; nothing that its pickle names is run.

    Args:
      path: of the file, as MXNet, Python 2 or Python 3 wrote it.

    Returns:
      The encoded images `[2N]` (JPEG or PNG, not decoded here) and `issame[N]` bool: pair i is of
      images 2i and 2i + 1.

    Raises:
      UserError: no such file, a pickle that is damaged or asks for a function, or other contents.
    """
    name = os.fspath(path)
    with opened(path, "a verification set's file") as disk:
        data = disk.read()
    file = io.BytesIO(data)
    content = restricted_pickle.load(file, path=name)
    if rest := len(data) - file.tell():
        raise UserError(
            f"{name}: {rest} bytes follow the pickle's end at byte {file.tell()}; fetch the file "
            "again"
        )
    if not (isinstance(content, tuple | list) and len(content) == 2):
        raise UserError(f"{name} holds {_kind(content)}; a verification set is (images, issame)")
    images, issame = content
    if not _is_list(images):
        raise UserError(f"{name}: its images are {_kind(images)}; a list of encoded files is due")
    if not _is_list(issame):
        raise UserError(f"{name}: its issame is {_kind(issame)}; a list of True and False is due")
    found = [_encoded(image, f"{name}: image {number}") for number, image in enumerate(images)]
    same = [_truth(value, f"{name}: issame of pair {pair}") for pair, value in enumerate(issame)]
    _check_lengths(name, len(found), len(same))
    return found, np.array(same, bool)


def write_verification_bin(
    path: str | os.PathLike, images: Sequence[bytes], issame: Sequence[bool] | np.ndarray
) -> None:
    """Writes a verification set that insightface's, CVLface's and our own evaluation read.

    Args:
      path: of the file, which is replaced; whole or not at all.
      images: `[2N]` encoded images (JPEG or PNG): pair i is of images 2i and 2i + 1.
      issame: `[N]`, whether a pair is of one person.

    Raises:
      UserError: images that are no encoded files, not two for each pair, or a file that cannot be
        written.
    """
    name = os.fspath(path)
    found = [_encoded(image, f"{name}: image {number}") for number, image in enumerate(images)]
    same = [_truth(value, f"{name}: issame of pair {pair}") for pair, value in enumerate(issame)]
    _check_lengths(name, len(found), len(same))
    with written(path) as file:
        # Protocol 4: bytes are bytes, and every Python 3 reads it.
        file.write_bytes(pickle.dumps((found, same), protocol=4))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or isinstance(value, np.ndarray) and value.ndim == 1


def _encoded(image: Any, where: str) -> bytes:
    """An image's file: bytes, or those in a uint8 array, which older sets have."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 1:
        image = image.tobytes()
    if not isinstance(image, bytes | bytearray):
        raise UserError(f"{where} is {_kind(image)}; encode it as JPEG or PNG")
    if not image:
        raise UserError(f"{where} is empty; remove its pair")
    return bytes(image)


def _truth(value: Any, where: str) -> bool:
    number = isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating)
    if not number or value not in (0, 1):
        raise UserError(f"{where} is {_kind(value)}; True or False is due")
    return bool(value)


def _check_lengths(name: str, images: int, pairs: int) -> None:
    if not pairs:
        raise UserError(f"{name} has no pair; a verification set has at least one")
    if images != 2 * pairs:
        raise UserError(f"{name}: {images} images for {pairs} pairs; every pair has two")


def _kind(value: Any) -> str:
    """What to call something unexpected."""
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype}{list(value.shape)}"
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else short(value)
