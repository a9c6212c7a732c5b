"""`python -m ddl_jax.data pack`: from a folder to the settings that train on its packed copy."""

import pytest

from ddl_jax import command_line
from ddl_jax.config import Data, Synthetic, parse
from ddl_jax.data.__main__ import main
from ddl_jax.data.open_source import open_source

from .image_files import write_faces


def _pack(*arguments: str) -> int:
    return command_line.run(main, ["ddl_jax.data", *arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "faces", 3, domains=("frontal", "profile"))
    return tmp_path / "faces"


def test_the_printed_settings_open_the_same_data(folder, capsys, tmp_path):
    rules = "*/frontal/*=easy,*/profile/*=hard"
    (folder / "2/frontal/0.png").write_bytes(b"")
    assert (
        _pack("pack", "--path=faces", "--out=packed", f"--domain_rules={rules}", "--corrupt=skip")
        == 0
    )
    printed = capsys.readouterr()
    told, settings = printed.out.splitlines()
    assert told == "11 images of 3 identities: 5 easy, 6 hard; unreadable and skipped: 1"
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
    assert _pack("pack", "--path=faces", "--out=packed", "--name=lit", *metadata) == 0
    told, settings = capsys.readouterr().out.splitlines()
    assert "6 dark, 6 easy; unreadable and skipped: 0" in told
    assert settings.endswith("packed/image_folder/lit/1.0.0")


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "unknown command ''"),
        (["unpack"], "unknown command 'unpack'"),
        (["pack", "--out=packed"], "--path is missing"),
        (["pack", "--path=faces"], "--out is missing"),
        (["pack", "--path=faces", "--out=packed", "--nane=x"], "'nane'"),
        (["pack", "--path=nothing", "--out=packed"], "no folder 'nothing'"),
        (["pack", "--path=faces", "--out=packed", "--name=a/b"], "--name is 'a/b'"),
        (
            ["pack", "--path=faces", "--out=packed", "--corrupt=ignore"],
            "choose one of refuse, skip",
        ),
        (["pack", "--path=faces", "--out=packed", "--domain_rules=easy"], "write PATTERN=DOMAIN"),
        (
            ["pack", "--path=faces", "--out=packed", "--domain_rules=*/frontal/*=easy"],
            "no domain rule",
        ),
        (["pack", "--path=faces", "--out=packed", "--metadata=a.csv"], "go together"),
        (["pack", "--path=faces", "--out=faces/1/frontal/0.png"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_no_file(folder, capsys, arguments, told):
    before = sorted(folder.parent.rglob("*"))
    assert _pack(*arguments) == 2
    printed = capsys.readouterr()
    assert told in printed.err and printed.err.startswith("ddl_jax.data: ")
    assert printed.err.count("\n") == 1 and not printed.out
    assert sorted(folder.parent.rglob("*")) == before


def test_a_packed_data_set_is_never_overwritten(folder, capsys):
    assert _pack("pack", "--path=faces", "--out=packed") == 0
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")}
    assert _pack("pack", "--path=faces", "--out=packed") == 2
    assert "exists; choose another --name" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")} == before


def test_help_is_printed(capsys):
    assert _pack("pack", "--help") == 0
    assert "--domain_rules" in capsys.readouterr().out
    assert _pack("--help") == 0
    assert "pack" in capsys.readouterr().out
