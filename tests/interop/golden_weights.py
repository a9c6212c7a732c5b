"""Weights made by rule from the names in a golden file, so that nothing big is stored."""

import zlib

import numpy as np


def iresnet_weights(keys) -> dict[str, np.ndarray]:
    """The state dict behind `tests/golden/iresnet.npz`.

    Args:
      keys: "name:shape" of every tensor, e.g. "conv1.weight:64x3x3x3".
    """
    weights = {}
    for key in keys:
        name, _, shape = str(key).partition(":")
        shape = tuple(int(n) for n in shape.split("x")) if shape else ()
        weights[name] = _values(name, shape)
    return weights


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    z = np.random.default_rng([20200210, zlib.crc32(name.encode())]).standard_normal(shape)
    if name.endswith("running_var"):
        values = np.exp(0.1 * z)
    elif len(shape) == 4:
        values = z * np.sqrt(2 / np.prod(shape[1:]))
    elif len(shape) == 2:
        values = z / np.sqrt(shape[1])
    elif name.endswith("prelu.weight"):
        values = 0.25 + 0.05 * z
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * z
    elif "layer" in name and name.endswith("bn3.weight"):
        values = 0.3 + 0.1 * z
    else:
        values = 1 + 0.1 * z
    return values.astype(np.float32)
