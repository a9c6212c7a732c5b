"""Files are there as a whole, or as they were."""

import pytest

from ddl_jax.errors import UserError
from ddl_jax.files import check_folder, check_target, replacing, write_atomically, written


def test_a_file_appears_whole_in_a_folder_that_is_made(tmp_path):
    write_atomically(tmp_path / "new/file", b"one")
    with replacing(tmp_path / "new/file") as place:
        place.write_bytes(b"two")
        assert (tmp_path / "new/file").read_bytes() == b"one"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file"]
    assert (tmp_path / "new/file").read_bytes() == b"two"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    write_atomically(tmp_path / "file", b"one")
    with pytest.raises(error), replacing(tmp_path / "file") as place:
        place.write_bytes(b"half")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"one"


@pytest.mark.parametrize(
    "path, told",
    [
        ("folder", "is a directory; give the name of a file"),
        ("no/file.csv", "no directory 'HOME/no'; make it first"),
        ("file/x.csv", "no directory 'HOME/file'; make it first"),
        ("file.txt", "ends in none of .csv, .json; use one of them"),
    ],
)
def test_where_no_file_can_be_put_is_refused_in_one_wording(tmp_path, path, told):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    given, told = str(tmp_path / path), told.replace("HOME", str(tmp_path))
    suffixes = (".csv", ".json") if "none of" in told else ()
    for flag, name in (("", given), ("--out", f"--out={given}")):
        with pytest.raises(UserError) as error:
            check_target(given, flag=flag, suffixes=suffixes)
        assert str(error.value) in (f"{name} {told}", f"{name}: {told}")
    check_target(tmp_path / "new.csv", suffixes=(".csv",))


def test_where_no_folder_can_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    check_folder(tmp_path / "new/er")
    check_folder(tmp_path)
    with pytest.raises(UserError, match="^--out=.*file/x: '.*file' is a file; give a folder$"):
        check_folder(tmp_path / "file/x", flag="--out")


def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="^--out=.* cannot be written: No space left on device$"):
        with written(tmp_path / "file", flag="--out") as place:
            place.write_bytes(b"half")
            raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())
