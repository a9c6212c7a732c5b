"""What can be embedded: images by number, as encoded files."""

from typing import NotRequired, Protocol, TypedDict

import numpy as np


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
