"""RecordIO as MXNet writes it: byte by byte, through our writer, and damaged in every way."""

import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddl_jax.errors import UserError
from ddl_jax.interop import recordio, write_recordio

MAGIC = bytes.fromhex("0a23d7ce")  # 0xced7230a, as it stands in the file


def part(kind: int, payload: bytes) -> bytes:
    frame = MAGIC + struct.pack("<I", kind << 29 | len(payload))
    return frame + payload + b"\0" * (-len(payload) % 4)


def header(label: float, *labels: float, number: int = 0) -> bytes:
    return struct.pack(f"<IfQQ{len(labels)}f", len(labels), label, number, 0, *labels)


def file(tmp_path, content: bytes, name: str = "train.rec") -> recordio.RecordFile:
    (tmp_path / name).write_bytes(content)
    return recordio.RecordFile(tmp_path / name)


def test_records_whole_and_in_parts_by_hand(tmp_path):
    first = part(0, b"12345")  # 8 + 5, filled up to 16 bytes
    second = part(1, b"abcd") + part(2, b"") + part(2, b"efgh") + part(3, b"xyz")
    records = file(tmp_path, first + second + part(0, b""))
    assert list(records.places()) == [(0, True), (16, True), (16 + 12 + 8 + 12 + 12, True)]
    assert records.read(0) == b"12345"
    # Between parts stands the magic number for which the payload was cut.
    assert records.read(16) == b"abcd" + MAGIC + MAGIC + b"efgh" + MAGIC + b"xyz"
    assert records.read(60) == b""


def test_a_face_has_one_label_or_more(tmp_path):
    one, two = part(0, header(7) + b"jpeg"), part(0, header(0, 3, 5) + b"png")
    records = file(tmp_path, one + two)
    for place, labels, image in ((0, [7], b"jpeg"), (len(one), [3, 5], b"png")):
        face = records.face(place)
        assert face.labels.tolist() == labels and face.image == image


@given(st.binary(max_size=40), st.lists(st.integers(0, 10), max_size=4))
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
def test_any_payload_survives(tmp_path_factory, payload, places):
    for place in places:  # the magic number anywhere, at multiples of 4 and not
        payload = payload[:place] + MAGIC + payload[place:]
    records = file(
        tmp_path_factory.getbasetemp(), b"".join(recordio.frame(payload)) + part(0, b"x")
    )
    assert records.read(0) == payload
    assert records.read(list(records.places())[1][0]) == b"x"


def test_a_payload_longer_than_one_read(tmp_path):
    payload = np.random.default_rng(0).bytes(1 << 18)
    assert file(tmp_path, part(0, payload)).read(0) == payload


def test_what_is_written_has_insightfaces_layout(tmp_path):
    faces = [(0, b"a"), (0, b"bb"), (1, b"ccc"), (2, b"dddd"), (2, MAGIC)]
    path = write_recordio(tmp_path / "own faces é", faces, size=(112, 96))
    folder = tmp_path / "own faces é"
    assert sorted(p.name for p in folder.iterdir()) == ["property", "train.idx", "train.rec"]
    assert (folder / "property").read_text() == "3,112,96"
    assert recordio.read_property(folder / "property") == 3
    records, index = recordio.RecordFile(path), recordio.read_index(folder / "train.idx")
    np.testing.assert_array_equal(index, recordio.number_records(records))
    assert index[:, 0].tolist() == list(range(9))
    by_number = {number: records.face(offset) for number, offset in index.tolist()}
    # The header: identities are listed from record 6 to below 9; each with its faces' range.
    assert by_number[0].labels.tolist() == [6, 9] and by_number[0].image == b""
    assert [by_number[n].labels.tolist() for n in (6, 7, 8)] == [[1, 3], [3, 4], [4, 6]]
    assert [(int(by_number[n].labels[0]), by_number[n].image) for n in range(1, 6)] == faces
    assert recordio.face_records(records, index)[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_without_a_header_every_record_is_a_face(tmp_path):
    records = file(tmp_path, part(0, header(0) + b"a") + part(0, header(1, 1, 9) + b"b"))
    index = recordio.number_records(records)
    np.testing.assert_array_equal(recordio.face_records(records, index), index)
    np.testing.assert_array_equal(recordio.face_records(records, index[1:]), index[1:])


@pytest.mark.parametrize("faces", [(1 << 24) + 2, (1 << 24) + 5, (1 << 24) + 7])
def test_a_header_that_float32_rounds_loses_no_face(tmp_path, faces):
    """17 million faces, as Glint360K has them: only those around the end are in the file."""
    end = faces + 1
    content, rows = b"", []
    numbers = [0, 1, *range(end - 3, end + 3)]
    for number in numbers:
        rows.append((number, len(content)))
        image = b"" if number in (0, end, end + 1, end + 2) else b"jpeg"
        content += part(0, (header(0, end, end + 3) if not number else header(5)) + image)
    records = file(tmp_path, content)
    found = recordio.face_records(records, np.array(rows))
    assert found[:, 0].tolist() == [1, end - 3, end - 2, end - 1]


@pytest.mark.parametrize(
    "content, place, told",
    [
        (b"", 0, "beyond the file's end at byte 0"),
        (part(0, b"1234"), 12, "beyond the file's end at byte 12"),
        (part(0, b"1234"), 1 << 40, "beyond the file's end at byte 12"),
        (part(0, b"1234"), -1, "beyond the file's end"),
        (part(0, b"1234"), 4, "no record starts here (0x00000004 is not 0xced7230a)"),
        (part(0, b"1234"), 8, "the file ends within a record"),
        (
            MAGIC + b"\xff\xff\xff\x1f",
            0,
            "its last 536870911 of 536870911 bytes are not in the file",
        ),
        (part(1, b"abcd"), 0, "the file ends within a record"),
        (part(1, b"abcd") + part(0, b""), 0, "a part of kind 0 is out of place"),
        (part(3, b"abcd"), 0, "a part of kind 3 is out of place"),
        (part(5, b"abcd"), 0, "a part of kind 5 is out of place"),
        (part(0, b"short"), 0, "a payload of 5 bytes has no header of a face"),
        (part(0, struct.pack("<IfQQ", 1 << 31, 0, 0, 0)), 0, "2147483648 labels do not fit"),
    ],
)
def test_damage_is_told_with_file_and_byte(tmp_path, content, place, told):
    records = file(tmp_path, content)
    with pytest.raises(UserError) as caught:
        records.face(place)
    assert str(caught.value).startswith(f"{records.path}: record at byte ")
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("0 0\n1 8\n", "is not NUMBER<tab>OFFSET"),
        ("0\t0\t0\n", "3 columns"),
        ("1\tx\n", "'x'"),
        ("0\t0\n3\t8\n3\t9\n", "record 3 stands there twice"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path, text, told):
    (tmp_path / "train.idx").write_text(text)
    with pytest.raises(UserError) as caught:
        recordio.read_index(tmp_path / "train.idx")
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "train.idx"))


