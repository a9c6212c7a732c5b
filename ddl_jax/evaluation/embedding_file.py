"""Embeddings in one file for other programs: NumPy's .npz, or Parquet."""

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from etils import epath

from ddl_jax import files

_CARD = "card"  # name of the array of .npz, and of the entry in Parquet's metadata


def check_target(path: epath.PathLike) -> None:
    """Refuses what is no place for a file of embeddings."""
    files.check_target(path, flag="--out", suffixes=_WRITERS)


def write_embeddings(
    path: epath.PathLike,
    embeddings: np.ndarray,
    columns: Mapping[str, np.ndarray],
    card: Mapping[str, Any],
) -> None:
    """Writes one row an image, whole or not at all.

    Args:
      path: ends in `.npz` (an array a column) or `.parquet`; overwritten.
      embeddings: `[n, D]`, the column `embedding`, float32.
      columns: what else is known of the images, `[n]` each.
      card: kept inside as JSON: `json.loads(str(np.load(path)["card"]))`, and
        `json.loads(pyarrow.parquet.read_schema(path).metadata[b"card"])`.

    Raises:
      UserError: the file cannot be written.
    """
    check_target(path)
    with files.written(path, flag="--out") as temporary, temporary.open("wb") as file:
        write = _WRITERS[epath.Path(path).suffix]
        write(file, embeddings.astype(np.float32, copy=False), columns, json.dumps(card))


def _write_npz(
    file: BinaryIO, embeddings: np.ndarray, columns: Mapping[str, np.ndarray], card: str
) -> None:
    np.savez(file, embedding=embeddings, **columns, **{_CARD: np.array(card)})


def _write_parquet(
    file: BinaryIO, embeddings: np.ndarray, columns: Mapping[str, np.ndarray], card: str
) -> None:
    import pyarrow  # only here: what reads a command line need not wait for it
    from pyarrow import parquet

    rows = pyarrow.FixedSizeListArray.from_arrays(embeddings.ravel(), embeddings.shape[1])
    table = pyarrow.table({name: values.tolist() for name, values in columns.items()})
    table = table.append_column("embedding", rows).replace_schema_metadata({_CARD: card})
    parquet.write_table(table, file)


_WRITERS = {".npz": _write_npz, ".parquet": _write_parquet}
