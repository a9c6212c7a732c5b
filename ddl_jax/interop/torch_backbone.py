"""Weights of our backbones in their PyTorch authors' own checkpoints, both ways."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util

from ddl_jax.errors import UserError
from ddl_jax.files import check_target
from ddl_jax.interop.one_line import printable, short
from ddl_jax.interop.torch_checkpoint import read_hashed_checkpoint, read_torch_checkpoint
from ddl_jax.interop.torch_layers import names_by_order
from ddl_jax.interop.torch_names import Naming, naming_of
from ddl_jax.interop.torch_origin import Origin, find_origin, network_of, network_prefixes
from ddl_jax.interop.torch_writer import write_torch_checkpoint
from ddl_jax.models import create_backbone

# PyTorch counts batches beside every running mean; with a fixed momentum nothing uses the count.
_COUNTER = "num_batches_tracked"

_Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TorchWeights:
    """What a PyTorch checkpoint gave a backbone.

    Attributes:
      network: the backbone's name, as in `create_backbone`.
      variables: `{"params": ..., "batch_stats": ...}`, float32.
      placed: for every variable its path, the tensor it came from and the tensor's shape.
      left: tensors that are no part of the network: its head.
      origin: whose names the file has.
      sha256: of the file, in hexadecimal digits.
    """

    network: str
    variables: dict[str, Any]
    placed: list[tuple[str, str, tuple[int, ...]]]
    left: list[str]
    origin: Origin
    sha256: str

    def report(self) -> str:
        """Which tensor went where, a line each."""
        lines = [f"{theirs} {shape} -> {ours}" for ours, theirs, shape in self.placed]
        lines += [f"{name} left out" for name in self.left]
        return "\n".join(map(printable, lines))


def load_torch_backbone(
    path: epath.PathLike, name: str, *, input_size: tuple[int, int] = (112, 112)
) -> dict[str, Any]:
    """Reads the weights of a backbone from a PyTorch checkpoint, without PyTorch.

    The variables of `read_torch_backbone`, which see.
    """
    return read_torch_backbone(path, name, input_size=input_size).variables


def read_torch_backbone(
    path: epath.PathLike, name: str | None, *, input_size: tuple[int, int] = (112, 112)
) -> TorchWeights:
    """Reads the weights of a backbone from a PyTorch checkpoint, and tells which went where.

    Args:
      path: a `.pt`, `.pth` or `.ckpt` file. Tensors are found by the names of the backbone's
        authors (insightface's arcface_torch for `iresnet*` and `mbf*`, MagFace for
        `magface_iresnet*`, TFace, AdaFace and CVLface for `ir_*`) behind any prefix, and what is
        behind none left out; or, where most of its names are unknown, by the order of the layers
        (as they are applied, or as their authors' files list them), their kinds and shapes.
      name: of the backbone, as in `create_backbone`; None for the one whose names the file has.
      input_size: `(height, width)` the network was made for; its last layers depend on them. A
        MobileFaceNet's file tells height and width of its last map, an IResNet's the product alone:
        weights for 112x96 are read at 96x112 too, and embed otherwise.

    Returns:
      The weights for `create_backbone(name)` with the embedding size the file has.

    Raises:
      UserError: the file is not a checkpoint or of another network, or a tensor is missing,
        unexpected, of another shape, not finite or a variance below 0; the message names the first.
    """
    arrays, beside, sha256 = read_hashed_checkpoint(path)
    state = {tensor: value for tensor, value in arrays.items() if not tensor.endswith(_COUNTER)}
    origin = _find_origin(state, path)
    tensors = _own(state, origin)
    if name is None:
        name = _recognise(arrays, origin, path)
    where = f"{os.fspath(path)} does not fit {name} at {input_size[0]}x{input_size[1]}"
    expected = _expected_variables(name, None, input_size)
    _check_network(network_of(origin, tensors), name, origin, where)
    names = _find_names(naming_of(name), expected, tensors, where)
    found = {variable: tensors[names[variable]] for variable in expected}
    # The last BatchNorm has as many means as an embedding has numbers.
    size = found["batch_stats", "features", "mean"].shape
    if len(size) == 1:
        expected = _expected_variables(name, size[0], input_size)
    _check_shapes(found, expected, names, naming_of(name), where)
    _check_numbers(found, names, path)
    used = {variable: origin.prefix + names[variable] for variable in found}
    left = state.keys() - set(used.values())
    return TorchWeights(
        network=name,
        variables=_to_variables(found, expected),
        placed=[("/".join(variable), used[variable], found[variable].shape) for variable in found],
        left=[tensor for tensor in state if tensor in left] + beside,
        origin=origin,
        sha256=sha256,
    )


def _check_network(known: str, name: str, origin: Origin, where: str) -> None:
    """Refuses a file whose names are known to be those of another network."""
    # Where the file does not tell the project, nothing tells MagFace's networks from insightface's.
    same = {name} if origin.project else {name, name.removeprefix("magface_")}
    if known and known not in same:
        raise UserError(f"{where}: its names are those of {known}; give that network")


def _check_shapes(
    found: dict[_Path, np.ndarray],
    expected: dict[_Path, jax.ShapeDtypeStruct],
    names: dict[_Path, str],
    naming: Naming,
    where: str,
) -> None:
    """Refuses a tensor of another shape than its variable's."""
    for path, variable in expected.items():
        if _squeezed(_to_flax(found[path]).shape) != _squeezed(variable.shape):
            wanted = _to_torch(np.broadcast_to(0, variable.shape), path, naming).shape
            raise UserError(
                f"{where}: {short(names[path])} has shape {found[path].shape}, expected {wanted}: "
                "check the network's name and the input size"
            )


def _check_numbers(
    found: dict[_Path, np.ndarray], names: dict[_Path, str], file: epath.PathLike
) -> None:
    """Refuses numbers that no trained network has."""
    for path, tensor in found.items():
        what = f"{os.fspath(file)}: tensor {short(names[path])} has"
        if not np.isfinite(tensor.astype(np.float32)).all():
            raise UserError(
                f"{what} numbers that are not finite: its training diverged, take an earlier "
                "checkpoint"
            )
        if path[-1] == "var" and (lowest := float(tensor.min())) < 0:
            raise UserError(
                f"{what} a variance of {lowest:.6g}: none is below 0, the file is damaged or "
                "its layers are mixed up; fetch it again"
            )


def _to_variables(
    found: dict[_Path, np.ndarray], expected: dict[_Path, jax.ShapeDtypeStruct]
) -> dict[str, Any]:
    values = {
        path: jnp.asarray(_to_flax(tensor).reshape(expected[path].shape), jnp.float32)
        for path, tensor in found.items()
    }
    return traverse_util.unflatten_dict(values)


def _own(state: dict[str, np.ndarray], origin: Origin) -> dict[str, np.ndarray]:
    """The tensors of the network under their names without the prefix."""
    prefix = origin.prefix
    own = {name: value for name, value in state.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in own.items()}


def recognise_torch_backbone(path: epath.PathLike) -> tuple[str, Origin]:
    """The backbone whose names a PyTorch checkpoint has, and whose checkpoint it looks like.

    Raises:
      UserError: it is no checkpoint, or no backbone has such names.
    """
    state = read_torch_checkpoint(path)
    origin = _find_origin(state, path)
    return _recognise(state, origin, path), origin


def _find_origin(state: dict[str, np.ndarray], path: epath.PathLike) -> Origin:
    prefixes = network_prefixes(state)
    if len(prefixes) > 1:
        told = " and ".join(map(short, sorted(prefixes)))
        raise UserError(
            f"{os.fspath(path)}: it holds {len(prefixes)} networks, behind {told}: save the state "
            "dict of one alone"
        )
    return find_origin(state)


def _recognise(state: dict[str, np.ndarray], origin: Origin, path: epath.PathLike) -> str:
    name = network_of(origin, _own(state, origin))
    if not name:
        raise UserError(
            f"{os.fspath(path)}: its names are of no network known here, the first is "
            f"{short(next(iter(state)))}: give --network=NAME to read it layer by layer"
        )
    return name


def _find_names(
    naming: Naming, expected: dict[_Path, Any], tensors: dict[str, np.ndarray], where: str
) -> dict[_Path, str]:
    """The tensor of every variable."""
    known = {path: naming.tensor(path[1:]) for path in expected}
    present = set(known.values()) & set(tensors)
    if 2 * len(present) < min(len(known), len(tensors)):
        orders = [list(expected)]
        if naming.registered:
            orders.append(sorted(expected, key=lambda path: naming.place(path[1:])))
        return names_by_order(orders, tensors, where)
    for problem, names in (
        ("has no", set(known.values()) - present),
        ("also has", set(tensors) - present),
    ):
        if names:
            raise UserError(
                f"{where}: it {problem} tensor {short(min(names))} ({len(names)} such in all): "
                "check the network's name"
            )
    return known


def save_torch_backbone(path: epath.PathLike, name: str, variables: dict[str, Any]) -> None:
    """Writes a backbone as a PyTorch state dict that its authors' code loads, without PyTorch.

    Names and shapes are checked; `export_torch` compares the embeddings as well.

    Args:
      path: of the `.pt` file, which is replaced; whole or not at all.
      name: of the backbone, as in `create_backbone`.
      variables: `{"params": ..., "batch_stats": ...}` of that backbone.

    Raises:
      UserError: `variables` are not those of the backbone, or the file cannot be written.
    """
    check_target(path)
    flat = traverse_util.flatten_dict(dict(variables))
    expected = _check_variables(flat, name)
    naming, state = naming_of(name), {}
    for path_in_flax in expected:
        torch_key = naming.tensor(path_in_flax[1:])
        value = np.asarray(flat[path_in_flax], np.float32)
        state[torch_key] = _to_torch(value, path_in_flax, naming)
        if torch_key.endswith("running_mean"):
            counter = torch_key.replace("running_mean", _COUNTER)
            state[counter] = np.zeros((), np.int64)
    write_torch_checkpoint(path, state)


def _check_variables(flat: dict[_Path, Any], name: str) -> dict[_Path, jax.ShapeDtypeStruct]:
    """Refuses what are no variables of the backbone -> those it has, in the order of its layers."""
    mistake = f"the variables are not those of {name}: "
    hint = ": check the network's name"
    mean = np.shape(flat.get(("batch_stats", "features", "mean"), 0))
    size = mean[0] if len(mean) == 1 else None
    expected = _expected_variables(name, size, (112, 112))
    for told, paths in (
        ("no", expected.keys() - flat.keys()),
        ("another", flat.keys() - expected.keys()),
    ):
        if paths:
            raise UserError(f"{mistake}{told} {'/'.join(min(paths))!r}{hint}")
    unlike = [path for path in expected if np.shape(flat[path]) != expected[path].shape]
    # The size of the images decides some of the axes: those that another size changes.
    other = _expected_variables(name, size, (224, 160)) if unlike else {}
    for path in unlike:
        shape, wanted = np.shape(flat[path]), expected[path].shape
        axes = zip(shape, wanted, other[path].shape, strict=False)
        if len(shape) != len(wanted) or any(n != a == b for n, a, b in axes):
            told = f"{'/'.join(path)!r} has shape {shape}, expected {wanted}"
            raise UserError(f"{mistake}{told}{hint}")
    return expected


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


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A 1x1 convolution's shape as that of a matrix, which one or the other side may have of it."""
    return shape[2:] if len(shape) == 4 and shape[:2] == (1, 1) else shape


def _to_torch(value: np.ndarray, path: _Path, naming: Naming) -> np.ndarray:
    if value.ndim == 1 or path[-2] in naming.linear:
        return value.T
    if value.ndim == 2:
        value = value[None, None]
    return value.transpose(3, 2, 0, 1)
