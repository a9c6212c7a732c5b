"""A large file read here and there by many threads and processes."""

import os
import threading
import weakref

from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.files import is_remote


class RandomAccessFile:
    """A file read by offset; picklable, and safe to use from several threads.

    Local files are read with `pread`, which shares no position. Others (`gs://`), which have only a
    position, are read under a lock: one thread at a time.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self._reset()
        try:
            self.size = epath.Path(self.path).stat().length
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset` on; fewer where the file ends."""
        try:
            file = self._file or self._open()
            if isinstance(file, int):
                return self._pread(file, offset, count)
            with self._lock:
                file.seek(offset)
                return file.read(count)
        except OSError as error:
            raise UserError(
                f"{self.path}: byte {offset} cannot be read: {error.strerror or error}"
            ) from error

    @staticmethod
    def _pread(file: int, offset: int, count: int) -> bytes:
        data = os.pread(file, count, offset)
        while 0 < len(data) < count:  # at most 2 GiB come at once
            more = os.pread(file, count - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def _open(self):
        with self._lock:
            if self._file is None:
                if is_remote(self.path):
                    self._file = epath.Path(self.path).open("rb")
                else:
                    self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                    weakref.finalize(self, os.close, self._file)
            return self._file

    def _reset(self) -> None:
        self._file, self._lock = None, threading.Lock()

    def __getstate__(self) -> dict:
        return {"path": self.path, "size": self.size}  # every process opens the file itself

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state
        self._reset()
