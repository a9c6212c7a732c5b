"""Writes named NumPy arrays as a PyTorch checkpoint, without PyTorch."""

import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.files import written
from ddl_jax.interop.torch_checkpoint import STORAGE_DTYPES


def write_torch_checkpoint(path: epath.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as a state dict that `torch.load(path)` reads, its `weights_only` included.

    Args:
      path: of the file, which is replaced; whole or not at all.
      arrays: by name, of any type torch has.

    Raises:
      UserError: an array of a type that torch has not, or a file that cannot be written.
    """
    kinds = {dtype: kind for kind, dtype in STORAGE_DTYPES.items()}
    stored = []
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype not in kinds:
            raise UserError(f"{name}: torch has no tensors of type {array.dtype}")
        stored.append((name, kinds[array.dtype], array))

    with (
        written(path) as temporary,
        temporary.open("wb") as file,
        zipfile.ZipFile(file, "w") as archive,
    ):
        # ZipInfo instead of a name: its fixed date keeps equal weights equal files.
        def write_entry(entry: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{entry}"), data)

        write_entry("data.pkl", _pickle_of(stored))
        write_entry("byteorder", b"little")
        for key, (_, _, array) in enumerate(stored):
            write_entry(f"data/{key}", array.tobytes())
        write_entry("version", b"3\n")


def _pickle_of(stored: list[tuple[str, str, np.ndarray]]) -> bytes:
    """The instructions torch.save would write; `pickle.dumps` wants to import what it names."""

    def plain(value: Any) -> bytes:
        return pickle.dumps(value, protocol=2)[2:-1]  # without PROTO and STOP

    def name(module: str, attribute: str) -> bytes:
        return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()

    ordered_dict = name("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    parts = [pickle.PROTO + b"\x02", ordered_dict, pickle.MARK]
    for key, (tensor_name, kind, array) in enumerate(stored):
        strides = tuple(step // array.itemsize for step in np.empty_like(array, order="C").strides)
        parts += [
            plain(tensor_name),
            name("torch._utils", "_rebuild_tensor_v2"),
            pickle.MARK,
            pickle.MARK + plain("storage") + name("torch", kind) + plain(str(key)),
            plain("cpu") + plain(array.size) + pickle.TUPLE + pickle.BINPERSID,
            plain(0) + plain(array.shape) + plain(strides) + plain(False) + ordered_dict,
            pickle.TUPLE + pickle.REDUCE,
        ]
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])
