"""Weights by their shapes alone: no initialisation to compile."""

from typing import Any

import jax
import numpy as np


def random_values(shapes: Any) -> Any:
    """Random float32 for every float leaf, zeros for the others, as numpy.

    Vectors are around 0.5, which means, variances, scales and slopes can be; kernels are normal
    with variance 1 / fan-in.
    """
    rng = np.random.default_rng(0)

    def values(leaf: Any) -> np.ndarray:
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        noise = rng.normal(size=leaf.shape)
        if len(leaf.shape) < 2:
            return np.float32(0.5 + 0.1 * noise)
        return np.float32(noise / np.sqrt(np.prod(leaf.shape[:-1])))

    return jax.tree.map(values, shapes)
