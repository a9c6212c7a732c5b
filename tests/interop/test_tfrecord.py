"""TFRecord files: byte by byte, and damaged in every way."""

import pickle
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddl_jax.errors import UserError
from ddl_jax.interop.tfrecord import TFRecordFile, write_tfrecord

IMAGE = b"\xff\xd8jpeg\xff\xd9"
# tf.train.Example(features={"image": [b"hi"]}): nested fields 1, each with its length.
EXAMPLE = b"\x0a\x11\x0a\x0f\x0a\x05image\x12\x06\x0a\x04\x0a\x02hi"


def crc32c(data: bytes) -> int:
    """The checksum bit by bit, from its polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(data: bytes) -> bytes:
    def masked(data):
        crc = crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def file(tmp_path, content: bytes) -> TFRecordFile:
    (tmp_path / "a.tfrecord").write_bytes(content)
    return TFRecordFile(tmp_path / "a.tfrecord")


def test_records_by_hand(tmp_path):
    assert crc32c(b"123456789") == 0xE3069283  # the checksum's own test value
    records = file(tmp_path, record(b"first") + record(EXAMPLE) + record(b""))
    assert records.read(0) == b"first"
    assert records.feature(5 + 16, "image") == b"hi"  # the stride is length + 16
    assert records.read(5 + 16 + len(EXAMPLE) + 16) == b""


def test_what_is_written_is_read_back(tmp_path):
    images = [IMAGE, b"", b"x" * 100_000]
    places = write_tfrecord(
        tmp_path / "a.tfrecord", [{"image": image, "name": b"n"} for image in images]
    )
    records = pickle.loads(pickle.dumps(TFRecordFile(tmp_path / "a.tfrecord")))
    assert [records.feature(place, "image") for place in places] == images


def test_the_writer_writes_those_bytes(tmp_path):
    write_tfrecord(tmp_path / "b.tfrecord", [{"image": b"hi"}])
    assert (tmp_path / "b.tfrecord").read_bytes() == record(EXAMPLE)


@pytest.mark.parametrize(
    "content, place, told",
    [
        (b"", 0, "beyond the file's end at byte 0"),
        (record(EXAMPLE), 1 << 40, "beyond the file's end at byte 35"),
        (record(EXAMPLE), 3, "no record starts here"),
        (record(EXAMPLE)[:10], 0, "the file ends within a record"),
        (record(EXAMPLE)[:-5], 0, "its last 5 of 35 bytes are not in the file"),
        (record(EXAMPLE)[:-1] + b"\0", 0, "its checksum is wrong"),
        (record(EXAMPLE).replace(b"hi", b"ho"), 0, "its checksum is wrong"),
        (record(b"\xff\xff"), 0, "no tf.train.Example"),
        (record(EXAMPLE.replace(b"image", b"imaga")), 0, "as feature 'image'; it has imaga"),
        (record(b""), 0, "as feature 'image'; it has none"),
    ],
)
def test_damage_is_told_with_file_and_byte(tmp_path, content, place, told):
    records = file(tmp_path, content)
    with pytest.raises(UserError) as caught:
        records.feature(place, "image")
    assert str(caught.value).startswith(f"{records.path}: record at byte {place}: ")
    assert told in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_damage_anywhere_is_told_in_one_line(tmp_path_factory, data):
    whole = record(EXAMPLE)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 8)))
    damaged = whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:]
    records = file(tmp_path_factory.getbasetemp(), damaged)
    try:
        assert records.feature(0, "image") == b"hi"  # the checksums let nothing else pass
    except UserError as error:
        assert str(error).startswith(records.path) and "\n" not in str(error)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=60))
def test_any_data_under_good_checksums(tmp_path_factory, data):
    records = file(tmp_path_factory.getbasetemp(), record(data))
    try:
        assert isinstance(records.feature(0, "image"), bytes)
    except UserError as error:
        assert str(error).startswith(records.path) and "\n" not in str(error)
