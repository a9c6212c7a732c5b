"""A file or a folder of images as they are, in one array."""

import os

import numpy as np
from etils import epath

from ddl_jax.data.decode import decode_image
from ddl_jax.data.image_folder import find_images, read_file
from ddl_jax.errors import UserError


def read_images(path: str, size: tuple[int, int]) -> np.ndarray:
    """Reads images that have the network's size already.

    Args:
      path: an image, or a folder that is searched at any depth.
      size: `(height, width)` that they must have; nothing is resized.

    Returns:
      `[N,H,W,3]` uint8 RGB, in natural order of the paths.

    Raises:
      UserError: nothing there, no image in it, one that cannot be read, or one of another size.
    """
    place = epath.Path(path)
    if not place.exists():
        raise UserError(f"no {path!r}; give an image or a folder of images")
    if place.is_dir():
        root, names = path, find_images(path)
    else:
        root, names = os.fspath(place.parent), [place.name]
    if not names:
        raise UserError(f"{path} holds no image; give one, or a folder of images at any depth")
    return np.stack([_read(root, name, size) for name in names])


def _read(root: str, name: str, size: tuple[int, int]) -> np.ndarray:
    encoded = read_file(root, name)
    try:
        image = decode_image(encoded, name)
    except UserError as error:  # which tells of a setting of training
        raise UserError(f"{name} is not a readable image; mend or remove it") from error
    if image.shape[:2] != size:
        (height, width), (wanted_height, wanted_width) = image.shape[:2], size
        raise UserError(
            f"{name} is {height}x{width}, the network takes {wanted_height}x{wanted_width}: bring "
            "the images to this size first"
        )
    return image
