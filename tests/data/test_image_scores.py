"""Scores of pixels, against images whose scores are known."""

import cv2
import numpy as np
import pytest

from ddl_jax.config import Data, Synthetic
from ddl_jax.data import image_scores as image_scores_lib
from ddl_jax.data.image_scores import IMAGE_SCORES, image_scores
from ddl_jax.data.open_source import open_source
from ddl_jax.data.worker_pool import map_shared

from .image_files import encode, pixels


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> dict[str, dict[str, float]]:
    noise = pixels("noise", (112, 112, 3))
    half = noise[:, :56]
    images = {
        "flat": np.full((112, 112, 3), 100, np.uint8),
        "noise": noise,
        "blurred": cv2.GaussianBlur(noise, (0, 0), 2),
        "mirrored": np.concatenate([half, half[:, ::-1]], axis=1),
        "opposite": np.concatenate([half, 255 - half[:, ::-1]], axis=1),
        "small": noise[:30, :24],
        "dark": noise // 4,
    }
    root = tmp_path_factory.mktemp("faces")
    (root / "1").mkdir()
    for name, image in images.items():
        (root / f"1/{name}.png").write_bytes(encode(image))
    source = open_source(Data(source="image_folder", path=str(root)), Synthetic())
    found = image_scores(source, IMAGE_SCORES)
    assert list(found) == list(IMAGE_SCORES)
    names = [path.split("/")[1][:-4] for path in source.index.paths.tolist()]
    return {score: dict(zip(names, values.tolist())) for score, values in found.items()}


def test_resolution_is_that_of_the_stored_image(scores):
    assert scores["resolution"]["small"] == 24
    assert scores["resolution"]["noise"] == 112


def test_blur_enlargement_and_darkness_lower_sharpness(scores):
    found = scores["sharpness"]
    assert found["flat"] == 0
    for name in ("blurred", "small", "dark"):
        assert found[name] < found["noise"] / 5


def test_brightness_is_the_mean_grey_level(scores):
    assert scores["brightness"]["flat"] == 100
    assert scores["brightness"]["noise"] == pytest.approx(127.5, abs=2)
    assert scores["brightness"]["dark"] == pytest.approx(127.5 / 4, abs=1)


def test_symmetry_is_a_correlation_with_the_mirror_image(scores):
    found = scores["symmetry"]
    assert found["flat"] == 1 and found["mirrored"] == pytest.approx(1)
    assert found["opposite"] == pytest.approx(-1, abs=1e-4)  # grey levels are rounded
    assert abs(found["noise"]) < 0.05


class _Grey:
    """As many grey pictures as wanted, the brightness their number."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, number: int) -> dict:
        return {"image": encode(np.full((8, 8, 3), number, np.uint8)), "path": str(number)}


def test_many_images_go_to_processes_in_tasks(monkeypatch):
    monkeypatch.setattr(image_scores_lib, "_IMAGES_PER_TASK", 2)
    monkeypatch.setattr(image_scores_lib, "available_cores", lambda: 2)
    asked = []

    def map_two(function, shared, tasks, workers):
        asked.extend([len(tasks), workers])
        return map_shared(function, shared, tasks, workers)

    monkeypatch.setattr(image_scores_lib, "map_shared", map_two)
    found = image_scores(_Grey(), ("resolution", "brightness"))
    assert asked == [20, 2]  # not one task an image, nor threads that wait for one another
    assert found["brightness"].tolist() == list(range(40))
    assert found["resolution"].tolist() == [8] * 40


def test_nothing_asked_nothing_read():
    assert image_scores(None, ()) == {}
