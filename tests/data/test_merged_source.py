"""Several data sets as one: names kept apart, people told to be one, in training and prepare."""

import json
import pickle

import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.config import Data, Synthetic
from ddl_jax.data.__main__ import main
from ddl_jax.data.open_source import open_source
from ddl_jax.errors import UserError
from ddl_jax.interop import write_recordio

from .image_files import encode, pixels, write_faces


@pytest.fixture
def here(tmp_path, monkeypatch):
    """`a`, a folder of 3 people; `b/train.rec`, of 2; and `all.csv`, which names both."""
    write_faces(tmp_path / "lists/a", 3)
    faces = ((n // 2, encode(pixels(f"b{n}", (30, 30, 3)))) for n in range(4))
    write_recordio(tmp_path / "lists/b", faces, size=(30, 30))
    (tmp_path / "lists/all.csv").write_text("name,source,path\nb,recordio,b\na,image_folder,a\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _open(**settings):
    return open_source(Data("merged", "lists/all.csv", **settings), Synthetic())


def test_names_are_kept_apart_by_source(here):
    source = _open()
    assert len(source) == 10 and source.index.classes == 5
    assert sorted(set(source.index.identities)) == ["a/1", "a/2", "a/3", "b/0", "b/1"]
    assert source.index.paths[[0, 4]].tolist() == ["b/0/1", "a/1/easy/0.png"]
    parts = [
        open_source(Data(kind, f"lists/{name}"), Synthetic())
        for kind, name in (("recordio", "b"), ("image_folder", "a"))
    ]
    images = [record["image"] for part in parts for record in part]
    for one in (source, pickle.loads(pickle.dumps(source))):
        assert [record["image"] for record in one] == images
        for column, name in (("labels", "label"), ("identities", "identity"), ("paths", "path")):
            assert [record[name] for record in one] == getattr(source.index, column).tolist()


def test_identities_that_a_file_calls_one_are_one_person(here):
    apart = _open()
    lines = ["first,second,similarity", "b/1,a/3,0.8", "a/3,a/2,0.7"]
    (here / "same.csv").write_text("\n".join(lines))
    source = _open(same="same.csv")
    assert source.index.classes == 3 and len(source) == 10
    assert sorted(set(source.index.identities)) == ["a/1", "a/2", "b/0"]  # the first name stays
    assert np.sum(source.index.labels == source.index.labels[-1]) == 6
    assert source[3]["identity"] == source[9]["identity"] == "a/2"
    assert [r["label"] for r in source] == source.index.labels.tolist()
    assert source.index.fingerprint() != apart.index.fingerprint()


def test_rules_exclusions_and_choices_name_what_is_merged(here):
    (here / "out.txt").write_text("a/2\nb/0/1\n")
    rules = ("b/*=hard", "*=easy")
    source = _open(exclude="out.txt", domain_rules=rules, identities="a/1..b/0")
    assert source.index.paths.tolist() == ["b/0/2"] + [
        f"a/{n}/easy/{i}.png" for n in (1, 3) for i in (0, 1)
    ]
    assert source.index.domains.tolist() == ["hard"] + 4 * ["easy"]


@pytest.mark.parametrize(
    "text, told",
    [
        ("name,source\na,list\n", "all.csv line 1: no column 'path'"),
        ("name,source,path\n", "all.csv names no source"),
        ("name,source,path\na,image_folder,a\na,recordio,b\n", "line 3: the name 'a' is there tw"),
        ("name,source,path\na/b,image_folder,a\n", "line 2: the name 'a/b' is none"),
        ("name,source,path\na,merged,all.csv\n", "line 2: the source 'merged' cannot be merged"),
        ("name,source,path\na,folder,a\n", "line 2: source is 'folder'; choose one of"),
        ("name,source,path\na,image_folder,c\n", "no folder 'lists/c'"),
        ("name,source,path,split\na,image_folder,a,test\n", "line 2: split is 'test'"),
    ],
)
def test_a_list_that_says_something_else_is_told(here, text, told):
    (here / "lists/all.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        _open()


def test_a_person_that_is_not_there_is_told(here):
    (here / "same.csv").write_text("first,second\na/1,1\n")
    with pytest.raises(UserError, match="same.csv line 2: no identity '1'; .* named as 'a/1' is"):
        _open(same="same.csv")
    with pytest.raises(UserError, match="no file 'none.csv'"):
        _open(same="none.csv")


def test_prepare_makes_one_data_set_and_looks_at_the_sizes(here, capsys):
    (here / "lists/a/1/easy/0.png").write_bytes(b"")
    given = ("--source=merged", "--path=lists/all.csv", "--out=out", "--corrupt=skip")
    assert command_line.run(main, ["ddl_jax.data", "prepare", *given]) == 0
    told = capsys.readouterr().out
    assert "| b | 4 | 2 | 30x30 |" in told and "| a | 5 | 3 | 24x20 |" in told
    assert "ATTENTION: the merged sources are of different sizes" in told
    report = json.loads((here / "out/faces/1.0.0/report.json").read_text())
    assert report["images"] == {"found": 10, "written": 9}  # the unreadable one is counted
    assert report["sources"]["a"] == {
        "images": 5, "identities": 3, "height": 24, "width": 20, "of_this_size": 5
    }  # fmt: skip
    written = open_source(Data("tfds", "out/faces/1.0.0"), Synthetic())
    assert written.index.paths.tolist() == _open(corrupt="skip").index.paths.tolist()
