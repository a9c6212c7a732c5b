"""Images of one size from a folder or a file, and what is refused."""

import numpy as np
import pytest

from ddl_jax.data.read_images import read_images
from ddl_jax.errors import UserError

from .image_files import pixels, write_image

SIZE = (24, 20)


@pytest.fixture
def folder(tmp_path):
    """Images at three depths, and what is none."""
    for path in ("2.png", "a/10.png", "a/9.png", "a/deep/er/1.png", ".hidden/1.png"):
        write_image(tmp_path / "faces", path)
    (tmp_path / "faces/notes.txt").write_text("no image")
    return tmp_path / "faces"


def test_a_folder_is_searched_at_any_depth(folder):
    images = read_images(str(folder), SIZE)
    names = ("2.png", "a/9.png", "a/10.png", "a/deep/er/1.png")
    np.testing.assert_array_equal(images, np.stack([pixels(name) for name in names]))
    assert images.dtype == np.uint8


def test_one_file_is_enough(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for path in ("2.png", f"{folder}/2.png"):
        np.testing.assert_array_equal(read_images(path, SIZE), pixels("2.png")[None])


@pytest.mark.parametrize(
    "path, size, told",
    [
        ("faces/nothing", SIZE, "no 'faces/nothing'; give an image or a folder"),
        ("faces", (20, 24), "2.png is 24x20, the network takes 20x24: bring the images to this"),
        ("faces/notes.txt", SIZE, "notes.txt is not a readable image; mend or remove it"),
        ("empty", SIZE, "empty holds no image"),
    ],
)
def test_what_is_no_image_of_this_size_is_refused(folder, monkeypatch, path, size, told):
    monkeypatch.chdir(folder.parent)
    (folder.parent / "empty").mkdir()
    with pytest.raises(UserError) as error:
        read_images(path, size)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)
