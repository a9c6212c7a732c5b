"""Embeddings kept on disk: the same network does not look at the same images twice.

What is kept is found by all that the numbers depend on: the text of the compiled program (network,
preprocessing, mirror rule, types, rows of a batch, devices), the weights, the images' bytes and
landmarks, the code that makes pixels of them, the versions and devices that compute. So what is
found is what would be computed.
"""

import hashlib
import os
import pathlib
import sys
import time
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import cv2
import jax
import jaxlib
import numpy as np

from ddl_jax.data import alignment, decode
from ddl_jax.evaluation.images import Images, image_digests
from ddl_jax.files import atomic_file

MOST_BYTES = 4 * 2**30  # IJB-C, image and mirror image apart, are 1.9 GB
_PIXELS: tuple[ModuleType, ...] = (alignment, decode)
_ABANDONED = 24 * 3600  # seconds after which an unfinished file is nobody's
_SUFFIX = ".npz"


class EmbeddingCache:
    """The embeddings kept in a directory, of many networks and data sets; for several processes.

    Attributes:
      taken: images whose embeddings were found so far.
    """

    def __init__(self, directory: pathlib.Path, most: int = MOST_BYTES):
        """Keeps at most `most` bytes; what was used longest ago goes first."""
        self._directory, self._most = directory, most
        self._weights: tuple[Any, str] = (None, "")
        self.taken = 0

    def key(self, program: str, variables: Any, images: Images) -> str:
        """What stands for these embeddings.

        Args:
          program: the text of the compiled program that embeds a batch.
          variables: the network's.
          images: whose bytes are read for this.
        """
        device = jax.devices()[0]
        # The last is CUDA's and cuDNN's version, or libtpu's.
        devices = [jaxlib.__version__, device.device_kind, device.client.platform_version]
        devices += [jax.default_backend(), os.environ.get("XLA_FLAGS", "")]
        pixels = [pathlib.Path(module.__file__).read_bytes() for module in _PIXELS]
        digest = hashlib.sha256(repr([*devices, cv2.__version__]).encode())
        everything = hashlib.sha256()
        for each in image_digests(images):
            everything.update(each)
        for part in (program.encode(), *pixels, self._hash_of(variables), everything.digest()):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()

    def _hash_of(self, variables: Any) -> bytes:
        if self._weights[0] is not variables:  # once for all data sets of an evaluation
            self._weights = variables, hash_variables(variables)
        return self._weights[1].encode()

    def read(self, key: str, rows: int) -> np.ndarray | None:
        """The embeddings of `rows` images; None where they are not kept, or are damaged."""
        path = self._path(key)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                found = archive["embeddings"]  # zipfile looks at its checksum
            if len(found) != rows:
                raise ValueError(f"{len(found)} rows, not {rows}")
            os.utime(path)  # used now
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever zipfile, zlib or numpy think of a damaged file
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"ATTENTION: {path} is damaged ({told}): computed anew", file=sys.stderr)
            return None
        self.taken += rows
        return found

    def write(self, key: str, embeddings: np.ndarray) -> None:
        """Keeps embeddings, or says why not; other ones go where there is no room."""
        if embeddings.nbytes > self._most:
            return
        try:
            with atomic_file(self._path(key)) as file:
                np.savez(file, embeddings=embeddings)
            self._make_room()
        except OSError as error:
            print(f"embeddings are not kept in {self._directory} ({error})", file=sys.stderr)

    def _path(self, key: str) -> pathlib.Path:
        return self._directory / f"{key}{_SUFFIX}"

    def _make_room(self) -> None:
        """Removes what was used longest ago, and what somebody left half written."""
        files = sorted(_known(self._directory.iterdir()), reverse=True)
        kept = 0
        for used, size, path in files:
            if path.suffix == _SUFFIX:
                kept += size
                gone = kept > self._most
            else:
                unfinished = path.name.startswith(".")  # see `files.replacing`
                gone = unfinished and time.time() - used > _ABANDONED
            if gone:
                path.unlink(missing_ok=True)


def hash_variables(variables: Any) -> str:
    """SHA-256 of a network's variables: names, types, shapes and values."""
    digest = hashlib.sha256()
    for path, leaf in sorted(
        (jax.tree_util.keystr(path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    ):
        array = np.ascontiguousarray(jax.device_get(leaf))
        digest.update(f"{path} {array.dtype} {array.shape}\n".encode())
        digest.update(array.view(np.uint8))
    return digest.hexdigest()


def _known(paths: Iterable[pathlib.Path]) -> Iterable[tuple[float, int, pathlib.Path]]:
    """Time, size and path of those that another process has not just removed."""
    for path in paths:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        yield stat.st_mtime, stat.st_size, path
