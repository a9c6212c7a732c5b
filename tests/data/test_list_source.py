"""Lists `path label [domain]`, as people write them."""

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddl_jax.config import Data, Synthetic
from ddl_jax.data.list_file import LabelCheck, read_list
from ddl_jax.data.list_source import ListSource
from ddl_jax.data.open_source import open_source
from ddl_jax.errors import UserError

from .image_files import write_image


@pytest.fixture
def faces(tmp_path) -> pathlib.Path:
    root = tmp_path / "faces"
    for path in ("a/1.png", "a/2.png", "with space/é 3.jpg", "b/4,5.png"):
        write_image(root, path)
    return root


def _list(faces, text: str, name: str = "list.txt") -> str:
    (faces / name).write_text(text)
    return str(faces / name)


def _refusal(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        ListSource(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_spaces_between_columns(faces):
    source = ListSource(_list(faces, "a/1.png 10 easy\n\na/2.png   9 hard\n"))
    assert source.index.paths.tolist() == ["a/1.png", "a/2.png"]
    assert source.index.identities.tolist() == ["10", "9"]
    assert source.index.labels.tolist() == [1, 0]  # as people count
    assert source.index.domains.tolist() == ["easy", "hard"]
    assert source[1] == {
        "image": (faces / "a/2.png").read_bytes(),
        "label": 0,
        "identity": "9",
        "path": "a/2.png",
        "domain": "hard",
    }


def test_tabs_let_paths_have_spaces_and_domains_may_be_left_out(faces):
    source = ListSource(_list(faces, "with space/é 3.jpg\t0\nb/4,5.png\t1\thard\n"))
    assert source.index.paths.tolist() == ["with space/é 3.jpg", "b/4,5.png"]
    assert source.index.domains.tolist() == ["easy", "hard"]
    assert source[0]["image"] == (faces / "with space/é 3.jpg").read_bytes()


def test_commas_names_in_the_first_line_quotes_and_a_spreadsheet(faces):
    text = '\ufeffidentity,age,Path,domain\nann,7,a/1.png,easy\nbo,8,"b/4,5.png",dark\n'
    source = ListSource(_list(faces, text, "list.csv"))
    assert source.index.paths.tolist() == ["a/1.png", "b/4,5.png"]
    assert source.index.identities.tolist() == ["ann", "bo"]
    assert source.index.domains.tolist() == ["easy", "dark"]


@pytest.mark.parametrize("name", ["Nan", "nan", "Infinity", "inf", "12e5", "+1e3"])
def test_a_name_that_looks_like_a_number_is_one_among_names(faces, name):
    source = ListSource(_list(faces, f"a/1.png {name}\na/2.png Ann\n"))
    assert source.index.identities.tolist() == [name, "Ann"]


def test_paths_are_below_the_root_or_absolute(faces, tmp_path):
    listed = tmp_path / "lists" / "train.txt"
    listed.parent.mkdir()
    listed.write_text(f"a/1.png\t0\n{faces}/a/2.png\t0\n")
    source = ListSource(str(listed), root=str(faces))
    assert source[0]["image"] == (faces / "a/1.png").read_bytes()
    assert source[1]["image"] == (faces / "a/2.png").read_bytes()
    assert (listed.parent / ".ddl_jax").is_dir()
    assert "line 1: a/1.png" in ListSource(str(listed), corrupt="skip").skipped[0]  # another root


def test_settings_choose_people_domains_and_what_is_corrupt(faces, caplog):
    (faces / "b/empty.png").write_bytes(b"")
    path = _list(faces, "a/1.png 0\na/2.png 1\nb/empty.png 1\nb/missing.png 2\n")
    data = Data(source="list", path=path, identities="1", domain_rules=("a/*=dark",))
    with pytest.raises(UserError, match=r"list\.txt line 3: b/empty\.png is not .*\(2 such"):
        open_source(data, Synthetic())
    data.corrupt = "skip"
    source = open_source(data, Synthetic())
    assert [(r["path"], r["label"], r["domain"]) for r in source] == [("a/2.png", 0, "dark")]
    assert "skipped 2 unreadable images" in caplog.text


def test_an_image_that_changes_is_seen(faces):
    path = _list(faces, "a/1.png 0\na/2.png 1\n")
    before = ListSource(path).index
    write_image(faces, "a/1.png", shape=(9, 9))
    after = ListSource(path).index
    assert before.checksums[0] != after.checksums[0] and before.checksums[1] == after.checksums[1]


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "names no image"),
        ("\n\n", "names no image"),
        (" \t\n", "names no image"),
        ("a/1.png\n", "line 1 has 1 columns, not path label [domain]; put tabs"),
        ("with space/é 3.jpg 0\n", "line 1 has 4 columns"),
        ("a/1.png,0\na/2.png\n", "line 2 has 1 columns"),
        ("a/1.png\t0\t\n", "line 1 has no domain"),
        ("\t0\n", "line 1 has no path"),
        ("a/1.png -1\n", "line 1: label '-1' is neither a whole number"),
        ("a/1.png 0\na/2.png nan\n", "line 2: label 'nan'"),
        ("a/1.png 1.5\n", "label '1.5'"),
        ("a/1.png 1e9\n", "label '1e9'"),
        ("a/1.png 7\na/2.png 12e5\nb/4,5.png nan\n", "line 2: label '12e5'"),
        ("a/1.png Ann\na/2.png 1.5e9\n", "line 2: label '1.5e9'"),
        ("a/1.png\t\n", "label ''"),
        ("path,age\na/1.png,7\n", "line 1: no column label or identity, only path,age"),
        ("path,label\na/1.png\n", "line 2 has 1 columns"),
        ('a/1.png,"0\n', "correct it"),
        ("a/1.png 0\na/1.png 1\n", "2 images have the path 'a/1.png'"),
        ("a/9.png 0\n", "a/9.png cannot be read: No such file"),
        ("a 0\n", "a cannot be read: Is a directory"),
    ],
)
def test_a_list_that_says_something_else_is_refused(faces, text, told):
    message = _refusal(_list(faces, text))
    assert told in message


def test_a_list_that_is_no_text_or_not_there_is_refused(faces):
    (faces / "list.txt").write_bytes(b"\xff\xfea\0")
    assert "is not UTF-8 text" in _refusal(str(faces / "list.txt"))
    assert "cannot be read: No such file" in _refusal(str(faces / "no.txt"))
    assert "cannot be read: Is a directory" in _refusal(str(faces))


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.one_of(st.binary(max_size=60), st.text("ab/.png \t,\n\r\"'0123e-", max_size=60)))
def test_any_list_is_read_or_told_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        for number, row in read_list(str(path)):
            assert number > 0 and any(row)
            LabelCheck().check(row[-1], "here")
    except UserError as error:
        assert "\n" not in str(error)