@pytest.mark.parametrize("text", ["", "85742", "a,112,112", "0,112,112", "-5,112,112", "1,2,3,4"])
def test_properties_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "property").write_text(text)
    with pytest.raises(UserError, match=r"not CLASSES,HEIGHT,WIDTH"):
        recordio.read_property(tmp_path / "property")


@pytest.mark.parametrize("line", ["1", "1\tx", "1\t-8", "-1\t8", "1\tnan", "1\t" + "9" * 20, "\0"])
def test_a_line_that_is_none_is_a_row_of_its_own(tmp_path, line):
    (tmp_path / "train.idx").write_text(f"0\t0\n\n{line}\n7\t40\n")
    index = recordio.read_index(tmp_path / "train.idx")
    assert index.tolist() == [[0, 0], [-3, -1], [7, 40]]


@pytest.mark.parametrize(
    "faces, told",
    [
        ([], "no face to write"),
        ([(1, b"a")], "face 1 has label 1, 0 is due"),
        ([(0, b"a"), (2, b"b")], "face 2 has label 2, 0 or 1 is due"),
        ([(0, b"a"), (1, b"b"), (0, b"c")], "face 3 has label 0, 1 or 2 is due"),
        ([(-1, b"a")], "face 1 has label -1"),
        ([("0", b"a")], "face 1 has label '0'; a whole number from 0 is due"),
        ([(0.0, b"a")], "face 1 has label 0.0; a whole number"),
        ([(True, b"a")], "face 1 has label True; a whole number"),
        ([(0, b"a"), (0, b"")], "face 2 has an image of no bytes; leave it out"),
        ([(0, "a.jpg")], "face 1 is str, no bytes; give the contents"),
        ([(0, np.zeros((2, 2, 3), np.uint8))], "face 1 is ndarray, no bytes; give the contents"),
    ],
)
def test_faces_out_of_order_are_not_written(tmp_path, faces, told):
    with pytest.raises(UserError) as caught:
        write_recordio(tmp_path, faces)
    assert told in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_written_set_is_never_overwritten(tmp_path):
    path = write_recordio(tmp_path, [(0, b"a")])
    before = recordio.RecordFile(path).face(32 + 8).image
    with pytest.raises(UserError, match=r"train\.rec exists"):
        write_recordio(tmp_path, [(0, b"b")])
    assert recordio.RecordFile(path).face(32 + 8).image == before == b"a"


def test_a_file_travels_to_other_processes(tmp_path):
    records = file(tmp_path, part(0, b"1234"))
    assert pickle.loads(pickle.dumps(records)).read(0) == records.read(0) == b"1234"


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_damage_anywhere_is_told_in_one_line_or_harmless(tmp_path_factory, data):
    """Bytes changed, cut or put in at random: records, or a UserError; never anything else."""
    faces = (
        part(0, header(0, 3, 4)) + part(0, header(0) + b"ab") + part(1, header(0)) + part(3, b"x")
    )
    start = data.draw(st.integers(0, len(faces)))
    end = data.draw(st.integers(start, min(len(faces), start + 8)))
    damaged = faces[:start] + data.draw(st.binary(max_size=8)) + faces[end:]
    records = file(tmp_path_factory.getbasetemp(), damaged, "damaged.rec")
    try:
        index = recordio.number_records(records)
        assert len(index) <= len(damaged) // 4 + 1
        for _, place in recordio.face_records(records, index).tolist():
            assert len(records.face(place).image) <= len(damaged)
    except UserError as error:
        assert str(error).startswith(records.path) and "\n" not in str(error)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.one_of(st.binary(max_size=40), st.text("0123456789\t\n .-+ex#\"'\r\0", max_size=40)))
def test_any_index_is_read_or_told_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        index = recordio.read_index(path)
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert index.shape[1] == 2 and (index[:, 0] >= 0).any()
        assert (index[index[:, 0] < 0, 1] == -1).all() and index.dtype == np.int64
