"""Files are there as a whole, or as they were."""

import pytest

from ddl_jax.files import replacing, write_atomically


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
