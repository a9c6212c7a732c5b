"""Weights made by rule from the names in a golden file, so that nothing big is stored."""

import functools
import zlib

import numpy as np


def iresnet_weights(keys) -> dict[str, np.ndarray]:
    """The state dict behind `tests/golden/iresnet.npz`; `keys` are "name:shape" of every tensor."""
    return dict(_iresnet_weights(tuple(keys)))


@functools.lru_cache(2)  # of 100 MB each
def _iresnet_weights(keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: _values(name, shape, gain=2) for name, shape in _shapes(keys).items()}


def backbone_weights(keys) -> dict[str, np.ndarray]:
    """The state dicts behind `tests/golden/mobilefacenets.npz` and `backbones.npz`."""
    return dict(_backbone_weights(tuple(keys)))


@functools.lru_cache(2)
def _backbone_weights(keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    shapes = _shapes(keys)
    slopes = {
        name
        for name in shapes
        if name.endswith(".weight") and name.replace("weight", "running_mean") not in shapes
    }
    return {
        name: _values(
            "prelu.weight" if name in slopes and len(shape) == 1 else name, shape, 1, name
        )
        for name, shape in shapes.items()
    }


def _shapes(keys) -> dict[str, tuple[int, ...]]:
    split = [str(key).partition(":")[::2] for key in keys]
    return {name: tuple(int(n) for n in shape.split("x") if n) for name, shape in split}


def _values(kind: str, shape: tuple[int, ...], gain: int, name: str = "") -> np.ndarray:
    """Values of a tensor whose name tells its `kind`; `name` is the one that seeds them."""
    name, seed = kind, name or kind
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    z = np.random.default_rng([20200210, zlib.crc32(seed.encode())]).standard_normal(shape)
    if name.endswith("running_var"):
        values = np.exp(0.1 * z)
    elif len(shape) == 4:
        values = z * np.sqrt(gain / np.prod(shape[1:]))
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
    values = values.astype(np.float32)
    values.flags.writeable = False  # they are kept for the next test
    return values
