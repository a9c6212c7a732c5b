"""MXNet's RecordIO as insightface packs faces in it: `train.rec`, `train.idx`, `property`.

A record is `uint32 magic, uint32 kind << 29 | length, payload`, filled up to 4 bytes, all
little-endian. Where the magic number stands in a payload (at a multiple of 4) the payload is cut:
the kinds are 0 a whole one, 1 its first, 2 a middle and 3 its last part, with the magic left out
between them. A face's payload is `uint32 flag, float32 label, uint64 id, uint64 id2`, then `flag`
float32 labels in place of the header's, then the encoded image.
"""

import contextlib
import io
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.files import replacing
from ddl_jax.interop.random_access import RandomAccessFile

_MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", _MAGIC)
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_MAX_PART = (1 << 29) - 1
_INDEX_NUMBER = re.compile(r"\d{1,18}", re.ASCII)  # fits into int64
_EXACT = 1 << 24  # above it a float32 does not hold every whole number
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_LEAST = _FRAME.size + _HEADER.size  # bytes of a record
_SEARCHED = 1 << 20  # bytes at once where a record is looked for; a multiple of 4
_BLOCK = 1 << 14  # most faces fit: one read brings frame and payload


class Face(NamedTuple):
    """A record's payload: its label numbers, and the encoded image, empty where there is none."""

    labels: np.ndarray
    image: bytes


class RecordFile:
    """The records of a `.rec` file by their place in it; picklable, safe in several threads."""

    def __init__(self, path: str | os.PathLike):
        self._file = RandomAccessFile(path)
        self.path = self._file.path

    def read(self, offset: int) -> bytes:
        """The payload of the record that starts at byte `offset`.

        Raises:
          UserError: no whole record starts there.
        """
        return self._record(offset)[0]

    def face(self, offset: int) -> Face:
        """The record at byte `offset` as labels and image; see `read`."""
        payload = self.read(offset)
        if len(payload) < _HEADER.size:
            raise self._error(offset, f"a payload of {len(payload)} bytes has no header of a face")
        flag, label, _, _ = _HEADER.unpack_from(payload)
        start = _HEADER.size + 4 * flag
        if len(payload) < start:
            raise self._error(offset, f"{flag} labels do not fit into {len(payload)} bytes")
        labels = np.array([label], np.float32)
        if flag:
            labels = np.frombuffer(payload, "<f4", flag, _HEADER.size)
        return Face(labels, payload[start:])

    def places(self) -> Iterator[tuple[int, bool]]:
        """Where every record starts, in the file's order, found by reading the frames alone.

        The second value tells that there is a whole record. What is none is one place, its first
        byte, however long it is: the next place is where a record starts again.
        """
        offset = 0
        while offset < self._file.size:
            try:
                kind, _, after = self._part(offset, first=True)
                while kind in (_FIRST, _MIDDLE):
                    kind, _, after = self._part(after, first=False)
            except UserError:
                yield offset, False
                offset = self._next_start(offset + 4)
            else:
                yield offset, True
                offset = after

    def number_at(self, offset: int) -> int:
        """The number that a record gives itself: its id; -1 if it has none."""
        payload = self.read(offset)
        return _HEADER.unpack_from(payload)[2] if len(payload) >= _HEADER.size else -1

    def _next_start(self, offset: int) -> int:
        """The first byte from `offset` on at which a record starts, or the file's end.

        At multiples of 4 the magic number is nowhere but in a frame.
        """
        offset += -offset % 4
        while block := self._file.read(offset, _SEARCHED):
            found = block.find(_MAGIC_BYTES)
            while found >= 0:
                if found % 4 == 0 and self._starts(offset + found):
                    return offset + found
                found = block.find(_MAGIC_BYTES, found + 1)
            offset += len(block)
        return self._file.size

    def _starts(self, offset: int) -> bool:
        try:
            self._part(offset, first=True)
        except UserError:
            return False
        return True

    def _record(self, offset: int) -> tuple[bytes, int]:
        """A record's payload, and where the next one starts."""
        if not 0 <= offset < self._file.size:
            raise self._error(offset, f"beyond the file's end at byte {self._file.size}")
        kind, payload, after = self._part(offset, first=True, contents=True)
        if kind == _WHOLE:
            return payload, after
        parts = [payload]
        while kind != _LAST:
            kind, payload, after = self._part(after, first=False, contents=True)
            parts.append(payload)
        return _MAGIC_BYTES.join(parts), after

    def _part(self, offset: int, *, first: bool, contents: bool = False) -> tuple[int, bytes, int]:
        """A part's kind, its bytes if `contents`, and where the next part starts."""
        block = self._file.read(offset, _BLOCK if contents else _FRAME.size)
        if len(block) < _FRAME.size:
            raise self._error(offset, "the file ends within a record; copy or fetch it again")
        magic, kind_and_length = _FRAME.unpack_from(block)
        if magic != _MAGIC:
            raise self._error(offset, f"no record starts here ({magic:#010x} is not {_MAGIC:#x})")
        kind, length = kind_and_length >> 29, kind_and_length & _MAX_PART
        if kind not in ((_WHOLE, _FIRST) if first else (_MIDDLE, _LAST)):
            raise self._error(offset, f"a part of kind {kind} is out of place; fetch it again")
        start, end = offset + _FRAME.size, offset + _FRAME.size + length
        if end > self._file.size:
            missing = end - self._file.size
            raise self._error(offset, f"its last {missing} of {length} bytes are not in the file")
        payload = b""
        if contents:
            payload = block[_FRAME.size : _FRAME.size + length]
            if len(payload) < length:
                payload += self._file.read(start + len(payload), length - len(payload))
        return kind, payload, end + -end % 4

    def _error(self, offset: int, what: str) -> UserError:
        return UserError(f"{self.path}: record at byte {offset}: {what}")


