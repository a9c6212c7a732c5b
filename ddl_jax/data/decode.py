"""From encoded bytes to pixels of the network's size. OpenCV is the only decoder here.

Decoders differ by a grey level here and there; with one of them, training and evaluation see the
same pixels.
"""

import re
from collections.abc import Iterator

import cv2
import numpy as np

from ddl_jax.errors import UserError

# Markers of a JPEG: those before the picture's size (all of C0..CF but tables), and its start.
_FRAMES, _SCAN = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}, 0xDA
_BETWEEN = rb"(?:\s|#[^\n]*\n)+"
_NETPBM = re.compile(_BETWEEN.join([rb"P([2356])", rb"\d+", rb"\d+", rb"(\d+)"]))
_APPLICATION, _ORIENTATION = 0xE1, 0x0112  # the marker before EXIF's tags, and one of them

_MOST_PIXELS = 1 << 27  # as OpenCV is told; see ddl_jax/data/__init__.py


def decode_image(encoded: bytes, name: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decodes a JPEG, PNG, PGM or whatever else OpenCV reads.

    A photo with an EXIF tag of how the camera was held is turned upright, as cv2.imread does it.

    Args:
      encoded: the file's bytes; grey images get three equal channels, 16 bits become 8.
      name: what to call the image in an error.
      size: `(height, width)` to bring it to: scaled, without distortion, until it covers that size,
        and cut to its middle. None keeps the image's own size.

    Returns:
      `[H, W, 3]` uint8 RGB.

    Raises:
      UserError: the bytes are not an image that can be read to its end, or it is huge.
    """
    height, width, complete = _outline(encoded)
    if height * width > _MOST_PIXELS:
        raise UserError(
            f"{name} announces {width}x{height} pixels; scale it down or remove it, or set "
            "config.data.corrupt=skip"
        )
    image, white, many = None, _other_white(encoded), ""
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if white else 0)
    if complete:
        try:
            image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
        except cv2.error:  # mostly the size, in a format of which it is not read here
            many = f", or of more than {_MOST_PIXELS // 10**6} million pixels"
    if image is None:
        raise UserError(
            f"{name} is not a readable image{many}; mend or remove it, or set "
            "config.data.corrupt=skip"
        )
    if white:
        image = np.clip(np.rint(image * (255 / white)), 0, 255).astype(np.uint8)
    # Not by IMREAD_COLOR_RGB: 2 us less, but OpenCV forgets it in some formats (PAM, AVIF).
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image if size is None else fit(image, size)


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales `[H, W, 3]` without distortion until it covers `size` and cuts out the middle."""
    height, width = size
    factor = max(height / image.shape[0], width / image.shape[1])
    if factor != 1.0:
        scaled = (
            max(width, round(image.shape[1] * factor)),
            max(height, round(image.shape[0] * factor)),
        )
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, scaled, interpolation=method)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def is_turned(encoded: bytes) -> bool:
    """Whether a JPEG says by EXIF that its camera was not held upright: `decode_image` turns it."""
    if not encoded.startswith(b"\xff\xd8"):
        return False
    tags = (encoded[place + 4 :] for marker, place in _segments(encoded) if marker == _APPLICATION)
    exif = next((tag[6:] for tag in tags if tag.startswith(b"Exif\0\0")), b"")
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])

    def number(place: int, count: int) -> int:
        return int.from_bytes(exif[place : place + count], order)

    if order is None:
        return False
    first = number(4, 4)  # the directory of tags: how many, then 12 bytes each
    places = range(first + 2, first + 2 + 12 * number(first, 2), 12)
    return any(number(at, 2) == _ORIENTATION and 2 <= number(at + 8, 2) <= 8 for at in places)


def _outline(encoded: bytes) -> tuple[int, int, bool]:
    """Height and width in the header of a JPEG or PNG, and whether the end is there too.

    Of other formats the size is 0: OpenCV limits it itself. OpenCV 4 fills the rest of a cut JPEG
    with grey and says nothing, so the marks of the end have to tell.
    """
    if encoded.startswith(b"\xff\xd8"):
        return _jpeg_outline(encoded)
    if encoded.startswith(b"\x89PNG"):
        width, height = encoded[16:20], encoded[20:24]
        return int.from_bytes(height, "big"), int.from_bytes(width, "big"), b"IEND" in encoded
    return 0, 0, bool(encoded)


def _jpeg_outline(encoded: bytes) -> tuple[int, int, bool]:
    frame, last = len(encoded), 0
    for marker, last in _segments(encoded):
        if marker in _FRAMES:
            frame = min(frame, last)
    height, width = encoded[frame + 5 : frame + 7], encoded[frame + 7 : frame + 9]
    # The picture begins at the last segment: those before may hold a whole other JPEG. Its end is
    # sought from behind, where it is found at once.
    complete = encoded.rfind(b"\xff\xd9") >= last
    return int.from_bytes(height, "big"), int.from_bytes(width, "big"), complete


def _segments(encoded: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG up to its first scan, and where they stand."""
    place, end = 2, len(encoded) - 1
    while place < end and encoded[place] == 0xFF:
        marker = encoded[place + 1]
        if marker == 0xFF:  # a marker may be filled up before
            place += 1
            continue
        yield marker, place
        if marker == _SCAN:
            return
        place += 2 + int.from_bytes(encoded[place + 2 : place + 4], "big")


def _other_white(encoded: bytes) -> int:
    """What stands for white in a PGM or PPM, 0 where OpenCV knows: it takes 255 or 65535 as given,
    and scales the files written as text with less than 255 by itself."""
    header = _NETPBM.match(encoded)
    white = int(header[2]) if header else 255
    known = white in (0, 255, 65535) or (white < 255 and header[1] in b"23")
    return 0 if known else white
