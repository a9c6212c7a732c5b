"""Folders of faces: what is found in them, and what is refused before any work."""

import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddl_jax.data.decode import decode_image
from ddl_jax.data.image_folder import ImageFolderSource, find_images
from ddl_jax.data.source import natural_key
from ddl_jax.errors import UserError

from .image_files import encode, pixels, write_faces, write_image


def _refusal(root: pathlib.Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        ImageFolderSource(str(root), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_are_found_at_any_depth_whatever_the_suffix(tmp_path):
    files = {
        path: write_image(tmp_path, path)
        for path in ("a/1.png", "a/b/c/d/2.jpg", "b/3.PNG", "b/4.x/4.JPEG")
    }
    files |= {
        "b/5.pgm": write_image(tmp_path, "b/5.pgm", shape=(9, 7)),
        "b/6.png": write_image(tmp_path, "b/6.png", shape=(31, 1), dtype=np.uint16),
    }
    source = ImageFolderSource(str(tmp_path))
    assert source.index.paths.tolist() == list(files)
    assert source.index.identities.tolist() == ["a", "a", "b", "b", "b", "b"]
    assert source.index.domains.tolist() == ["easy"] * 6
    for number, path in enumerate(files):
        assert source[number] == {
            "image": files[path],
            "label": int(path[0] == "b"),
            "identity": path[0],
            "path": path,
            "domain": "easy",
        }


def test_a_folder_may_be_given_with_a_slash_or_relative(tmp_path, monkeypatch):
    write_faces(tmp_path / "faces", 2)
    expected = ImageFolderSource(str(tmp_path / "faces")).index.fingerprint()
    monkeypatch.chdir(tmp_path)
    for root in (f"{tmp_path}/faces/", "faces", "./faces"):
        source = ImageFolderSource(root)
        assert source.index.fingerprint() == expected
        assert source[1]["image"] == (tmp_path / "faces" / source.index.paths[1]).read_bytes()


def test_links_to_folders_and_images_are_followed(tmp_path):
    write_faces(tmp_path / "elsewhere", 2)
    faces = write_faces(tmp_path / "faces", 1)
    (faces / "2").symlink_to(tmp_path / "elsewhere" / "2")
    (faces / "1" / "linked.png").symlink_to(tmp_path / "elsewhere/1/easy/0.png")
    source = ImageFolderSource(str(faces))
    assert set(source.index.paths) == {
        "1/easy/0.png",
        "1/easy/1.png",
        "1/linked.png",
        "2/easy/0.png",
        "2/easy/1.png",
    }
    number = source.index.paths.tolist().index("2/easy/1.png")
    image = decode_image(source[number]["image"], "x")
    np.testing.assert_array_equal(image, pixels("2/easy/1.png"))


def test_an_image_of_a_format_that_nobody_reads_is_not_passed_over(tmp_path):
    write_image(tmp_path, "a/1.bmp")
    write_image(tmp_path, "b/1.webp")
    assert ImageFolderSource(str(tmp_path)).index.paths.tolist() == ["a/1.bmp", "b/1.webp"]
    (tmp_path / "b" / "2.heic").write_bytes(b"from a telephone")
    assert "b/2.heic is not a readable image" in _refusal(tmp_path)
    assert ImageFolderSource(str(tmp_path), corrupt="skip").skipped == ["b/2.heic"]


def test_images_of_identities_that_are_not_used_need_not_be_readable(tmp_path):
    write_faces(tmp_path, 3)
    (tmp_path / "3/easy/0.png").write_bytes(b"")
    source = ImageFolderSource(str(tmp_path), identities="1..2")
    assert source.index.identities.tolist() == ["1", "1", "2", "2"]
    assert "3/easy/0.png" in _refusal(tmp_path, identities="2..3")
    assert "x.identities names identity '9'" in _refusal(
        tmp_path, identities="9", setting="x.identities"
    )


def test_a_name_that_is_no_text_is_refused(tmp_path):
    write_faces(tmp_path, 1)
    (tmp_path / "1" / "easy" / "\udcff.png").write_bytes(encode(pixels("x")))
    assert r"1/easy/'\udcff.png' is no readable file name" in _refusal(tmp_path)


def test_a_folder_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "Permission denied", "faces/1")

    write_faces(tmp_path, 1)
    monkeypatch.setattr("ddl_jax.data.image_folder._walk", forbidden)
    assert "faces/1 cannot be read" in _refusal(tmp_path)


def test_the_fingerprint_tells_other_pixels_under_the_same_names(tmp_path):
    write_faces(tmp_path, 1)
    before = ImageFolderSource(str(tmp_path)).index
    write_image(tmp_path, "other.png")
    (tmp_path / "other.png").rename(tmp_path / "1/easy/0.png")
    after = ImageFolderSource(str(tmp_path)).index
    assert after.fingerprint() != before.fingerprint()
    assert after.fingerprint(contents=False) == before.fingerprint(contents=False)


def test_a_link_that_would_never_end_is_refused(tmp_path):
    write_faces(tmp_path, 1)
    (tmp_path / "1" / "again").symlink_to(tmp_path)
    assert "1/again is a link to a folder that it is in" in _refusal(tmp_path)


def test_links_that_lead_nowhere_are_unreadable_images(tmp_path):
    write_faces(tmp_path, 1)
    (tmp_path / "1/lost.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "1/round.png").symlink_to(tmp_path / "1/round.png")
    assert "1/lost.png cannot be read: No such file" in _refusal(tmp_path)
    skipped = ImageFolderSource(str(tmp_path), corrupt="skip").skipped
    assert skipped == ["1/lost.png", "1/round.png"]


def test_what_is_no_image_by_its_name_is_passed_over_and_counted(tmp_path, caplog):
    for path in ("a/1.dib", "a/2.bmp", "b/c/3.png"):
        write_image(tmp_path, path)
    assert ImageFolderSource(str(tmp_path)).index.paths.tolist() == [
        *("a/1.dib", "a/2.bmp", "b/c/3.png")
    ]
    assert not caplog.text
    for path in ("a/4", "b/c/5", "a/6.CSV", "b/7.svg"):
        (tmp_path / path).write_text("x")
    for path in ("a/8.jxl", "b/9.heif"):
        (tmp_path / path).write_bytes(b"from a telephone")
    source = ImageFolderSource(str(tmp_path), corrupt="skip")
    assert source.skipped == ["a/8.jxl", "b/9.heif"] and len(source) == 3
    assert (
        f"{tmp_path}: passed over 4 files that are no images by their names: "
        "2 without a suffix, 1 .csv, 1 .svg" in caplog.text
    )


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.sets(st.lists(st.text("ab1-_.! ", min_size=1, max_size=3), min_size=1, max_size=4)
               .map(lambda parts: "/".join(f"x{part}x" for part in parts) + ".png")))  # fmt: skip
def test_folder_by_folder_is_the_natural_order_of_whole_paths(tmp_path_factory, paths):
    root = tmp_path_factory.mktemp("tree")
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    assert find_images(str(root)) == sorted(paths, key=natural_key)


def test_hidden_and_other_files_are_passed_over(tmp_path):
    write_image(tmp_path, "a/1.png")
    for path in ("a/.2.png", ".hidden/3.png", "a/.cache/4.png"):
        write_image(tmp_path, path)
    (tmp_path / "README.txt").write_text("faces")
    (tmp_path / "a" / "list.csv").write_text("path\n")
    (tmp_path / "a" / "folder.png").mkdir()
    assert ImageFolderSource(str(tmp_path)).index.paths.tolist() == ["a/1.png"]


def test_identities_and_images_are_numbered_as_people_count(tmp_path):
    for path in ("s10/1.png", "s2/10.png", "s2/9.png", "s1/1.png", "S3/1.png", "s2b/1.png"):
        write_image(tmp_path, path)
    index = ImageFolderSource(str(tmp_path)).index
    label = dict(zip(index.identities.tolist(), index.labels.tolist()))
    assert sorted(label, key=label.get) == ["S3", "s1", "s2", "s2b", "s10"]
    assert list(index.paths).index("s2/9.png") < list(index.paths).index("s2/10.png")


def test_an_image_outside_an_identitys_folder_is_refused(tmp_path):
    write_faces(tmp_path, 2)
    write_image(tmp_path, "loose.png")
    assert "loose.png is in no identity's folder" in _refusal(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    assert "no folder" in _refusal(tmp_path / "nothing")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "faces.zip").write_bytes(b"PK")
    assert "no folder" in _refusal(tmp_path / "faces.zip")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    assert "holds no image" in _refusal(tmp_path)


def _corrupt(root: pathlib.Path) -> list[str]:
    """Adds unreadable images of every kind -> their paths."""
    image = pixels("corrupt", (24, 20))
    contents = {"1/empty.png": b"", "1/random.jpg": np.random.default_rng(0).bytes(900)}
    for suffix in (".jpg", ".png", ".pgm"):
        contents[f"1/truncated{suffix}"] = encode(image, suffix)[:-40]
    for path, content in contents.items():
        (root / path).write_bytes(content)
    return list(contents)


def test_each_corrupt_image_is_refused_by_name(tmp_path):
    write_faces(tmp_path, 1)
    for path in _corrupt(tmp_path):
        folder = tmp_path / path.replace("/", "_")
        write_faces(folder, 1)
        (folder / path).write_bytes((tmp_path / path).read_bytes())
        assert _refusal(folder).startswith(f"{path} is not a readable image")


def test_many_corrupt_images_are_counted_in_one_line(tmp_path):
    write_faces(tmp_path, 1)
    assert f"({len(_corrupt(tmp_path))} such images)" in _refusal(tmp_path)


def test_corrupt_images_are_skipped_and_counted_when_asked(tmp_path):
    write_faces(tmp_path, 2)
    intact = ImageFolderSource(str(tmp_path)).index.fingerprint()
    corrupt = _corrupt(tmp_path)
    source = ImageFolderSource(str(tmp_path), corrupt="skip")
    assert sorted(source.skipped) == sorted(corrupt)
    assert source.index.fingerprint() == intact


def test_an_identity_of_corrupt_images_only_leaves_no_gap_in_the_labels(tmp_path):
    for path in ("1/a.png", "3/a.png"):
        write_image(tmp_path, path)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "a.png").write_bytes(b"")
    index = ImageFolderSource(str(tmp_path), corrupt="skip").index
    assert (index.labels.tolist(), index.identities.tolist()) == ([0, 1], ["1", "3"])


