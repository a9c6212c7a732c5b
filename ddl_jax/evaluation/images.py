"""What can be embedded: images by number, as encoded files."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NotRequired, Protocol, TypedDict

import numpy as np

_AT_ONCE = 4096  # images that threads are asked for: not millions


class EncodedImage(TypedDict):
    """An image file: `image` its bytes, `path` what to call it, `landmarks` `[5, 2]` if unaligned.

    A `data.source.Record` is one.
    """

    image: bytes
    path: str
    landmarks: NotRequired[np.ndarray]


class Images(Protocol):
    """Images by number, safe to read from several threads; every `data.source.Source` is such."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> EncodedImage: ...


def image_digests(images: Images) -> Iterator[bytes]:
    """SHA-256 of every image's bytes and landmarks, whatever its name is."""

    def one(number: int) -> bytes:
        record = images[number]
        digest = hashlib.sha256(record["image"])
        if (landmarks := record.get("landmarks")) is not None:
            digest.update(np.asarray(landmarks, np.float64).tobytes())
        return digest.digest()

    with ThreadPoolExecutor(4) as threads:
        for start in range(0, len(images), _AT_ONCE):
            yield from threads.map(one, range(start, min(start + _AT_ONCE, len(images))))
