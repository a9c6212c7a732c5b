"""Small folders of images for the tests, every one different from all others."""

import pathlib
import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np


def pixels(name: str, shape: tuple[int, ...] = (24, 20, 3), dtype: type = np.uint8) -> np.ndarray:
    """Random pixels that depend on `name` only."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def encode(image: np.ndarray, suffix: str = ".png") -> bytes:
    """The bytes of an image file; `image` is RGB or grey."""
    if image.ndim == 3:
        image = image[..., ::-1]
    return cv2.imencode(suffix, image)[1].tobytes()


def with_orientation(encoded: bytes, orientation: int, order: str = "<") -> bytes:
    """A JPEG with the EXIF tag by which a camera says how it was held; `order` is of its bytes."""
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    head = b"II*\0" if order == "<" else b"MM\0*"
    exif = b"Exif\0\0" + head + struct.pack(f"{order}IH", 8, 1) + entry + b"\0" * 4
    return encoded[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + encoded[2:]


def write_image(root: pathlib.Path, path: str, **options) -> bytes:
    """Writes random pixels as `root/path`, in the format of its suffix -> the file's bytes."""
    encoded = encode(pixels(path, **options), pathlib.Path(path).suffix.lower())
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(encoded)
    return encoded


def write_faces(
    root: pathlib.Path, identities: int, *, domains: Sequence[str] = ("easy",), images: int = 2
) -> pathlib.Path:
    """Writes `root/<identity>/<domain>/<number>.png`, identities counted from 1 -> root."""
    for identity in range(1, identities + 1):
        for domain in domains:
            for number in range(images):
                write_image(root, f"{identity}/{domain}/{number}.png")
    return root