def test_a_folder_of_corrupt_images_only_is_refused_even_when_skipping(tmp_path):
    (tmp_path / "1").mkdir()
    corrupt = _corrupt(tmp_path)
    assert f"none of the {len(corrupt)} images is readable" in _refusal(tmp_path, corrupt="skip")


def test_an_image_that_went_away_since_is_named(tmp_path):
    write_faces(tmp_path, 1)
    source = ImageFolderSource(str(tmp_path))
    (tmp_path / "1/easy/1.png").unlink()
    with pytest.raises(UserError, match=r"1/easy/1\.png cannot be read: No such file"):
        source[1]


def test_domains_come_from_rules_or_metadata(tmp_path):
    write_faces(tmp_path, 2, domains=("frontal", "profile"), images=1)
    source = ImageFolderSource(str(tmp_path), domain_rules=("*/frontal/*=easy", "*=hard"))
    assert source.index.domains.tolist() == ["easy", "hard"] * 2
    table = tmp_path / "table.csv"
    rows = [f"{path},{path.replace('/', '')}" for path in source.index.paths]
    table.write_text("\n".join(["path,name", *rows]))
    by_column = ImageFolderSource(
        str(tmp_path), metadata=str(table), domain_column="name", domain_rules=("1p*=odd", "*=rest")
    )
    assert by_column.index.domains.tolist() == ["rest", "odd", "rest", "rest"]
    assert by_column[1]["domain"] == "odd"


def test_pixels_are_those_of_the_file(tmp_path):
    write_faces(tmp_path, 1)
    record = ImageFolderSource(str(tmp_path))[1]
    np.testing.assert_array_equal(decode_image(record["image"], "x"), pixels(record["path"]))
