"""Preparing from Python: resuming step by step, several processes, detectors."""

import hashlib
import json
import pathlib
import pickle

import cv2
import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.data import survey as survey_lib
from ddl_jax.data import tfds_shards
from ddl_jax.data.__main__ import main
from ddl_jax.data.alignment import template_points
from ddl_jax.data.decode import decode_image
from ddl_jax.data.face_cut import FaceCut
from ddl_jax.data.face_detector import YuNet, choose_face
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.landmarks import read_landmarks
from ddl_jax.data.prepare import Faces, prepare
from ddl_jax.data.survey import FromDetector, FromFile
from ddl_jax.data.tfds_source import open_tfds
from ddl_jax.errors import UserError

from .image_files import encode, write_faces
from .onnx_file import bright_cell_detector

TEMPLATE = template_points("arcface_112")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> ImageFolderSource:
    return ImageFolderSource(str(write_faces(tmp_path_factory.mktemp("faces"), 6)))


class BrightSpots:
    """A detector that takes every square of the brightness 255 for a face and knows its place."""

    def faces(self, image: np.ndarray) -> np.ndarray:
        bright = (image[..., 0] == 255).astype(np.uint8)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(bright)
        return np.array([TEMPLATE * (box[2] / 112) + box[:2] for box in boxes[1:count]]).reshape(
            -1, 5, 2
        )

    def fingerprint(self) -> str:
        return "bright spots"


def _photo(*squares: tuple[int, int, int]) -> bytes:
    photo = np.full((300, 400, 3), 50, np.uint8)
    for x, y, side in squares:
        photo[y : y + side, x : x + side] = 255
    return encode(photo)


@pytest.fixture
def photos(tmp_path) -> ImageFolderSource:
    for path, squares in {
        "1/a.png": [(20, 30, 112)],
        "1/none.png": [],
        "2/two.png": [(150, 100, 80), (300, 200, 60)],
    }.items():
        (tmp_path / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / path).write_bytes(_photo(*squares))
    return ImageFolderSource(str(tmp_path / "photos"))


def test_a_detector_finds_the_faces_that_are_cut_out(photos, tmp_path):
    faces = Faces(
        FromDetector(BrightSpots()), FaceCut(encoding="png"), origin={"detector": "spots"}
    )
    directory = prepare(photos, str(tmp_path), "a", faces=faces)
    source = open_tfds(str(directory), "train")
    assert source.index.paths.tolist() == ["1/a.png", "2/two.png"]
    for record in source:  # the square is the template's own frame, also the larger of two
        assert (decode_image(record["image"], "")[1:-1, 1:-1] == 255).all()
    report = json.loads((directory / "report.json").read_text())
    assert report["faces"] == {"one": 1, "several": 1, "none": 1, "unlike_a_face": 0}
    card = json.loads((directory / "data_card.json").read_text())
    landmarks = {"detector": "spots", "fingerprint": "bright spots"}
    assert card["alignment"]["landmarks"] == landmarks


def test_landmarks_of_other_photos_are_told(photos, tmp_path):
    (tmp_path / "points.txt").write_text(" ".join(["x/a.png", *map(str, TEMPLATE.ravel())]))
    faces = Faces(FromFile(read_landmarks(str(tmp_path / "points.txt"))), without_face="fit")
    told = r"points.txt names none of the images; it has 'x/a.png', the data '1/a.png'$"
    with pytest.raises(UserError, match=told):
        prepare(photos, str(tmp_path), "a", faces=faces)
    assert not (tmp_path / "a").exists()  # before any image is looked at


def test_photos_without_a_face_are_told(photos, tmp_path):
    class Nothing(BrightSpots):
        def faces(self, image: np.ndarray) -> np.ndarray:
            return np.zeros((0, 5, 2))

    faces = Faces(FromDetector(Nothing()), without_face="fit")
    with pytest.raises(UserError, match="in none of the 3 images is a face found.* '1/a.png'$"):
        prepare(photos, str(tmp_path), "a", faces=faces)


def test_of_several_faces_the_large_and_central_one_is_taken():
    def face(x, y, side):
        return TEMPLATE * (side / 112) + (x - side / 2, y - side / 2)

    # Equal ones: the middle. A larger one wins only where it is not too far from there.
    assert choose_face(np.array([face(50, 50, 60), face(190, 150, 60)]), (300, 400)) == 1
    assert choose_face(np.array([face(230, 150, 120), face(200, 150, 60)]), (300, 400)) == 0
    assert choose_face(np.array([face(350, 250, 70), face(200, 150, 60)]), (300, 400)) == 1


def test_yunet_finds_faces_in_photos_of_any_size(tmp_path):
    points = TEMPLATE * (32 / 112)
    (tmp_path / "yunet.onnx").write_bytes(bright_cell_detector(points))
    detector = pickle.loads(pickle.dumps(YuNet(str(tmp_path / "yunet.onnx"))))
    photo = np.zeros((96, 170, 3), np.uint8)
    assert detector.faces(photo).shape == (0, 5, 2)
    photo[32:64, 96:128] = 255
    np.testing.assert_allclose(detector.faces(photo), [points + (96, 32)], atol=1e-4)
    # Looked at in half its size, in which the cell is one of 32 pixels again.
    large = np.zeros((1024, 2048, 3), np.uint8)
    large[64:128, 128:192] = 255
    wanted = [(points + (64, 32) + 0.5) * 2 - 0.5]
    np.testing.assert_allclose(detector.faces(large), wanted, atol=1e-3)


