"""What is kept of the reading: used while the files are the same, and never otherwise."""

import concurrent.futures
import os
import pathlib
import pickle
import shutil
import time

import numpy as np
import pytest

from ddl_jax.data import catalogue, scan
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.list_source import ListSource
from ddl_jax.data.prepare import prepare
from ddl_jax.data.recordio_source import RecordIOSource
from ddl_jax.data.tfds_source import open_tfds
from ddl_jax.data.tfrecord_source import TFRecordSource
from ddl_jax.errors import UserError
from ddl_jax.interop import write_recordio
from ddl_jax.interop.tfrecord import write_tfrecord

from .image_files import encode, pixels, write_faces


def _folder(place: pathlib.Path):
    write_faces(place, 3)
    return lambda: ImageFolderSource(str(place)), place / "1/easy/0.png"


def _list(place: pathlib.Path):
    write_faces(place, 3)
    lines = [f"{path.relative_to(place)}\t{path.parts[-3]}" for path in place.rglob("*.png")]
    (place / "list.tsv").write_text("\n".join(lines))
    return lambda: ListSource(str(place / "list.tsv")), place / "1/easy/0.png"


def _recordio(place: pathlib.Path):
    write_recordio(place, [(n // 2, encode(pixels(str(n)))) for n in range(6)])
    return lambda: RecordIOSource(place), place / "train.rec"


def _tfrecord(place: pathlib.Path):
    (place / "TFR").mkdir()
    shard = place / "TFR" / "TFR-00000.tfrecord"
    offsets = write_tfrecord(shard, [{"image": encode(pixels(str(n)))} for n in range(6)])
    lines = [f"TFR\t0\t{offset}\t{n // 2}\n" for n, offset in enumerate(offsets)]
    (place / "TFR.txt").write_text("".join(lines))
    return lambda: TFRecordSource(str(place / "TFR.txt")), shard


def _tfds(place: pathlib.Path):
    write_faces(place / "faces", 3)
    directory = str(
        prepare(ImageFolderSource(str(place / "faces")), str(place / "packed"), "faces")
    )
    return lambda: open_tfds(directory, "train"), next(
        pathlib.Path(directory).glob("*array_record*")
    )


@pytest.fixture(params=[_folder, _list, _recordio, _tfrecord, _tfds])
def made(request, tmp_path):
    """How to open a data set of 6 images and 3 identities, and one of the files that it is in."""
    return request.param(tmp_path)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the images that are decoded from now on."""
    names = []
    decode = scan.decode_image
    monkeypatch.setattr(
        scan, "decode_image", lambda image, name: (names.append(name), decode(image, name))
    )
    return names


def test_records_are_read_once(made, decoded):
    open_it, _ = made
    first = open_it()
    assert len(decoded) == 6 == len(first) and first.index.classes == 3
    again = open_it()
    assert len(decoded) == 6  # not once more
    assert again.index.fingerprint() == first.index.fingerprint()
    assert [again[n] for n in range(6)] == [first[n] for n in range(6)]
    with pytest.raises(IndexError):
        again[6]


def test_a_file_that_was_touched_is_read_again(made, decoded):
    open_it, file = made
    open_it()
    later = time.time() + 10
    os.utime(file, (later, later))
    open_it()
    assert len(decoded) == 12


def test_a_source_travels_without_its_index_and_works_there(made):
    source = made[0]()
    whole = [source[number] for number in range(len(source))]
    content = pickle.dumps(source)
    assert source.index.checksums.tobytes() not in content
    there = pickle.loads(content)
    assert "index" not in vars(there)
    assert [there[number] for number in range(len(there))] == whole
    assert there.index.fingerprint() == source.index.fingerprint()


def test_what_is_found_does_not_depend_on_how_many_look(made, monkeypatch):
    fingerprint = made[0]().index.fingerprint()
    _forget(made[1])
    monkeypatch.setattr(scan, "_CHUNK", 2)
    assert made[0]().index.fingerprint() == fingerprint
    _forget(made[1])
    monkeypatch.setattr(scan, "available_cores", lambda: 2)
    monkeypatch.setattr(scan, "_RECORDS_PER_PROCESS", 1)
    assert made[0]().index.fingerprint() == fingerprint


def _forget(file: pathlib.Path) -> None:
    for folder in file.parents:
        if (folder / ".ddl_jax").is_dir():
            shutil.rmtree(folder / ".ddl_jax")
            return
    raise AssertionError("nothing was kept")


def _kept(place: pathlib.Path) -> pathlib.Path:
    [kept] = (place / ".ddl_jax").iterdir()
    return kept


def test_a_damaged_copy_is_made_anew(tmp_path, decoded, caplog):
    open_it, _ = _folder(tmp_path)
    fingerprint = open_it().index.fingerprint()
    for name in ("names.json", "paths.npy", "labels.npy"):
        file = _kept(tmp_path) / name
        file.write_bytes(file.read_bytes()[:-3])
        before = len(decoded)
        assert open_it().index.fingerprint() == fingerprint
        assert len(decoded) == before + 6 and "is damaged" in caplog.text
        caplog.clear()
    np.save(_kept(tmp_path) / "labels.npy", np.zeros(5, np.int64))
    assert open_it().index.fingerprint() == fingerprint and "unequal lengths" in caplog.text


def test_data_that_cannot_be_written_are_remembered_in_the_cache(tmp_path, monkeypatch, decoded):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "faces").mkdir()
    open_it, _ = _folder(tmp_path / "faces")
    (tmp_path / "faces" / ".ddl_jax").write_text("in the way of a folder")
    open_it()
    assert len(list((tmp_path / "cache" / "ddl_jax").glob("data-*/records-*/paths.npy"))) == 1
    open_it()
    assert len(decoded) == 6


def test_without_any_place_the_data_are_used_and_it_is_told(tmp_path, monkeypatch, caplog):
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "faces").mkdir()
    open_it, _ = _folder(tmp_path / "faces")
    (tmp_path / "faces" / ".ddl_jax").write_text("in the way of a folder")
    source = open_it()
    assert pickle.loads(pickle.dumps(source))[5] == source[5]
    assert "nowhere to keep" in caplog.text


def test_another_choice_of_people_is_another_reading(tmp_path, decoded):
    write_faces(tmp_path, 3)
    for identities in ("1", "2..3", "1", "2..3"):
        ImageFolderSource(str(tmp_path), identities=identities)
    there = [f"{person}/easy/{number}.png" for person in "123" for number in "01"]
    assert sorted(decoded) == there  # each image once, though the choices alternate


def test_a_damaged_image_is_remembered_too_and_may_be_skipped_later(tmp_path, decoded, caplog):
    open_it, file = _folder(tmp_path)
    file.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UserError, match=r"^1/easy/0\.png is not a readable image"):
            open_it()
    assert ImageFolderSource(str(tmp_path), corrupt="skip").skipped == ["1/easy/0.png"]
    assert len(decoded) == 6 and "skipped 1 unreadable images" in caplog.text


def test_a_reading_that_was_stopped_goes_on(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(scan, "_CHUNK", 2)
    monkeypatch.setattr(scan, "_CHUNKS_KEPT", 2)
    monkeypatch.setattr(scan, "available_cores", lambda: 1)  # one thread: in order
    write_faces(tmp_path, 7)
    (tmp_path / "5/easy/0.png").write_bytes(b"")
    decode = scan.decode_image

    def stopped(image, name):
        if len(decoded) == 9:
            raise KeyboardInterrupt
        return decode(image, name)

    with monkeypatch.context() as until, pytest.raises(KeyboardInterrupt):
        until.setattr(scan, "decode_image", stopped)
        ImageFolderSource(str(tmp_path), corrupt="skip")
    assert len(decoded) == 9
    source = ImageFolderSource(str(tmp_path), corrupt="skip")
    assert len(decoded) == 9 + 14 - 8  # eight images were in two parts, each whole
    assert source.skipped == ["5/easy/0.png"] and len(source) == 13
    assert [record["path"] for record in source] == source.index.paths.tolist()
    assert [path.suffix for path in (tmp_path / ".ddl_jax").iterdir()] == [""]  # no parts any more
    _forget(tmp_path / "x")
    whole = ImageFolderSource(str(tmp_path), corrupt="skip")
    assert whole.index.fingerprint() == source.index.fingerprint()


def test_readings_of_files_as_they_were_do_not_pile_up(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr(catalogue, "_MOST_KEPT", 2)
    write_faces(tmp_path, 3)
    ImageFolderSource(str(tmp_path), identities="2..3")
    for turn in range(1, 5):
        os.utime(tmp_path / "1/easy/0.png", (turn, turn))
        ImageFolderSource(str(tmp_path), identities="1")
        ImageFolderSource(str(tmp_path), identities="2..3")  # in use, so it stays
    assert len(list((tmp_path / ".ddl_jax").iterdir())) == 2
    assert len(decoded) == 4 + 4 * 2


def test_a_report_beside_the_shards_may_be_edited(tmp_path, decoded):
    open_it, shard = _tfds(tmp_path)
    open_it()
    (shard.parent / "report.md").write_text("looked at")
    before = len(decoded)
    open_it()
    assert len(decoded) == before


def test_runs_that_start_together_keep_one_copy(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")  # beside the data, and nowhere else
    open_it, _ = _folder(tmp_path)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sources = list(pool.map(lambda _: open_it(), range(8)))
    assert len({source.index.fingerprint() for source in sources}) == 1
    assert (_kept(tmp_path) / "names.json").is_file() and not caplog.records