def read_index(path: str | os.PathLike) -> np.ndarray:
    """An `.idx` file as `[n, 2]` int64: the number of every record, the byte where it starts.

    A line that is not `NUMBER<tab>OFFSET` is the row `(-line number, -1)`.

    Raises:
      UserError: no such line at all, or a number twice.
    """
    name = os.fspath(path)
    try:
        text = epath.Path(path).read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error}") from error
    if not text.strip():
        raise UserError(f"{name} is empty; remove it, and the records are found without it")
    try:
        lines = io.StringIO(text)
        index = np.loadtxt(lines, np.int64, delimiter="\t", comments=None, ndmin=2)
        if index.shape[1] != 2 or index.min() < 0:
            raise ValueError(f"{index.shape[1]} columns, lowest number {index.min()}")
    except (ValueError, OverflowError) as error:
        index = _line_by_line(text)
        if not (index[:, 0] >= 0).any():
            told = str(error).splitlines()[0]
            raise UserError(f"{name} is not NUMBER<tab>OFFSET in any line: {told}") from error
    numbers, counts = np.unique(index[:, 0], return_counts=True)
    if counts.max() > 1:
        raise UserError(f"{name}: record {numbers[counts.argmax()]} stands there twice")
    return index


def _line_by_line(text: str) -> np.ndarray:
    """The rows of an index in which something is wrong."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        parts = line.strip().split("\t")
        good = len(parts) == 2 and all(map(_INDEX_NUMBER.fullmatch, parts))
        if line.strip():
            rows.append(tuple(map(int, parts)) if good else (-number, -1))
    return np.array(rows, np.int64).reshape(-1, 2)


def number_records(records: RecordFile) -> np.ndarray:
    """As `read_index`, of a file that has none: records are numbered from 0 in their order.

    A damaged place is one record, which cannot be read. How many it was is told by the number that
    the next one gives itself, if so many have room there.
    """
    return np.fromiter(_numbered(records), np.dtype((np.int64, 2)))


def _numbered(records: RecordFile) -> Iterator[tuple[int, int]]:
    number, lost = 0, None  # the first damaged place since the last whole record, and its number
    for offset, whole in records.places():
        if whole and lost is not None:
            first, start = lost
            own = records.number_at(offset)
            number = own if first <= own <= first + (offset - start) // _LEAST else number
            lost = None
        elif not whole and lost is None:
            lost = number, offset
        yield number, offset
        number += 1


def face_records(records: RecordFile, index: np.ndarray) -> np.ndarray:
    """The rows of an index that are faces.

    insightface's record 0 is a header: a flag above 0, no image, and two labels, the range of the
    records that list identities. Faces are then the records from 1 to below that range. Without
    such a header every record is a face but the last ones, where they list identities. A header
    that cannot be read, or makes no sense, is a face that cannot be read.
    """
    header = index[index[:, 0] == 0]
    if not len(header):
        return _before_identities(records, index)
    try:
        labels, image = records.face(int(header[0, 1]))
    except UserError:
        return _before_identities(records, index)
    if image or len(labels) < 2:
        return index
    end = float(labels[0])
    if not 1 < end < 2**63 or end % 1:
        return _before_identities(records, index)
    sure = int(end)
    faces = (index[:, 0] >= 1) & (index[:, 0] < sure)
    if sure > _EXACT:
        # The header's own number is rounded, by one in a file like Glint360K: what is around it
        # shows by its image which side it is on.
        for row in np.flatnonzero(np.abs(index[:, 0] - sure) <= np.spacing(labels[0]) / 2):
            faces[row] = bool(records.face(int(index[row, 1])).image)
    return index[faces]


def _before_identities(records: RecordFile, index: np.ndarray) -> np.ndarray:
    """The rows without those at the end that have a range and no image, as identities have."""
    faces = np.ones(len(index), bool)
    for row in np.argsort(-index[:, 0], kind="stable"):
        try:
            labels, image = records.face(int(index[row, 1]))
        except UserError:  # of whichever kind: it is told when images are checked
            continue
        if image or len(labels) < 2:
            break
        faces[row] = index[row, 0] == 0
    return index[faces]


def read_property(path: str | os.PathLike) -> int:
    """The number of classes in a `property` file, `classes,height,width`."""
    try:
        text = epath.Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{os.fspath(path)} cannot be read: {error}") from error
    parts = text.strip().split(",")
    if not (len(parts) == 3 and all(part.strip().isdecimal() for part in parts) and int(parts[0])):
        raise UserError(
            f"{os.fspath(path)} is {text[:60]!r}, not CLASSES,HEIGHT,WIDTH; correct or remove it"
        )
    return int(parts[0])


def write_recordio(
    folder: str | os.PathLike,
    faces: Iterable[tuple[int, bytes]],
    *,
    size: tuple[int, int] = (112, 112),
) -> str:
    """Writes `train.rec`, `train.idx` and `property` as insightface's trainers read them.

    Args:
      folder: for the files, made where it is missing.
      faces: `(label, encoded image)`, those of an identity one after the other, labels counting
        from 0: that is how insightface's lists of identities name their images.
      size: `(height, width)` of the images, for `property`.

    Returns:
      The path of `train.rec`.

    Raises:
      UserError: labels out of order or no whole numbers, no face, one that is no encoded image,
        files that exist or cannot be written.
    """
    place = epath.Path(folder)
    targets = [place / name for name in ("train.rec", "train.idx", "property")]
    for target in targets:
        if target.exists():
            raise UserError(f"{target} exists; give another folder or remove it")
    try:
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:  # train.rec is there last
            made = [held.enter_context(replacing(target)) for target in targets]
            with made[0].open("wb") as records, made[1].open("w") as index:
                classes = _write_faces(_Writer(records, index), faces, os.fspath(targets[0]))
            made[2].write_text(f"{classes},{size[0]},{size[1]}")
    except OSError as error:
        raise UserError(
            f"{os.fspath(folder)} cannot be written: {error.strerror or error}"
        ) from error
    return os.fspath(targets[0])


class _Writer:
    """Appends records and their index lines."""

    def __init__(self, records, index):
        self._records, self._index, self._offset = records, index, 0

    def append(self, number: int, labels: Sequence[float], image: bytes = b"") -> None:
        self._index.write(f"{number}\t{self._offset}\n")
        if len(labels) == 1:
            payload = _HEADER.pack(0, labels[0], number, 0) + image
        else:
            header = _HEADER.pack(len(labels), 0.0, number, 0)
            payload = header + np.array(labels, "<f4").tobytes() + image
        for part in frame(payload):
            self._records.write(part)
            self._offset += len(part)

    def fill_header(self, labels: Sequence[float]) -> None:
        """Writes record 0 once more, which is known only at the end."""
        self._records.seek(0)
        self._offset = 0
        header = _HEADER.pack(len(labels), 0.0, 0, 0) + np.array(labels, "<f4").tobytes()
        self._records.write(b"".join(frame(header)))


def frame(payload: bytes) -> Iterator[bytes]:
    """A payload as the parts of one record, each with its frame and filled up to 4 bytes."""
    cuts, start = [], 0
    while (start := payload.find(_MAGIC_BYTES, start)) >= 0:
        if start % 4 == 0:
            cuts.append(start)
            start += 4
        else:
            start += 1
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
    for number, (start, end) in enumerate(zip(starts, ends)):
        kind = _MIDDLE if cuts else _WHOLE
        if cuts and number in (0, len(cuts)):
            kind = _LAST if number else _FIRST
        if end - start > _MAX_PART:
            raise UserError(f"a record of {end - start} bytes; RecordIO takes {_MAX_PART} at most")
        yield _FRAME.pack(_MAGIC, kind << 29 | (end - start))
        yield payload[start:end] + b"\0" * (-(end - start) % 4)


def _check_face(label: Any, image: Any, where: str) -> None:
    """Refuses what our own reader, or insightface's, would not read."""
    if isinstance(label, bool) or not isinstance(label, int | np.integer):
        raise UserError(f"{where} has label {label!r}; a whole number from 0 is due")
    if not isinstance(image, bytes | bytearray):
        kind = type(image).__name__
        raise UserError(f"{where} is {kind}, no bytes; give the contents of a JPEG or PNG file")
    if not image:
        raise UserError(f"{where} has an image of no bytes; leave it out")


def _write_faces(writer: _Writer, faces: Iterable[tuple[int, bytes]], path: str) -> int:
    """Header, faces, then a record for each identity with the range of its faces -> classes."""
    writer.append(0, (0.0, 0.0))
    firsts: list[int] = []
    number = 0
    for number, (label, image) in enumerate(faces, 1):
        _check_face(label, image, f"{path}: face {number}")
        if label not in (len(firsts) - 1, len(firsts)) or label < 0:
            due = f"{len(firsts) - 1} or {len(firsts)}" if firsts else "0"
            raise UserError(f"{path}: face {number} has label {label}, {due} is due; sort them")
        if label == len(firsts):
            firsts.append(number)
        writer.append(number, (float(label),), image)
    if not firsts:
        raise UserError(f"{path}: no face to write")
    end = number + 1
    for identity, (first, last) in enumerate(zip(firsts, [*firsts[1:], end])):
        writer.append(end + identity, (float(first), float(last)))
    writer.fill_header((float(end), float(end + len(firsts))))
    return len(firsts)
