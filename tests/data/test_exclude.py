"""Images and identities that a list leaves out, from every kind of source."""

import pytest

from ddl_jax.config import Config, Data, Synthetic, evaluation_data
from ddl_jax.data.exclude import left_out
from ddl_jax.data.open_source import open_source
from ddl_jax.data.prepare import prepare
from ddl_jax.errors import UserError

from .image_files import write_faces

IDENTITIES = ["a", "a", "b", "b"]
PATHS = ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]


def test_a_line_is_an_image_or_an_identity(tmp_path):
    file = tmp_path / "exclude.txt"
    file.write_bytes(b"\xef\xbb\xbf# mislabelled\r\na/2.png\r\n\r\nb\r\n")
    assert left_out(str(file), IDENTITIES, PATHS).tolist() == [False, True, True, True]
    assert not left_out("", IDENTITIES, PATHS).any()


@pytest.mark.parametrize(
    "text, told",
    [
        (b"a\nc\n", "line 2: 'c' is neither the path of an image nor an identity"),
        (b"a\nb\n", "leaves out all 4 images"),
        (b"\xff", "is not UTF-8"),
        (None, "no file"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path, text, told):
    file = tmp_path / "exclude.txt"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(UserError, match=told):
        left_out(str(file), IDENTITIES, PATHS)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Data]:
    root = write_faces(tmp_path_factory.mktemp("faces"), 4)
    folder = Data(source="image_folder", path=str(root))
    packed = str(prepare(open_source(folder, Synthetic()), str(root.parent / "packed"), "faces"))
    return {"folder": folder, "tfds": Data(source="tfds", path=packed)}


@pytest.mark.parametrize("kind", ["folder", "tfds"])
def test_what_is_left_out_changes_neither_names_nor_ranges(sources, kind, tmp_path):
    file = tmp_path / "exclude.txt"
    file.write_text("3\n2/easy/1.png\n")  # 3 is an end of the range all the same, 4 is not in it
    source = open_source(
        Data(**vars(sources[kind]) | {"exclude": str(file), "identities": "1..3"}), Synthetic()
    )
    assert source.index.paths.tolist() == ["1/easy/0.png", "1/easy/1.png", "2/easy/0.png"]
    assert source.index.classes == 2
    file.write_text("3\n")
    with pytest.raises(UserError, match="leaves out all images of"):
        open_source(
            Data(**vars(sources[kind]) | {"exclude": str(file), "identities": "3"}), Synthetic()
        )


def test_an_unreadable_image_may_be_left_out(tmp_path):
    root = write_faces(tmp_path / "faces", 2)
    (root / "1/easy/0.png").write_bytes(b"")
    (tmp_path / "exclude.txt").write_text("1/easy/0.png\n")
    data = Data(source="image_folder", path=str(root), exclude=str(tmp_path / "exclude.txt"))
    assert len(open_source(data, Synthetic())) == 3


def test_an_evaluation_leaves_out_what_training_on_the_same_images_does():
    config = Config(data=Data(source="image_folder", path="faces", exclude="list.txt"))
    assert evaluation_data(config).exclude == "list.txt"
    config.evaluation.data.exclude = "other.txt"
    assert evaluation_data(config).exclude == "other.txt"
    config.evaluation.data.exclude, config.evaluation.data.path = "", "others"
    assert evaluation_data(config).exclude == ""
    # The test split of synthetic_faces has other people.
    assert evaluation_data(Config(data=Data(exclude="list.txt"))).exclude == ""
