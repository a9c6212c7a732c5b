"""TensorFlow's TFRecord files of `tf.train.Example`, record by record, without TensorFlow.

A record is `uint64 length, uint32 its checksum, data, uint32 their checksum`, little-endian; the
checksums are masked CRC-32C.
"""

import os
import struct
from collections.abc import Iterable, Iterator

import google_crc32c
from etils import epath
from google.protobuf.message import DecodeError

from ddl_jax.errors import UserError
from ddl_jax.interop.random_access import RandomAccessFile

_FRAME = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_BLOCK = 1 << 14  # most faces fit: one read brings frame and data


class TFRecordFile:
    """The records of a TFRecord file by their place in it; picklable, safe in several threads."""

    def __init__(self, path: str | os.PathLike):
        self._file = RandomAccessFile(path)
        self.path = self._file.path

    def read(self, offset: int) -> bytes:
        """The data of the record that starts at byte `offset`.

        Raises:
          UserError: no whole record starts there, or its checksum is another.
        """
        if not 0 <= offset < self._file.size:
            raise self._error(offset, f"beyond the file's end at byte {self._file.size}")
        block = self._file.read(offset, _BLOCK)
        if len(block) < _FRAME.size:
            raise self._error(offset, "the file ends within a record; copy or fetch it again")
        length, checksum = _FRAME.unpack_from(block)
        if checksum != _masked_checksum(block[:8]):
            raise self._error(offset, "no record starts here (its length's checksum is wrong)")
        whole = _FRAME.size + length + _CHECKSUM.size
        if offset + whole > self._file.size:
            missing = offset + whole - self._file.size
            raise self._error(offset, f"its last {missing} of {whole} bytes are not in the file")
        if len(block) < whole:
            block += self._file.read(offset + len(block), whole - len(block))
        data = block[_FRAME.size : _FRAME.size + length]
        if _CHECKSUM.unpack_from(block, _FRAME.size + length)[0] != _masked_checksum(data):
            raise self._error(offset, "its checksum is wrong; copy or fetch the file again")
        return data

    def offsets(self) -> Iterator[int]:
        """Where every record starts, in the file's order, found by reading the lengths alone."""
        offset = 0
        while offset < self._file.size:
            yield offset
            block = self._file.read(offset, _FRAME.size)
            if len(block) < _FRAME.size:
                raise self._error(offset, "the file ends within a record; copy or fetch it again")
            length, checksum = _FRAME.unpack(block)
            if checksum != _masked_checksum(block[:8]):
                raise self._error(offset, "no record starts here (its length's checksum is wrong)")
            offset += _FRAME.size + length + _CHECKSUM.size

    def feature(self, offset: int, name: str) -> bytes:
        """The bytes that the example at byte `offset` has as feature `name`; see `read`."""
        example = _new_example()
        try:
            example.ParseFromString(self.read(offset))
        except DecodeError as error:
            raise self._error(offset, f"no tf.train.Example ({error})") from error
        features = example.features.feature
        if name not in features or len(features[name].bytes_list.value) != 1:
            there = ", ".join(sorted(features)) or "none"
            raise self._error(offset, f"not one text of bytes as feature {name!r}; it has {there}")
        return features[name].bytes_list.value[0]

    def _error(self, offset: int, what: str) -> UserError:
        return UserError(f"{self.path}: record at byte {offset}: {what}")


def write_tfrecord(path: str | os.PathLike, examples: Iterable[dict[str, bytes]]) -> list[int]:
    """Writes a file of examples with features of bytes -> the byte where each of them starts."""
    offsets = []
    with epath.Path(path).open("wb") as file:
        for features in examples:
            example = _new_example()
            for name, value in features.items():
                example.features.feature[name].bytes_list.value.append(value)
            offsets.append(file.tell())
            file.write(frame(example.SerializeToString()))
    return offsets


def frame(data: bytes) -> bytes:
    """A record as it stands in a file."""
    length = struct.pack("<Q", len(data))
    checksums = (_CHECKSUM.pack(_masked_checksum(part)) for part in (length, data))
    return length + next(checksums) + data + next(checksums)


def _masked_checksum(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _new_example():
    # TFDS carries TensorFlow's message; imported here, as it is slow and others need no Example.
    from tensorflow_datasets.proto import tf_example_generated_pb2

    return tf_example_generated_pb2.Example()
