"""Weights of our backbones in their PyTorch authors' own checkpoints, both ways."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util

from ddl_jax.errors import UserError
from ddl_jax.interop.torch_checkpoint import read_torch_checkpoint
from ddl_jax.interop.torch_layers import names_by_order
from ddl_jax.interop.torch_names import Naming, naming_of
from ddl_jax.interop.torch_writer import write_torch_checkpoint
from ddl_jax.models import create_backbone

# PyTorch counts batches beside every running mean; with a fixed momentum nothing uses the count.
_COUNTER = "num_batches_tracked"

_Path = tuple[str, ...]


def load_torch_backbone(
    path: epath.PathLike, name: str, *, input_size: tuple[int, int] = (112, 112)
) -> dict[str, Any]:
    """Reads the weights of a backbone from a PyTorch checkpoint, without PyTorch.

    Args:
      path: a `.pt`, `.pth` or `.ckpt` file. Tensors are found by the names of the backbone's
        authors (insightface's arcface_torch for `iresnet*` and `mbf*`, TFace and AdaFace for
        `ir_*`) or, where most of its names are unknown, by the order of the layers, their kinds and
        shapes (not `ir_*`, whose files list the last layers first). Of a Lightning module's
        `model.*` and `head.*` the model is taken.
      name: of the backbone, as in `create_backbone`.
      input_size: `(height, width)` the network was made for; its last layers depend on them.

    Returns:
      `{"params": ..., "batch_stats": ...}`, float32, for `create_backbone(name)` with the embedding
      size the file has.

    Raises:
      UserError: the file is not a checkpoint, or a tensor is missing, unexpected or of another
        shape; the message names the first.
    """
    state = _without_head(read_torch_checkpoint(path))
    tensors = {key: value for key, value in state.items() if not key.endswith(_COUNTER)}
    where = f"{os.fspath(path)} does not fit {name} at {input_size[0]}x{input_size[1]}"
    expected = _expected_variables(name, None, input_size)
    naming = naming_of(name)
    names = _find_names(naming, expected, tensors, where)
    # The last BatchNorm has as many means as an embedding has numbers.
    size = tensors[names["batch_stats", "features", "mean"]].shape
    if len(size) == 1:
        expected = _expected_variables(name, size[0], input_size)
    loaded = {}
    for path_in_flax, variable in expected.items():
        tensor = tensors[names[path_in_flax]]
        value = _to_flax(tensor)
        if _without_ones(value.shape) != _without_ones(variable.shape):
            wanted = _to_torch(np.broadcast_to(0, variable.shape), path_in_flax, naming).shape
            raise UserError(
                f"{where}: {names[path_in_flax]!r} has shape {tensor.shape}, expected {wanted}: "
                "check the network's name and the input size"
            )
        loaded[path_in_flax] = jnp.asarray(value.reshape(variable.shape), jnp.float32)
    return traverse_util.unflatten_dict(loaded)


def _without_head(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The network of a training module that holds it as `model` beside its `head`."""
    if {name.partition(".")[0] for name in state} not in ({"model"}, {"model", "head"}):
        return state
    return {
        name.removeprefix("model."): value
        for name, value in state.items()
        if name.startswith("model.")
    }


def _find_names(
    naming: Naming, expected: dict[_Path, Any], tensors: dict[str, np.ndarray], where: str
) -> dict[_Path, str]:
    """The tensor of every variable."""
    known = {path: naming.tensor(path[1:]) for path in expected}
    present = set(known.values()) & set(tensors)
    if 2 * len(present) < min(len(known), len(tensors)):
        return names_by_order(list(expected), tensors, where)
    for problem, names in (
        ("has no", set(known.values()) - present),
        ("also has", set(tensors) - present),
    ):
        if names:
            raise UserError(
                f"{where}: it {problem} tensor {min(names)!r} ({len(names)} such in all): "
                "check the network's name"
            )
    return known


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
    expected = _expected_variables(name, None, (112, 112))
    if set(flat) != set(expected) or any(
        np.ndim(value) != expected[key].ndim for key, value in flat.items()
    ):
        raise UserError(f"the variables are not those of {name}: check the network's name")
    naming, state = naming_of(name), {}
    for path_in_flax in expected:
        torch_key = naming.tensor(path_in_flax[1:])
        value = np.asarray(flat[path_in_flax], np.float32)
        state[torch_key] = _to_torch(value, path_in_flax, naming)
        if torch_key.endswith("running_mean"):
            counter = torch_key.replace("running_mean", _COUNTER)
            state[counter] = np.zeros((), np.int64)
    write_torch_checkpoint(path, state)


def _expected_variables(
    name: str, embedding_size: int | None, input_size: tuple[int, int]
) -> dict[_Path, jax.ShapeDtypeStruct]:
    """Shapes of all variables, by path; layers in the order in which they are applied."""
    module = create_backbone(name, embedding_size=embedding_size)
    images = jax.ShapeDtypeStruct((1, *input_size, 3), jnp.float32)
    order: list[_Path] = []

    def init(key: jax.Array, images: jax.Array) -> Any:
        variables = module.init(key, images)
        # Here the order is still that of their making; a tree handed out is sorted by name.
        order.extend(traverse_util.flatten_dict(variables))
        return variables

    flat = traverse_util.flatten_dict(jax.eval_shape(init, jax.random.key(0), images))
    # Parameters before statistics: a layer's place is that of its parameters, if it has any.
    return {path: flat[path] for path in sorted(order, key=lambda path: path[0] != "params")}


# Kernels: a convolution's OIHW is our HWIO, or IO if it is 1x1; a linear layer's [out, in] is our
# [in, out]. Vectors stay.


def _to_flax(value: np.ndarray) -> np.ndarray:
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _to_torch(value: np.ndarray, path: _Path, naming: Naming) -> np.ndarray:
    if value.ndim == 1 or path[-2] in naming.linear:
        return value.T
    if value.ndim == 2:
        value = value[None, None]
    return value.transpose(3, 2, 0, 1)
