"""Lists that we write: what they say is what the source says."""

import csv
import dataclasses
import pathlib
import shlex

import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.config import Data, Synthetic, parse
from ddl_jax.data.__main__ import main
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.list_source import ListSource
from ddl_jax.data.made_domains import MadeDomains
from ddl_jax.data.open_source import open_source
from ddl_jax.data.source import Subset
from ddl_jax.data.write_list import write_list
from ddl_jax.errors import UserError
from ddl_jax.interop import RecordIOSource, write_recordio

from .image_files import encode, pixels, write_faces, write_image

# Names that a list could take for something else.
PATHS = ("Ann, B/1 é.png", "nan/2.png", '12e5/the "best".png', "1.5/3.png", "-1/4.png", "s10/5.png")
PATHS += ("s2/6.png", "Ann, B/7,8\\9.png")


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    for path in PATHS:
        write_image(tmp_path / "my faces", path)
    return tmp_path / "my faces"


def _assert_same(source, other) -> None:
    for field in dataclasses.fields(source.index):
        np.testing.assert_array_equal(
            getattr(other.index, field.name), getattr(source.index, field.name), err_msg=field.name
        )
    assert other.index.fingerprint() == source.index.fingerprint()
    assert list(other) == list(source)


@pytest.mark.parametrize("name", ["train.csv", "train.txt", "in/a/folder/train.tsv"])
def test_a_folder_comes_back_from_its_list(folder, tmp_path, name):
    source = ImageFolderSource(str(folder), domain_rules=("s*=hard, far", "*=easy"))
    write_list(tmp_path / name, source)
    _assert_same(source, ListSource(str(tmp_path / name), root=str(folder)))
    place = (tmp_path / name).parent
    assert not [
        path for path in place.iterdir() if path.name.startswith(f".{(tmp_path / name).name}")
    ]


def test_a_csv_is_one_for_everybody(folder, tmp_path):
    write_list(tmp_path / "train.csv", ImageFolderSource(str(folder)))
    with (tmp_path / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == set(PATHS)
    assert all(row["path"].startswith(f"{row['identity']}/") for row in rows)


@pytest.mark.parametrize("name", ["train.csv", "train.txt"])
def test_a_record_file_becomes_a_list_and_images(tmp_path, name):
    faces = [(0, encode(pixels("a"), ".jpg")), (0, encode(pixels("b"))), (1, encode(pixels("c")))]
    write_recordio(tmp_path / "rec", faces)
    source = RecordIOSource(tmp_path / "rec")
    write_list(tmp_path / name, source, images=tmp_path / "images")
    read = ListSource(str(tmp_path / name), root=str(tmp_path / "images"))
    assert read.index.paths.tolist() == ["0/1.jpg", "0/2.png", "1/3.png"]
    assert [record["image"] for record in read] == [image for _, image in faces]
    assert read.index.labels.tolist() == [0, 0, 1]
    write_list(tmp_path / f"again-{name}", source, images=tmp_path / "images")  # goes on
    (tmp_path / "images/1/3.png").write_bytes(faces[0][1])
    with pytest.raises(UserError, match=r"1/3\.png exists and is another image"):
        write_list(tmp_path / f"more-{name}", source, images=tmp_path / "images")


def test_a_part_of_a_source_and_made_domains(folder, tmp_path):
    source = ImageFolderSource(str(folder))
    part = Subset(source, np.array([5, 1, 2]), ["hard", "easy", "easy"])
    write_list(tmp_path / "part.txt", part)
    _assert_same(part, ListSource(str(tmp_path / "part.txt"), root=str(folder)))
    made = MadeDomains(part, "easy", ["cctv"])
    write_list(tmp_path / "made.txt", made, images=tmp_path / "images")
    read = ListSource(str(tmp_path / "made.txt"), root=str(tmp_path / "images"))
    assert read.index.domains.tolist() == made.index.domains.tolist()


def test_what_no_list_can_hold_or_would_be_lost_is_refused(folder, tmp_path):
    source = ImageFolderSource(str(folder))
    write_list(tmp_path / "a.txt", source)
    before = (tmp_path / "a.txt").read_bytes()
    with pytest.raises(UserError, match=r"a\.txt exists"):
        write_list(tmp_path / "a.txt", source)
    assert (tmp_path / "a.txt").read_bytes() == before
    (folder / "s2 ").mkdir()
    write_image(folder, "s2 /1.png")
    with pytest.raises(UserError, match="cannot hold the name 's2 '"):
        write_list(tmp_path / "b.txt", ImageFolderSource(str(folder)))
    with pytest.raises(UserError, match="cannot be written: "):
        write_list(tmp_path / "a.txt" / "b.txt", source)
    (tmp_path / "away.txt").write_text(f"{folder}/s2/6.png\t0\n")
    with pytest.raises(UserError, match="leads out of"):
        write_list(
            tmp_path / "b.txt", ListSource(str(tmp_path / "away.txt")), images=tmp_path / "x"
        )
    assert not (tmp_path / "b.txt").exists() and not (tmp_path / "x").exists()


def _run(*arguments: str) -> int:
    return command_line.run(main, ["ddl_jax.data", "list", *arguments])


def test_the_command_prints_the_settings_that_read_the_list(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "my faces", 3, domains=("frontal", "profile"))
    rules = "*/frontal/*=easy,*/profile/*=hard"
    assert _run("--path=my faces", "--out=l i.csv", f"--domain_rules={rules}") == 0
    told = capsys.readouterr().out
    assert "12 images of 3 identities" in told
    (tmp_path / "any.py").write_text(
        "from ddl_jax.config import Config\ndef get_config():\n    return Config()\n"
    )
    arguments = ["train.py", "--config=any.py", "--workdir=run"]
    settings = parse([*arguments, *shlex.split(told.splitlines()[-1])]).config.data
    expected = Data(source="image_folder", path="my faces", domain_rules=tuple(rules.split(",")))
    _assert_same(open_source(expected, Synthetic()), open_source(settings, Synthetic()))


def test_the_command_refuses_a_list_of_images_that_are_no_files(tmp_path, capsys):
    write_recordio(tmp_path, [(0, encode(pixels("a")))])
    arguments = ("--source=recordio", f"--path={tmp_path}", f"--out={tmp_path}/l.txt")
    assert _run(*arguments) == 2
    assert "--source=recordio has no image files that a list could name" in capsys.readouterr().err
    assert _run(*arguments, f"--images={tmp_path}/images") == 0
    assert (tmp_path / "images/0/1.png").is_file()
