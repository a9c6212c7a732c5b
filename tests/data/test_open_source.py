"""From settings to a source: every kind of data, through the same door."""

import pathlib

import pytest

from ddl_jax.config import Data, Synthetic
from ddl_jax.data import synthetic_faces
from ddl_jax.data.open_source import open_source
from ddl_jax.data.prepare import prepare
from ddl_jax.errors import UserError

from .image_files import write_faces

FEW = Synthetic(train_identities=2, test_identities=1, easy_views=2, hard_views=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Data:
    root = write_faces(tmp_path_factory.mktemp("faces"), 11)
    return Data(source="image_folder", path=str(root), domain_rules=("*0.png=easy", "*=hard"))


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory) -> Data:
    out = tmp_path_factory.mktemp("packed")
    return Data(source="tfds", path=str(prepare(open_source(folder, FEW), str(out), "faces")))


def test_synthetic_faces_are_made_when_they_are_missing(tmp_path):
    for split, identities in (("train", 2), ("test", 1)):
        data = Data(path=str(tmp_path), split=split)
        source = open_source(data, FEW)
        assert source.index.classes == identities
        for domain in synthetic_faces.DOMAINS:
            views = 2 if domain == "easy" else 1
            assert len(source.index.rows_of(domain)) == identities * views
        files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.array_record*")}
        again = open_source(data, FEW)  # and read when they are there
        assert again.index.fingerprint() == source.index.fingerprint()
        assert {path: path.stat().st_mtime_ns for path in files} == files


@pytest.mark.parametrize("kind", ["folder", "packed"])
def test_identities_are_selected_in_natural_order(kind, request):
    data = request.getfixturevalue(kind)
    data = Data(**(vars(data) | {"identities": "2..4,11"}))
    index = open_source(data, FEW).index
    assert sorted(set(zip(index.labels.tolist(), index.identities.tolist()))) == [
        (0, "2"),
        (1, "3"),
        (2, "4"),
        (3, "11"),
    ]
    assert index.domains.tolist() == ["easy", "hard"] * 4


@pytest.mark.parametrize("kind", ["folder", "packed"])
def test_an_error_names_the_setting_it_comes_from(kind, request):
    data = Data(**(vars(request.getfixturevalue(kind)) | {"identities": "12"}))
    with pytest.raises(UserError, match=r"^config\.evaluation\.data\.identities names .*'12'"):
        open_source(data, FEW, "config.evaluation.data")


@pytest.mark.parametrize("rules", [("*1.png=easy", "*=dark"), ()])
def test_rules_and_metadata_are_for_packed_data_too(packed, tmp_path, rules):
    again = Data(**(vars(packed) | {"domain_rules": rules}))
    if not rules:
        paths = open_source(packed, FEW).index.paths
        rows = [f"{path},{'easy' if path.endswith('1.png') else 'dark'}\n" for path in paths]
        again.metadata, again.domain_column = str(tmp_path / "a.csv"), "kind"
        (tmp_path / "a.csv").write_text("path,kind\n" + "".join(rows))
    source = open_source(again, FEW)
    assert source.index.domains.tolist() == ["dark", "easy"] * 11
    assert source[0]["domain"] == "dark" and source[1]["domain"] == "easy"


def test_skipped_images_are_counted_in_the_log(folder, tmp_path, caplog):
    write_faces(tmp_path, 2)
    pathlib.Path(tmp_path / "1/easy/0.png").write_bytes(b"")
    source = open_source(Data(source="image_folder", path=str(tmp_path), corrupt="skip"), FEW)
    assert len(source) == 3
    assert "skipped the unreadable image 1/easy/0.png" in caplog.text
    assert f"{tmp_path}: skipped 1 unreadable images" in caplog.text
