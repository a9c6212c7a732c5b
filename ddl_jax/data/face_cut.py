"""How an aligned face is cut out and encoded."""

import dataclasses

import cv2
import numpy as np

from ddl_jax.data.alignment import TEMPLATES, align, template_points
from ddl_jax.data.decode import decode_image, fit
from ddl_jax.errors import UserError

ENCODINGS = ("jpeg", "png")
_JPEG_QUALITY = 95  # what the field's RecordIO files are made with


@dataclasses.dataclass(frozen=True)
class FaceCut:
    """From an encoded photo and its landmarks to an encoded aligned face.

    Attributes:
      template, antialias: see `align`.
      size: `(height, width)`; None for the template's own.
      encoding: "jpeg", of quality 95, or "png", which loses nothing and takes three times the room.
    """

    template: str = "arcface_112"
    size: tuple[int, int] | None = None
    antialias: bool = False
    encoding: str = "jpeg"

    def __post_init__(self):
        template_points(self.template, self.size)  # refuses what does not fit
        if self.encoding not in ENCODINGS:
            raise UserError(f"encoding is {self.encoding!r}; choose one of {', '.join(ENCODINGS)}")
        object.__setattr__(self, "size", self.size or TEMPLATES[self.template].size)

    def __call__(self, encoded: bytes, path: str, landmarks: np.ndarray) -> bytes:
        """The aligned face; without landmarks (NaN) the photo, scaled to cover the size and cut."""
        image = decode_image(encoded, path)
        if np.isfinite(landmarks).all():
            image = align(
                image,
                landmarks,
                template=self.template,
                size=self.size,
                antialias=self.antialias,
            )
        else:
            image = fit(image, self.size)
        jpeg = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        suffix, options = jpeg if self.encoding == "jpeg" else (".png", [])
        return cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