def test_a_command_with_a_yunet_file_aligns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "FATAL")
    pathlib.Path("yunet.onnx").write_bytes(bright_cell_detector(TEMPLATE * (32 / 112)))
    pathlib.Path("photos/1").mkdir(parents=True)
    photo = np.full((96, 160, 3), 10, np.uint8)
    photo[32:64, 96:128] = 255
    pathlib.Path("photos/1/a.png").write_bytes(encode(photo))
    arguments = ["prepare", "--path=photos", "--out=out", "--workers=1", "--detector=yunet.onnx"]
    assert command_line.run(main, ["ddl_jax.data", *arguments, "--encoding=png"]) == 0
    (record,) = open_tfds("out/faces/1.0.0", "train")
    face = decode_image(record["image"], "")
    assert face.shape == (112, 112, 3) and (face[3:-3, 3:-3] == 255).all()
    card = json.loads(pathlib.Path("out/faces/1.0.0/data_card.json").read_text())
    sha256 = hashlib.sha256(pathlib.Path("yunet.onnx").read_bytes()).hexdigest()
    landmarks = {"detector": "yunet.onnx", "fingerprint": sha256}
    assert card["alignment"]["landmarks"] == landmarks


def test_a_survey_is_kept_for_other_wishes(photos, tmp_path, monkeypatch):
    finder = FromDetector(BrightSpots())
    with pytest.raises(UserError, match="1 images have no face, the first is 1/none.png"):
        prepare(photos, str(tmp_path), "a", faces=Faces(finder, without_face="refuse"))
    monkeypatch.setattr(survey_lib, "look_at", None)
    directory = prepare(photos, str(tmp_path), "a", faces=Faces(finder))
    assert len(open_tfds(str(directory), "train")) == 2


def test_shards_of_other_settings_are_not_taken_for_ones_own(folder, tmp_path, monkeypatch):
    write = tfds_shards._write_shard

    def stops(job, shard):
        if shard.rows[0] >= 8:
            raise KeyboardInterrupt
        return write(job, shard)

    monkeypatch.setattr(tfds_shards, "_write_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, str(tmp_path), "a", images_per_shard=4)
    assert len(list(tmp_path.rglob("a-train.array_record-*-of-00003"))) == 2
    monkeypatch.undo()
    directory = prepare(folder, str(tmp_path), "a", images_per_shard=5)
    assert len(list(directory.glob("a-train.array_record-*-of-00003"))) == 3
    source = open_tfds(str(directory), "train")
    assert source.index.fingerprint() == folder.index.fingerprint()
    assert [record["path"] for record in source] == folder.index.paths.tolist()


def test_two_processes_write_the_records_of_one(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(survey_lib, "_IMAGES_PER_TASK", 4)
    one = prepare(folder, str(tmp_path / "one"), "a", images_per_shard=4)
    two = prepare(folder, str(tmp_path / "two"), "a", images_per_shard=4, workers=2)
    names = sorted(path.name for path in one.iterdir())
    assert sorted(path.name for path in two.iterdir()) == names
    # An ArrayRecord file has random bytes in it, and the card the date.
    for name in ("report.json", "report.md", "problems.csv", "features.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    first, second = (open_tfds(str(directory), "train") for directory in (one, two))
    assert list(first) == list(second) == list(folder)


def test_unreadable_records_of_any_source_are_refused_or_skipped(folder, tmp_path):
    class Broken:
        """The folder, with two records that no one looked at before."""

        index = folder.index

        def __len__(self):
            return len(folder)

        def __getitem__(self, number):
            record = folder[number]
            return record | {"image": b"\xff\xd8"} if number in (2, 3, 4) else record

    with pytest.raises(UserError, match="3 images cannot be read, the first is 2/easy/0.png"):
        prepare(Broken(), str(tmp_path), "a")
    directory = prepare(Broken(), str(tmp_path), "a", corrupt="skip")
    source = open_tfds(str(directory), "train")
    assert source.index.identities.tolist() == ["1"] * 2 + ["3"] + ["4", "4", "5", "5", "6", "6"]
    assert source.index.classes == 5  # labels are numbered anew
    report = json.loads((directory / "report.json").read_text())
    assert report["left_out"]["unreadable"] == 3
    assert report["identities"]["without_an_image_left"] == ["2"]
    card = json.loads(pathlib.Path(directory / "data_card.json").read_text())
    assert card["fingerprint"] == source.index.fingerprint()
    Broken.__getitem__ = lambda self, number: folder[number] | {"image": b""}
    with pytest.raises(UserError, match="none of the 12 images can be read"):
        prepare(Broken(), str(tmp_path), "b", corrupt="skip")
