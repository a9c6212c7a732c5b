"""Many small pictures in one, with a title above every column."""

from collections.abc import Sequence

import cv2
import numpy as np
from etils import epath
from PIL import Image  # comes with matplotlib

from ddl_jax.data.picture_grid import picture_grid

_HEADER = 22  # pixels for the titles


def draw_sheet(images: np.ndarray, titles: Sequence[str]) -> np.ndarray:
    """The pictures `[rows, columns, H, W, 3]` in a grid, uint8 RGB.

    `titles` are those of the columns, each free to go on over the next ones whose title is empty.
    """
    sheet = picture_grid(images)
    width = sheet.shape[1] // images.shape[1]
    header = np.full((_HEADER, sheet.shape[1], 3), 255, np.uint8)
    for column, title in enumerate(titles):
        cv2.putText(
            header,
            title.replace("_", " "),
            (column * width + 2, _HEADER - 7),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.4,
            (40, 40, 40),
            1,
            cv2.LINE_AA,
        )
    return np.concatenate([header, sheet])


def write_sheet(path: str, sheet: np.ndarray) -> None:
    """Writes a PNG with a palette, which OpenCV cannot: a third of the size."""
    picture = Image.fromarray(sheet)
    picture = picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)
    with epath.Path(path).open("wb") as file:
        picture.save(file, "PNG", optimize=True)
