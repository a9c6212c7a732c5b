"""Whole files or none: what a reader finds was written to its end."""

from __future__ import annotations

import os

from etils import epath


def write_atomically(path: epath.PathLike, content: bytes) -> None:
    """Writes `path` through a temporary file beside it; makes its folder; local or `gs://`."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    temporary.write_bytes(content)
    temporary.replace(path)
