"""insightface's train.rec as a source, from the library and from the settings."""

import pathlib
import re

import numpy as np
import pytest

from ddl_jax.config import Data, Synthetic
from ddl_jax.data.augment import Augment
from ddl_jax.data.open_source import open_source
from ddl_jax.data.pipeline import HostBatches, batches
from ddl_jax.data.sampling import ImageSampler
from ddl_jax.errors import UserError
from ddl_jax.interop import RecordIOSource, recordio, write_recordio

from .image_files import encode, pixels

FACES = [
    (person, encode(pixels(f"{person}.{n}"), ".jpg")) for person in range(12) for n in range(2)
]


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    place = tmp_path / "ms1m é 112"
    write_recordio(place, FACES)
    return place


def _refusal(place, **options) -> str:
    with pytest.raises(UserError) as caught:
        RecordIOSource(place, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _open(place, **settings):
    return open_source(Data(source="recordio", path=str(place), **settings), Synthetic())


def _offset(folder, number: int) -> int:
    index = recordio.read_index(folder / "train.idx")
    return int(index[index[:, 0] == number, 1][0])


def _overwrite(folder, place: int, content: bytes) -> None:
    with (folder / "train.rec").open("r+b") as file:
        file.seek(place)
        file.write(content)


def test_every_face_comes_back_under_its_label(folder):
    source = RecordIOSource(folder)
    assert len(source) == 24 and source.index.classes == 12
    for number, (label, image) in enumerate(FACES):
        assert source[number] == {
            "image": image,
            "label": label,
            "identity": str(label),
            "path": f"{label}/{number + 1}",  # record 0 is the header
            "domain": "easy",
        }
    assert source.index.labels.tolist() == [label for label, _ in FACES]


def test_the_index_the_properties_and_the_folder_may_be_left_out(folder):
    expected = RecordIOSource(folder).index.fingerprint()
    assert RecordIOSource(folder / "train.rec").index.fingerprint() == expected
    (folder / "train.idx").unlink()
    (folder / "property").unlink()
    assert RecordIOSource(str(folder)).index.fingerprint() == expected


def test_another_word_for_what_to_do_with_corrupt_images_is_refused(folder):
    assert "corrupt='skipp' is neither 'refuse' nor 'skip'" in _refusal(folder, corrupt="skipp")


def test_an_index_of_some_records_is_a_cleaned_set(folder):
    lines = (folder / "train.idx").read_text().splitlines()
    del lines[3:5]  # person 1, whole
    (folder / "train.idx").write_text("\n".join(lines))
    source = RecordIOSource(folder)
    assert len(source) == 22
    assert source.index.identities.tolist()[:3] == ["0", "0", "2"]
    assert source.index.labels.tolist()[:3] == [0, 0, 1]  # without a gap


def test_settings_choose_people_and_domains(folder, tmp_path):
    chosen = _open(folder, identities="2..3,11", domain_rules=("2/*=easy", "*=hard"))
    assert chosen.index.identities.tolist() == ["2", "2", "3", "3", "11", "11"]
    assert chosen.index.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [record["domain"] for record in chosen] == ["easy"] * 2 + ["hard"] * 4
    assert chosen[4]["image"] == FACES[22][1] and chosen[4]["label"] == 2
    table = tmp_path / "table.csv"
    paths = RecordIOSource(folder).index.paths
    table.write_text("path,kind\n" + "".join(f"{path},k{n % 2}\n" for n, path in enumerate(paths)))
    by_table = _open(folder, metadata=str(table), domain_column="kind")
    assert by_table.index.domains.tolist() == ["k0", "k1"] * 12


def _set_label(folder, number: int, label: float) -> int:
    place = _offset(folder, number)
    _overwrite(folder, place + 8 + 4, np.float32(label).tobytes())
    return place


@pytest.mark.parametrize("label", [1e9, float("nan"), -1.0, 2.5, float("inf"), 12.0])
@pytest.mark.parametrize("properties", [True, False])
def test_a_label_that_is_no_class_is_refused_or_skipped(folder, label, properties):
    place = _set_label(folder, 5, label)
    if not properties:
        (folder / "property").unlink()
        if label == 12.0:
            assert RecordIOSource(folder).index.classes == 13  # nothing says that it is too high
            return
    told = _refusal(folder)
    assert told.startswith(f"{folder}/train.rec: record 5 at byte {place} has label {label:g}")
    source = RecordIOSource(folder, corrupt="skip")
    assert source.skipped == [f"{folder}/train.rec: record 5 at byte {place}"]
    assert len(source) == 23 and source.index.labels[4] == 2


def test_bad_records_are_told_with_file_and_byte_and_skipped_when_asked(folder, caplog):
    first, second, third = (_offset(folder, number) for number in (3, 9, 24))
    _overwrite(folder, first, b"\0\0\0\0")  # the magic number
    _overwrite(folder, second + 8 + 24, b"\0" * 60)  # the image
    index = (folder / "train.idx").read_text().replace(f"24\t{third}", "24\t99999999")
    (folder / "train.idx").write_text(index)
    told = _refusal(folder)
    assert told.startswith(f"{folder}/train.rec: record at byte {first}: no record starts here")
    assert told.endswith("(3 such images)")
    source = _open(folder, corrupt="skip")
    assert len(source) == 21
    assert f"train.rec: record 9 at byte {second}" in source.skipped[1]
    assert "record 24 at byte 99999999" in source.skipped[2]
    assert "skipped 3 unreadable images" in caplog.text


def test_a_file_that_was_cut_is_told_with_the_byte(folder):
    size = (folder / "train.rec").stat().st_size
    place = _offset(folder, 20)
    with (folder / "train.rec").open("r+b") as file:
        file.truncate(place + 100)
    assert f"record at byte {place}: its last" in _refusal(folder)
    assert len(RecordIOSource(folder, corrupt="skip")) == 19
    assert size > place
    (folder / "train.idx").unlink()
    assert f"record at byte {place}: its last" in _refusal(folder)
    cut = RecordIOSource(folder, corrupt="skip")
    assert len(cut) == 19 and cut.skipped == [f"{folder}/train.rec: record 20 at byte {place}"]


@pytest.mark.parametrize("index", [True, False])
def test_damage_costs_the_records_it_lies_in_and_no_other(folder, index):
    """Numbers, and with them paths, stay those of the whole file, with and without its index."""
    whole = RecordIOSource(folder).index.paths.tolist()
    lost = _offset(folder, 7), _offset(folder, 9)
    if not index:
        (folder / "train.idx").unlink()
    # The end of record 7, all of 8, the start of 9; and one bit of the length of record 20.
    _overwrite(folder, lost[0] + 60, b"\xff" * (lost[1] + 30 - lost[0] - 60))
    source = RecordIOSource(folder, corrupt="skip")
    assert source.index.paths.tolist() == [*whole[:6], *whole[9:]]
    assert len(source.skipped) == (3 if index else 2)  # 8 and 9 are one place without an index


@pytest.mark.parametrize("change", [-8, 4, 1 << 20])
def test_a_wrong_length_hides_one_record_at_most(folder, change):
    whole, place = RecordIOSource(folder).index.paths.tolist(), _offset(folder, 5)
    length = int.from_bytes((folder / "train.rec").read_bytes()[place + 4 : place + 8], "little")
    (folder / "train.idx").unlink()
    _overwrite(folder, place + 4, (length + change).to_bytes(4, "little"))
    source = RecordIOSource(folder, corrupt="skip")
    assert set(whole) - set(source.index.paths.tolist()) <= {"2/5", "2/6"}
    assert source.skipped


@pytest.mark.parametrize("index", [True, False])
def test_a_damaged_header_is_one_unreadable_record(folder, index):
    whole = RecordIOSource(folder).index.paths.tolist()
    if not index:
        (folder / "train.idx").unlink()
    for content in (b"\0\0\0\0", b"\x0a\x23\xd7\xce"):  # no magic number; then no sense
        _overwrite(folder, 0, content)
        _overwrite(folder, 32, np.array([np.nan], "<f4").tobytes())
        assert "such images" not in _refusal(folder)  # it alone
        source = RecordIOSource(folder, corrupt="skip")
        assert source.index.paths.tolist() == whole
        assert source.skipped == [f"{folder}/train.rec: record 0 at byte 0"]


def test_an_index_without_the_header_has_no_identities_for_faces(folder):
    expected = RecordIOSource(folder).index.fingerprint()
    lines = (folder / "train.idx").read_text().splitlines(keepends=True)
    (folder / "train.idx").write_text("".join(lines[1:]))
    assert RecordIOSource(folder).index.fingerprint() == expected


def test_a_bad_line_of_the_index_is_told_or_skipped_and_counted(folder):
    lines = (folder / "train.idx").read_text().splitlines(keepends=True)
    lines[4] = "4\t8x1\n"
    (folder / "train.idx").write_text("".join(lines))
    assert _refusal(folder).startswith(f"{folder}/train.idx line 5 is not NUMBER<tab>OFFSET; ")
    source = RecordIOSource(folder, corrupt="skip")
    assert len(source) == 23 and source.skipped == [f"{folder}/train.idx line 5"]


def test_a_face_without_an_image_is_told(folder):
    content = b"".join(b"".join(recordio.frame(b"\0" * 24)) for _ in range(2))
    (folder / "train.rec").write_bytes(content)
    (folder / "train.idx").unlink()
    assert re.search(r"record 0 at byte 0 is not a readable image.* \(2 such", _refusal(folder))
    assert "none of the 2 images is readable" in _refusal(folder, corrupt="skip")


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda place: place / "nothing", "is no .rec file"),
        (lambda place: place / "no.rec", "no file"),
        (lambda place: place, "train.rec"),
        (lambda place: _write(place / "empty.rec", b""), "has no face among its 0 records"),
        (
            lambda place: _write(place / "a.rec", b"PK\3\4 a zip file"),
            "record at byte 0: no record",
        ),
    ],
)
def test_a_path_that_leads_to_no_records_is_refused(tmp_path, make, told):
    assert told in _refusal(make(tmp_path))


def _write(path: pathlib.Path, content: bytes) -> pathlib.Path:
    path.write_bytes(content)
    return path


def test_batches_are_the_same_from_threads_and_worker_processes(folder):
    """Reading by place shares no position in the file, whoever reads at the same time."""
    source = _open(folder, domain_rules=("1*=easy", "*=hard"))
    sampler = ImageSampler(np.arange(len(source)), batch_size=8, seed=0)
    rows = HostBatches(source, sampler, size=(16, 16), augment=Augment(seed=0), steps=6)
    read = []
    for workers in (0, 2):
        iterator = batches(rows, step=0, workers=workers)
        try:
            read.append(list(iterator))
        finally:
            iterator.close()
    assert len(read[0]) == len(read[1]) == 6
    for one, other in zip(*read):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"])


def test_only_identities_in_a_file_are_no_faces(folder):
    index = recordio.read_index(folder / "train.idx")
    rows = [row for row in index.tolist() if row[0] == 0 or row[0] > 24]
    (folder / "train.idx").write_text("".join(f"{number}\t{place}\n" for number, place in rows))
    assert "has no face among its 13 records" in _refusal(folder)
