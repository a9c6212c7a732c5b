"""TFace's shards and lists as a source."""

import pathlib

import pytest

from ddl_jax.config import Data, Synthetic
from ddl_jax.data.open_source import open_source
from ddl_jax.data.tfrecord_source import TFRecordSource
from ddl_jax.errors import UserError
from ddl_jax.interop.tfrecord import write_tfrecord

from .image_files import encode, pixels

IMAGES = {
    (name, shard): [encode(pixels(f"{name} {shard} {n}"), ".jpg") for n in range(3)]
    for name, shard in (("TFR-easy", 0), ("TFR-easy", 1), ("TFR-hard", 0))
}


@pytest.fixture
def lines(tmp_path) -> list[list[str]]:
    """Shards below `tmp_path/shards` -> the columns of their list."""
    found = []
    for (name, shard), images in IMAGES.items():
        path = tmp_path / "shards" / name / f"{name}-{shard:05d}.tfrecord"
        path.parent.mkdir(parents=True, exist_ok=True)
        for n, offset in enumerate(write_tfrecord(path, [{"image": image} for image in images])):
            found.append([name, str(shard), str(offset), str(n)])
    return found


def _write(tmp_path, rows) -> str:
    path = tmp_path / "index" / "TFR-both.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return str(path)


def _open(tmp_path, rows, **options) -> TFRecordSource:
    return TFRecordSource(_write(tmp_path, rows), root=str(tmp_path / "shards"), **options)


def _refusal(tmp_path, rows, **options) -> str:
    with pytest.raises(UserError) as caught:
        _open(tmp_path, rows, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_image_comes_back_under_its_label(tmp_path, lines):
    source = _open(tmp_path, lines)
    assert [record["image"] for record in source] == sum(IMAGES.values(), [])
    assert source.index.labels.tolist() == [0, 1, 2] * 3
    assert source.index.paths[0] == "TFR-easy-00000/0"
    assert source.index.paths[7] == f"TFR-hard-00000/{lines[7][2]}"
    assert source[7] == {
        "image": IMAGES["TFR-hard", 0][1],
        "label": 1,
        "identity": "1",
        "path": f"TFR-hard-00000/{lines[7][2]}",
        "domain": "easy",
    }


def test_a_list_of_pairs_stands_for_its_images(tmp_path, lines):
    pairs = [lines[0] + lines[3], lines[0] + lines[6], lines[4] + lines[7]]
    source = _open(tmp_path, pairs)
    expected = [lines[n] for n in (0, 3, 6, 4, 7)]
    assert source.index.identities.tolist() == [row[3] for row in expected]
    assert source[4]["image"] == IMAGES["TFR-hard", 0][1]


def test_settings_choose_people_and_domains(tmp_path, lines):
    data = Data(
        source="tfrecord",
        path=_write(tmp_path, lines),
        root=str(tmp_path / "shards"),
        identities="1..2",
        domain_rules=("TFR-easy-*=easy", "*=hard"),
    )
    source = open_source(data, Synthetic())
    assert [record["domain"] for record in source] == ["easy"] * 4 + ["hard"] * 2
    assert source.index.labels.tolist() == [0, 1] * 3


def test_shards_may_be_beside_the_list(tmp_path, lines):
    path = tmp_path / "shards" / "TFR.txt"
    path.write_text("".join("\t".join(row) + "\n" for row in lines))
    assert len(TFRecordSource(str(path))) == 9


def test_a_damaged_record_is_told_with_file_and_byte_and_skipped_when_asked(tmp_path, lines):
    shard = tmp_path / "shards" / "TFR-easy" / "TFR-easy-00001.tfrecord"
    content = bytearray(shard.read_bytes())
    content[int(lines[4][2]) + 40] ^= 1
    shard.write_bytes(content[:-9])
    told = _refusal(tmp_path, lines)
    assert told.startswith(f"{shard}: record at byte {lines[4][2]}: its checksum is wrong")
    assert told.endswith("(2 such images)")
    source = _open(tmp_path, lines, corrupt="skip")
    assert len(source) == 7 and "line 5: TFR-easy-00001 at byte" in source.skipped[0]


@pytest.mark.parametrize(
    "row, told",
    [
        (["TFR-easy", "0", "0"], "line 10 has 3 columns; NAME shard offset label are due"),
        (["TFR-easy", "x", "0", "1"], "line 10: 'TFR-easy' 'x' '0' is not NAME shard offset"),
        (["TFR-easy", "0", "-1", "1"], "is not NAME shard offset"),
        (["TFR-easy", "0", "0", "nan"], "line 10: TFR-easy-00000 at byte 0 has label 'nan'"),
        (["TFR-easy", "0", "0", "2"], "line 10: TFR-easy-00000 at byte 0 has label '2', above '0'"),
        (["TFR-easy", "0", "999999", "1"], "record at byte 999999: beyond the file's end"),
        (["TFR-easy", "0", "1", "1"], "record at byte 1: no record starts here"),
        (["TFR-none", "0", "0", "1"], "TFR-none-00000.tfrecord cannot be read: No such file"),
    ],
)
def test_a_line_that_says_something_else_is_refused(tmp_path, lines, row, told):
    assert told in _refusal(tmp_path, [*lines, row])


def test_missing_shards_and_lists_are_refused(tmp_path, lines):
    assert "names no record" in _refusal(tmp_path, [])
    path = pathlib.Path(_write(tmp_path, lines))
    with pytest.raises(UserError, match=r"has no NAME/NAME-00000\.tfrecord"):
        TFRecordSource(str(path))
    path.unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        TFRecordSource(str(path), root=str(tmp_path / "shards"))
