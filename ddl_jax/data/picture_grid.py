"""Many pictures of one size in one."""

import numpy as np

_GAP = 4  # pixels of white between pictures


def picture_grid(pictures: np.ndarray) -> np.ndarray:
    """Rows of pictures `[rows, columns, H, W, 3]` uint8 as one, white between them."""
    pad = ((0, 0), (0, 0), (0, _GAP), (0, _GAP), (0, 0))
    grid = np.pad(pictures, pad, constant_values=255)
    rows, columns, height, width, _ = grid.shape
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
