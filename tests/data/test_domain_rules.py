"""From paths and metadata to domains."""

import pytest

from ddl_jax.data.domain_rules import assign_domains
from ddl_jax.errors import UserError

PATHS = ["1/frontal/a.png", "1/profile/a.png", "2/Frontal/b.png"]


def _refusal(*arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        assign_domains(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_rules_all_is_easy():
    assert assign_domains(PATHS, ()) == ["easy"] * 3


def test_the_first_rule_that_fits_wins():
    assert assign_domains(PATHS, ("*/profile/*=hard", "*=easy")) == ["easy", "hard", "easy"]
    assert assign_domains(PATHS, ("*=easy", "*/profile/*=hard")) == ["easy"] * 3


def test_upper_and_lower_case_differ():
    rules = ("*/frontal/*=easy", "*/[!f]*=rest")
    assert assign_domains(PATHS, rules) == ["easy", "rest", "rest"]


def test_an_image_that_no_rule_fits_is_named():
    assert "'2/Frontal/b.png'" in _refusal(PATHS, ("*/frontal/*=easy", "*/profile/*=hard"))


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "table.csv"
    rows = ["pose,path", *(f"{pose},{path}" for pose, path in zip("090", reversed(PATHS)))]
    file.write_text("\n".join(rows) + "\n")
    return file


def test_a_metadata_column_names_the_domain(table):
    assert assign_domains(PATHS, (), metadata=str(table), column="pose") == ["0", "9", "0"]


def test_rules_meet_the_metadata_column(table):
    rules = ("0=easy", "9=hard")
    domains = assign_domains(PATHS, rules, metadata=str(table), column="pose")
    assert domains == ["easy", "hard", "easy"]


def test_a_value_that_no_rule_fits_is_told_with_its_image(table):
    told = _refusal(PATHS, ("0=easy",), metadata=str(table), column="pose")
    assert "'1/profile/a.png' (value '9')" in told


def test_a_table_from_a_spreadsheet_is_read(table):
    table.write_bytes(
        b"\xef\xbb\xbfpath,pose\r\n" + b"".join(f'"{path}",easy\r\n'.encode() for path in PATHS)
    )
    assert assign_domains(PATHS, (), metadata=str(table), column="pose") == ["easy"] * 3


@pytest.mark.parametrize(
    "content, told",
    [
        ("name,pose\na,b\n", "no column 'path'"),
        ("path,light\na,b\n", "no column 'pose'"),
        ("", "no column 'path'"),
        (f"path,pose\n{PATHS[0]},0\n{PATHS[2]},0\n", f"about '{PATHS[1]}'"),
        (f"path,pose\n{PATHS[0]},0\n{PATHS[1]}\n{PATHS[2]},0\n", "line 3: not as many values"),
        (f"path,pose\n{PATHS[0]},0\n{PATHS[0]},1\n", f"line 3: '{PATHS[0]}' stands there twice"),
        (f"path,pose\n{PATHS[0]},0\n{PATHS[1]},\n{PATHS[2]},0\n", f"about '{PATHS[1]}'"),
        (b"path,pose\n\xff\xfe,0\n", "not UTF-8 text"),
    ],
)
def test_metadata_that_do_not_tell_are_refused(table, content, told):
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told in _refusal(PATHS, (), metadata=str(table), column="pose")


def test_missing_metadata_are_refused(tmp_path):
    for name in ("nothing.csv", "."):  # and a folder in their place
        file = str(tmp_path / name)
        assert f"no metadata file {file!r}" in _refusal(PATHS, (), metadata=file, column="pose")
