"""Weights of our backbones in their PyTorch authors' own checkpoints, both ways."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util

from ddl_jax.errors import UserError
from ddl_jax.interop.iresnet_names import torch_name
from ddl_jax.interop.torch_checkpoint import read_torch_checkpoint
from ddl_jax.interop.torch_writer import write_torch_checkpoint
from ddl_jax.models import create_backbone

# PyTorch counts batches beside every running mean; with a fixed momentum nothing uses the count.
_COUNTER = "num_batches_tracked"


def load_torch_backbone(
    path: epath.PathLike, name: str, *, input_size: tuple[int, int] = (112, 112)
) -> dict[str, Any]:
    """Reads the weights of a backbone from a PyTorch checkpoint, without PyTorch.

    Args:
      path: a `.pt` or `.pth` file under the names of the backbone's authors: insightface's
        arcface_torch for `iresnet*`.
      name: of the backbone, as in `create_backbone`.
      input_size: `(height, width)` the network was made for; its linear layer depends on them.

    Returns:
      `{"params": ..., "batch_stats": ...}`, float32, for `create_backbone(name)`, with the
      embedding size the file has.

    Raises:
      UserError: the file is not a checkpoint, or a tensor is missing, unexpected or of another
        shape; the message names the first.
    """
    state = read_torch_checkpoint(path)
    # A file without this layer is refused below, by name.
    linear = state.get("fc.weight")
    embedding_size = linear.shape[0] if linear is not None and linear.ndim == 2 else 512
    expected = _expected_variables(name, embedding_size, input_size)
    where = f"{os.fspath(path)} does not fit {name} at {input_size[0]}x{input_size[1]}"
    torch_names = {path_in_flax: torch_name(path_in_flax[1:]) for path_in_flax in expected}
    _check_names(state, set(torch_names.values()), where)

    loaded = {}
    for path_in_flax, variable in expected.items():
        tensor = state[torch_names[path_in_flax]]
        value = _to_flax(tensor)
        if value.shape != variable.shape:
            raise UserError(
                f"{where}: {torch_names[path_in_flax]!r} has shape {tensor.shape}, expected "
                f"{_torch_shape(variable.shape)}: check the network's name and the input size"
            )
        loaded[path_in_flax] = jnp.asarray(value, jnp.float32)
    return traverse_util.unflatten_dict(loaded)


def _check_names(state: dict[str, np.ndarray], expected: set[str], where: str) -> None:
    present = {torch_key for torch_key in state if not torch_key.endswith(_COUNTER)}
    for problem, names in (("has no", expected - present), ("also has", present - expected)):
        if names:
            raise UserError(
                f"{where}: it {problem} tensor {min(names)!r} ({len(names)} such in all): "
                "check the network's name"
            )


def save_torch_backbone(path: epath.PathLike, name: str, variables: dict[str, Any]) -> None:
    """Writes a backbone as a PyTorch state dict that its authors' code loads, without PyTorch.

    Args:
      path: of the `.pt` file, overwritten.
      name: of the backbone, as in `create_backbone`.
      variables: `{"params": ..., "batch_stats": ...}` of that backbone.

    Raises:
      UserError: `variables` are not those of the backbone.
    """
    flat = traverse_util.flatten_dict(dict(variables))
    if set(flat) != set(_expected_variables(name, 512, (112, 112))):
        raise UserError(f"the variables are not those of {name}: check the network's name")
    state = {}
    for path_in_flax, value in flat.items():
        torch_key = torch_name(path_in_flax[1:])
        state[torch_key] = _to_torch(np.asarray(value, np.float32))
        if torch_key.endswith("running_mean"):
            counter = torch_key.replace("running_mean", _COUNTER)
            state[counter] = np.zeros((), np.int64)
    write_torch_checkpoint(path, state)


def _expected_variables(
    name: str, embedding_size: int, input_size: tuple[int, int]
) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    module = create_backbone(name, embedding_size=embedding_size)
    images = jax.ShapeDtypeStruct((1, *input_size, 3), jnp.float32)
    return traverse_util.flatten_dict(jax.eval_shape(module.init, jax.random.key(0), images))


# Kernels: a convolution's OIHW is our HWIO, a linear layer's [out, in] our [in, out]. Vectors stay.


def _to_flax(value: np.ndarray) -> np.ndarray:
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def _to_torch(value: np.ndarray) -> np.ndarray:
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape[::-1]
