"""Reads PyTorch checkpoints (`.pt`, `.pth`) into named NumPy arrays, without PyTorch.

Both of `torch.save`'s formats are read: the zip archive of torch 1.6 and later, and the older
single stream. In each a pickle describes the tensors and names their storages, flat runs of
numbers that lie beside it; so the pickle is read first, as plain descriptions, and bounds are
checked before a storage is touched.
"""

import hashlib
import io
import math
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.interop import restricted_pickle
from ddl_jax.interop.one_line import cut, short
from ddl_jax.interop.open_file import opened

_ZIP_MAGIC = b"PK\x03\x04"
_STREAM_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_RESAVE = "save it again with torch.save(model.state_dict(), path)"

_MOST_AXES = 64  # as in torch

# What zipfile raises, NotImplementedError and UnicodeDecodeError among their subclasses.
DAMAGED_ARCHIVE = (
    LookupError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

# Little-endian: the byte order of every machine people train on; others are refused.
STORAGE_DTYPES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class _Storage(NamedTuple):
    kind: str
    key: str
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * STORAGE_DTYPES[self.kind].itemsize


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_ReadStorage = Callable[[_Storage], bytes]


def read_torch_checkpoint(path: epath.PathLike) -> dict[str, np.ndarray]:
    """Reads the state dict in a PyTorch checkpoint.

    The file holds a state dict or a dict with one under "state_dict", or under
    "state_dict_backbone" as arcface_torch's own checkpoints; a "module." that `DataParallel` put
    before every name is dropped. What lies beside the state dict, as an optimizer's state or
    Lightning's settings, is not looked at: its objects come up empty, nothing of theirs is run.

    Args:
      path: of the file.

    Returns:
      Arrays by name, read-only, for they share what the file shares; bfloat16 ones are in JAX's own
      NumPy type.

    Raises:
      UserError: a file that cannot be read, no checkpoint, a damaged one, or one that wants
        something run.
    """
    return read_hashed_checkpoint(path).arrays


class HashedCheckpoint(NamedTuple):
    """The state dict in a PyTorch checkpoint.

    Attributes:
      arrays: by name.
      beside: names of the tensors in other state dicts, as a head's, behind those dicts' own names.
      sha256: of the bytes it was read from.
    """

    arrays: dict[str, np.ndarray]
    beside: list[str]
    sha256: str


def read_hashed_checkpoint(path: epath.PathLike) -> HashedCheckpoint:
    """Reads a file once -> what `read_torch_checkpoint` tells of it, with its hash."""
    name = os.fspath(path)
    with opened(path, "a PyTorch checkpoint's file") as file:
        data = file.read(len(_STREAM_MAGIC))
        if not data.startswith((_ZIP_MAGIC, _STREAM_MAGIC)):
            raise UserError(f"{name}: not a PyTorch checkpoint: {_RESAVE}")
        data += file.read()
    return HashedCheckpoint(*_read(data, name), hashlib.sha256(data).hexdigest())


def _read(data: bytes, path: str) -> tuple[dict[str, np.ndarray], list[str]]:
    open_file = _open_zip if data.startswith(_ZIP_MAGIC) else _open_stream
    contents, read_storage = open_file(io.BytesIO(data), path)
    tensors, beside = _state_dict(contents, path), _beside(contents)

    # By the whole description: one key under two counts must not lend the longer its bounds.
    storages: dict[_Storage, bytes] = {}
    arrays, room = {}, len(data)
    for name, tensor in tensors.items():
        storage = tensor.storage
        _check_bounds(tensor, f"{path}: tensor {short(name)}")
        if storage not in storages:
            room -= storage.size  # a file is as long as its storages, or they are not in it
            if room < 0:
                key = short(storage.key)
                raise UserError(f"{path}: truncated, storage {key} is not in it: fetch it again")
            storages[storage] = read_storage(storage)
        arrays[name] = _to_array(tensor, storages[storage])
    return arrays, beside


def _open_zip(file: BinaryIO, path: str) -> tuple[Any, _ReadStorage]:
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"{path}: truncated or damaged ({cut(error)}): fetch it again") from error
    names, length = archive.namelist(), file.seek(0, os.SEEK_END)
    prefix = next((n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")), None)
    if prefix is None or f"{prefix}constants.pkl" in names:
        raise UserError(f"{path}: a zip file, but no checkpoint of tensors: {_RESAVE}")

    def read_entry(entry: str, size: int | None = None) -> bytes:
        try:
            info = archive.getinfo(prefix + entry)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > length:
                # Some bytes could stand for any amount of memory; torch compresses nothing.
                raise UserError(f"{path}: {cut(entry)} is compressed or cut: {_RESAVE}")
            if size is None or info.file_size == size:
                return archive.read(info)
        except DAMAGED_ARCHIVE as error:
            raise UserError(f"{path}: damaged ({cut(error)}): fetch it again") from error
        raise UserError(
            f"{path}: {cut(entry)} has {info.file_size} bytes, expected {size}: fetch it again"
        )

    if f"{prefix}byteorder" in names and read_entry("byteorder") != b"little":
        raise UserError(f"{path}: written on a big-endian machine: {_RESAVE} on another")
    contents = _load_pickle(io.BytesIO(read_entry("data.pkl")), path)
    return contents, lambda storage: read_entry(f"data/{storage.key}", storage.size)


def _open_stream(file: BinaryIO, path: str) -> tuple[Any, _ReadStorage]:
    # Five pickles: magic, version, facts of the machine, the contents, the storages' keys; then
    # for every key its count as int64 and its numbers.
    _load_pickle(file, path)
    _load_pickle(file, path)
    machine = _load_pickle(file, path)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UserError(f"{path}: written on a big-endian machine: {_RESAVE} on another")
    storages: dict[str, _Storage] = {}
    contents = _load_pickle(file, path, storages)
    keys = _load_pickle(file, path)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UserError(f"{path}: damaged, no list of storages in it: fetch it again")

    positions: dict[str, int] = {}
    position = file.tell()
    for key in keys:
        positions[key] = position
        position += 8 + (storages[key].size if key in storages else 0)
    end = file.seek(0, os.SEEK_END)

    def read_storage(storage: _Storage) -> bytes:
        if positions.get(storage.key, end) >= end:
            raise UserError(f"{path}: damaged, storage {short(storage.key)} is not in it")
        file.seek(positions[storage.key])
        count, numbers = file.read(8), file.read(storage.size)
        if count != storage.count.to_bytes(8, "little") or len(numbers) != storage.size:
            raise UserError(
                f"{path}: truncated or damaged, {short(storage.key)} is cut: fetch it again"
            )
        return numbers

    return contents, read_storage


def _load_pickle(file: BinaryIO, path: str, storages: dict[str, _Storage] | None = None) -> Any:
    """One pickle, with `_Tensor` for every tensor; notes its storages by key in `storages`."""

    def storage(pid: Any) -> _Storage:
        match pid:
            case ("storage", str(kind), str(key), _, int(count), *rest):
                if kind in STORAGE_DTYPES and count >= 0 and not any(rest):
                    found = _Storage(kind, key, count)
                    if storages is not None:
                        storages[key] = found
                    return found
        raise UserError(f"{path}: a storage this reader does not know, {short(pid)}: {_RESAVE}")

    return restricted_pickle.load(
        file,
        path=path,
        allowed=_ALLOWED,
        placeholders=True,
        persistent_load=storage,
        encoding="utf-8",
    )


class _Dict(dict):
    """Stands in for `OrderedDict`, on which torch hangs metadata that nothing here needs."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


def _ordered_dict(pairs: Any = ()) -> _Dict:
    items = [(key, value) for key, value in pairs]
    restricted_pickle.check_keys(key for key, _ in items)
    return _Dict(items)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(isinstance(n, int) for n in numbers):
        raise pickle.UnpicklingError("a tensor that is none")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _size(numbers: Any = ()) -> tuple[int, ...]:
    if not isinstance(numbers, tuple | list) or len(numbers) > _MOST_AXES:
        raise pickle.UnpicklingError("a size that is none")
    return tuple(numbers)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


# Beside the state dict: a schedule's milestones, settings of a run. The pickle calls these to make
# values that nothing here reads; objects of other classes it makes without a call.
_UNREAD = (
    "collections.Counter",
    "collections.defaultdict",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",  # in Python 3.13
    "pathlib._local.WindowsPath",
    "torch.device",
    "__builtin__.set",
    "builtins.set",
)

_ALLOWED: dict[str, Callable[..., Any] | str] = {
    "collections.OrderedDict": _ordered_dict,
    **dict.fromkeys(_UNREAD, restricted_pickle.Placeholder),
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": _size,
    **{f"torch.{kind}": kind for kind in STORAGE_DTYPES},
}


_STATE_DICTS = ("state_dict", "state_dict_backbone")  # arcface_torch's has the head's beside it


def _beside(contents: Any) -> list[str]:
    """Names of the tensors in the dicts of tensors beside the state dict that is read."""
    if not isinstance(contents, dict) or not any(key in contents for key in _STATE_DICTS):
        return []
    others = {key: value for key, value in contents.items() if key not in _STATE_DICTS}
    return [
        f"{key}.{name}"
        for key, value in others.items()
        if isinstance(value, dict) and all(isinstance(one, _Tensor) for one in value.values())
        for name in value
    ]


def _state_dict(contents: Any, path: str) -> dict[str, _Tensor]:
    for key in _STATE_DICTS:
        if isinstance(contents, dict) and isinstance(contents.get(key), dict):
            contents = contents[key]
    if isinstance(contents, restricted_pickle.Placeholder):
        what = contents.named or "an object"
        raise UserError(f"{path}: holds {cut(what)}, no state dict: {_RESAVE}")
    if not isinstance(contents, dict) or not contents:
        raise UserError(f"{path}: holds no state dict: {_RESAVE}")
    for name, tensor in contents.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise UserError(f"{path}: {short(name)} is not a tensor: {_RESAVE}")
    if all(name.startswith("module.") for name in contents):
        return {name.removeprefix("module."): tensor for name, tensor in contents.items()}
    return contents


def _check_bounds(tensor: _Tensor, what: str) -> None:
    storage, offset, shape, strides = tensor
    # No step that int64 cannot hold.
    sane = len(shape) == len(strides) <= _MOST_AXES and min((offset, *shape, *strides)) >= 0
    sane = sane and max((offset, *shape, *strides)) < 2**56
    # Strides of zero would let a few numbers in the file stand for any amount of memory.
    sane = sane and math.prod(shape) <= storage.count
    if sane and math.prod(shape) > 0:
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        sane = last < storage.count
    if not sane:
        raise UserError(
            f"{what} of shape {short(shape)} and strides {short(strides)} at {short(offset)} "
            f"reaches outside its storage of {short(storage.count)} numbers: damaged, fetch the "
            "file again"
        )


def _to_array(tensor: _Tensor, numbers: bytes) -> np.ndarray:
    dtype = STORAGE_DTYPES[tensor.storage.kind]
    if math.prod(tensor.shape) == 0:
        return np.zeros(tensor.shape, dtype)
    flat = np.frombuffer(numbers, dtype)[tensor.offset :]
    strides = [step * dtype.itemsize for step in tensor.strides]
    # No copy: many names may share a storage, as tied weights do.
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides)
