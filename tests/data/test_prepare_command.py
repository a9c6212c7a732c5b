"""`python -m ddl_jax.data prepare`: from images to the settings that train on the data set."""

import csv
import json
import os
import pathlib
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.config import Data, Synthetic, parse
from ddl_jax.data.__main__ import main
from ddl_jax.data.alignment import template_points
from ddl_jax.data.decode import decode_image
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.open_source import open_source
from ddl_jax.data.synthetic_faces.render import render_identity
from ddl_jax.data.tfds_source import open_tfds

from .image_files import encode, pixels, with_orientation, write_faces

ROOT = pathlib.Path(__file__).parents[2]
TEMPLATE = template_points("arcface_112")


def _prepare(*arguments: str) -> int:
    return command_line.run(main, ["ddl_jax.data", "prepare", "--workers=1", *arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "faces", 3, domains=("frontal", "profile"))
    return tmp_path / "faces"


def test_the_printed_settings_open_the_same_data(folder, capsys, tmp_path):
    rules = "*/frontal/*=easy,*/profile/*=hard"
    (folder / "2/frontal/0.png").write_bytes(b"")
    arguments = ("--path=faces", "--out=packed", f"--domain_rules={rules}", "--corrupt=skip")
    assert _prepare(*arguments) == 0
    printed = capsys.readouterr()
    *told, settings = printed.out.splitlines()
    for line in (
        "| images written | 11 of 12 |",
        "| left out: unreadable | 1 |",
        "| identities written | 3 of 3 |",
        "| domain easy | 5 |",
        "| domain hard | 6 |",
        "* unreadable: 2/frontal/0.png",
    ):
        assert line in told
    assert not printed.err
    # The settings are those of the trainer.
    (tmp_path / "any.py").write_text(
        "from ddl_jax.config import Config\ndef get_config():\n    return Config()\n"
    )
    arguments = ["train.py", "--config=any.py", "--workdir=run", *settings.split()]
    packed = open_source(parse(arguments).config.data, Synthetic())
    direct = open_source(
        Data(
            source="image_folder",
            path="faces",
            domain_rules=tuple(rules.split(",")),
            corrupt="skip",
        ),
        Synthetic(),
    )
    assert packed.index.fingerprint() == direct.index.fingerprint()
    for number in range(len(direct)):
        assert packed[number] == direct[number]


def test_domains_may_come_from_metadata(folder, capsys):
    rows = [f"{path.relative_to(folder)},{path.stem}" for path in folder.rglob("*.png")]
    (folder.parent / "table.csv").write_text("\n".join(["path,light", *rows]))
    metadata = ("--metadata=table.csv", "--domain_column=light", "--domain_rules=0=easy,1=dark")
    assert _prepare("--path=faces", "--out=packed", "--name=lit", *metadata) == 0
    *told, settings = capsys.readouterr().out.splitlines()
    assert {"| domain dark | 6 |", "| domain easy | 6 |"} <= set(told)
    assert settings.endswith("--config.data.path=packed/lit/1.0.0")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["more"], "takes flags only, not 'more'"),
        (["--path="], "--path is missing"),
        (["--out="], "--out is missing"),
        (["--nane=x"], "'nane'"),
        (["--path=nothing"], "no folder 'nothing'"),
        (["--name=a/b"], "--name is 'a/b'"),
        (["--name=a-b"], "--name is 'a-b'"),
        (["--corrupt=ignore"], "--corrupt is 'ignore'; choose one of refuse, skip"),
        (["--domain_rules=easy"], "--domain_rules has 'easy'; write PATTERN=DOMAIN"),
        (["--domain_rules=*/frontal/*=easy"], "no domain rule"),
        (["--metadata=a.csv"], "go together"),
        (["--out=faces/1/frontal/0.png"], "cannot be written"),
        (["--images_per_shard=0"], "--images_per_shard is 0"),
        (["--size=112,112"], "--size is for aligned faces; give --landmarks or --detector"),
        (["--landmarks=nothing.txt"], "no landmarks file 'nothing.txt'"),
        (["--detector=nothing.onnx"], "no detector 'nothing.onnx'"),
        (["--detector=other.onnx"], "'other.onnx' is no model that OpenCV's FaceDetectorYN"),
        (["--detector=a", "--landmarks=a"], "--landmarks and --detector both"),
        (["--landmarks=points.txt", "--template=mine"], "template is 'mine'; choose one of"),
        (["--landmarks=points.txt", "--size=112"], "--size is '112'; give HEIGHT,WIDTH"),
        (["--landmarks=points.txt", "--size=112,96"], "does not scale to 112x96"),
        (["--landmarks=points.txt", "--encoding=gif"], "encoding is 'gif'; choose one of jpeg"),
        (["--landmarks=points.txt", "--without_face=x"], "without_face is 'x'; choose one of"),
    ],
)
def test_a_mistake_is_one_line_and_no_file(folder, capsys, arguments, told):
    (folder.parent / "other.onnx").write_text("no model")
    (folder.parent / "points.txt").write_text(f"1/frontal/0.png {_numbers(TEMPLATE)}")
    before = _files(folder)
    assert _prepare("--path=faces", "--out=packed", *arguments) == 2
    printed = capsys.readouterr()
    assert told in printed.err and printed.err.startswith("ddl_jax.data: ")
    assert printed.err.count("\n") == 1 and not printed.out
    assert _files(folder) == before


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Everything but what is kept of the images that were checked."""
    return sorted(path for path in folder.parent.rglob("*") if ".ddl_jax" not in path.parts)


def test_photos_that_are_turned_by_their_tag_are_counted(folder, capsys):
    held = with_orientation(encode(pixels("held", (30, 20, 3)), ".jpg"), 6)
    (folder / "1/frontal/held.jpg").write_bytes(held)
    assert _prepare("--path=faces", "--out=packed") == 0
    told = capsys.readouterr().out
    assert "| turned upright by their EXIF tag | 1 |" in told and "ATTENTION" not in told
    assert "| sides in the source, pixels | 20 to 30 |" in told
    points = [f"{path} {_numbers(TEMPLATE)}" for path in ImageFolderSource("faces").index.paths]
    (folder.parent / "points.txt").write_text("\n".join(points))
    assert _prepare("--path=faces", "--out=aligned", "--landmarks=points.txt") == 0
    assert "ATTENTION: some photos are turned upright by their EXIF tag." in capsys.readouterr().out


def test_a_data_set_is_never_overwritten(folder, capsys):
    assert _prepare("--path=faces", "--out=packed") == 0
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")}
    assert _prepare("--path=faces", "--out=packed") == 2
    assert "exists; choose another --name" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")} == before


@pytest.mark.parametrize("command", [[], ["pack"], ["--path=faces"]])
def test_an_unknown_command_is_told_the_known_ones(command, capsys):
    assert command_line.run(main, ["ddl_jax.data", *command]) == 2
    assert "unknown command" in (told := capsys.readouterr().err) and "prepare" in told


def test_help_is_printed(capsys):
    assert _prepare("--help") == 0
    printed = capsys.readouterr().out
    assert "--domain_rules" in printed and "--landmarks" in printed
    assert command_line.run(main, ["ddl_jax.data", "--help"]) == 0
    assert "prepare`: any source" in capsys.readouterr().out


def test_photos_are_aligned_by_a_file_of_landmarks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = []
    for number, (scale, degrees) in enumerate([(1.5, 0), (2.5, 30), (1.0, -100), (2.0, 10)]):
        points = _turned(TEMPLATE, scale, degrees, (300.0, 250.0))
        _write_dots(tmp_path / f"photos/{number // 2 * 2}/{number}.png", points, scale)
        lines.append(f"{number // 2 * 2}/{number}.png {_numbers(points)}")
    lines.append(f"2/3.png {_numbers(points / 4)}")  # a second, smaller face in the corner
    _write_dots(tmp_path / "photos/1/no_face.png", points, 1.0)
    (tmp_path / "points.txt").write_text("\n".join(lines))
    arguments = ("--path=photos", "--landmarks=points.txt", "--encoding=png")
    assert _prepare(*arguments, "--out=out") == 0
    told = capsys.readouterr().out.splitlines()
    for line in (
        "| images written | 4 of 5 |",
        "| left out: without face | 1 |",
        "| identities written | 2 of 3 |",
        "| faces in a photo: one | 3 |",
        "| faces in a photo: several | 1 |",
        "* without face: 1/no_face.png",
        "* several faces: 2/3.png",
    ):
        assert line in told
    source = open_tfds("out/faces/1.0.0", "train")
    assert source.index.paths.tolist() == ["0/0.png", "0/1.png", "2/2.png", "2/3.png"]
    assert source.index.labels.tolist() == [0, 0, 1, 1]  # no gap for the identity that is gone
    for record in source:
        face = decode_image(record["image"], record["path"])
        assert face.shape == (112, 112, 3)
        _, _, _, centres = cv2.connectedComponentsWithStats((face[..., 0] > 127).astype(np.uint8))
        for point in TEMPLATE:
            assert np.abs(centres - point).max(1).min() < 0.6
    card = json.loads(pathlib.Path("out/faces/1.0.0/data_card.json").read_text())
    assert card["alignment"]["template"] == "arcface_112" and card["alignment"]["size"] == [
        112,
        112,
    ]
    np.testing.assert_allclose(card["alignment"]["points"], TEMPLATE)
    assert card["alignment"]["landmarks"]["reading"] == "x1 y1 ... x5 y5"
    assert card["fingerprint"] == source.index.fingerprint()
    assert card["source"]["path"] == "photos" and card["left_out"]["without_face"] == 1

    # A photo without a face may be wanted all the same, or be a mistake.
    assert _prepare(*arguments, "--out=fit", "--without_face=fit", "--size=56,56") == 0
    source = open_tfds("fit/faces/1.0.0", "train")
    assert len(source) == 5
    assert {decode_image(record["image"], "").shape for record in source} == {(56, 56, 3)}
    capsys.readouterr()
    assert _prepare(*arguments, "--out=no", "--without_face=refuse") == 2
    assert "1 images have no face, the first is 1/no_face.png" in capsys.readouterr().err


def test_what_is_wrong_is_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    faces = [render_identity(0, i, {"easy": 1}, 64)[0][2] for i in range(4)]
    for identity, face in enumerate(faces):
        for number in range(2):
            shade = np.clip(face.astype(int) + 20 * number, 0, 255).astype(np.uint8)
            shade = shade[:, ::-1] if number else shade  # two images, not near each other
            _write(tmp_path / f"faces/{identity}/{number}.png", shade)
    _write(tmp_path / "faces/0/again.png", faces[0])
    _write(tmp_path / "faces/3/near.jpg", cv2.resize(faces[1], (100, 100)))
    _write(tmp_path / "faces/3/grey.png", np.repeat(faces[2][::-1, :, :1], 3, 2))
    _write(tmp_path / "faces/4/black.png", np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "faces/4/broken.png").write_bytes(b"")
    assert _prepare("--path=faces", "--out=out", "--corrupt=skip", "--contact_sheet") == 0
    directory = tmp_path / "out/faces/1.0.0"
    rows = list(csv.DictReader((directory / "problems.csv").read_text().splitlines()))
    assert [(row["problem"], row["path"]) for row in rows] == [
        ("unreadable", "4/broken.png"),
        ("flat", "4/black.png"),
        ("only_image_of_its_identity", "4/black.png"),
        ("exact_duplicate", "0/0.png"),
        ("exact_duplicate", "0/again.png"),
        ("near_duplicate", "1/0.png"),
        ("near_duplicate", "3/near.jpg"),
    ]
    report = json.loads((directory / "report.json").read_text())
    assert report["images"] == {"found": 13, "written": 12} and report["grey"] == 2
    assert report["exact_duplicates"] == {"groups": 1, "images": 2, "groups_across_identities": 0}
    assert report["near_duplicates"] == {"groups": 1, "images": 2, "groups_across_identities": 1}
    assert report["sizes"]["most_common"][0] == {"height": 64, "width": 64, "images": 11}
    for name in ("contact_sheet.jpg", "near_duplicates.jpg"):
        assert cv2.imread(str(directory / name)).shape[1] > 200
    assert _prepare("--path=faces", "--out=out", "--name=b", "--corrupt=skip") == 0
    assert not list((tmp_path / "out/b/1.0.0").glob("*.jpg"))  # only where that was asked for


def test_a_killed_command_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "faces", 300, images=4)
    command = [sys.executable, "-m", "ddl_jax.data", "prepare", "--path=faces", "--out=out"]
    command += ["--workers=2", "--images_per_shard=20"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    shards = []
    while len(shards) < 2 and running.poll() is None:
        shards = list((tmp_path / "out").rglob("faces-train.array_record-*"))
        time.sleep(0.01)
    children = _children(running.pid)
    running.kill()
    running.wait()
    assert not (tmp_path / "out/faces/1.0.0").exists()
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children and not any(_alive(pid) for pid in children)
    shards = list((tmp_path / "out").rglob("faces-train.array_record-*"))
    before = {path.name: path.stat().st_mtime_ns for path in shards}
    assert 2 <= len(before) < 60

    assert _prepare("--path=faces", "--out=out", "--images_per_shard=20") == 0
    after = {
        path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/faces/1.0.0").iterdir()
    }
    assert before.items() <= after.items()
    assert sorted(path.name for path in (tmp_path / "out/faces").iterdir()) == ["1.0.0"]
    assert not [name for name in after if name.startswith(".")]
    index = open_tfds("out/faces/1.0.0", "train").index
    assert index.fingerprint() == ImageFolderSource("faces").index.fingerprint()


def _children(pid: int) -> list[int]:
    return [
        int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _numbers(points: np.ndarray) -> str:
    return " ".join(map(str, np.ravel(points)))


def _turned(points: np.ndarray, scale: float, degrees: float, middle: tuple) -> np.ndarray:
    turn = scale * np.exp(1j * np.deg2rad(degrees))
    turned = (points - points.mean(0)) @ (1, 1j) * turn
    return np.stack([turned.real, turned.imag], 1) + middle


def _write_dots(path: pathlib.Path, points: np.ndarray, scale: float) -> None:
    photo = np.full((500, 600, 3), 20, np.uint8)
    for x, y in points:
        place = (round(x * 16), round(y * 16))
        cv2.circle(photo, place, round(40 * scale), (255,) * 3, -1, cv2.LINE_AA, 4)
    _write(path, photo)


def _write(path: pathlib.Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image, path.suffix))
