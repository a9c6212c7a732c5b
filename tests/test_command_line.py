"""The programs as a user meets them: a mistake costs one line, exit status 2, and no file."""

import os
import pathlib
import subprocess
import sys

import pytest

from ddl_jax import command_line
from ddl_jax.config import Config, Data, to_json
from ddl_jax.errors import UserError

from .data.image_files import write_faces, write_image
from .training.work_directory import write_work_directory

ROOT = pathlib.Path(__file__).parent.parent
FOLDER, DDL = (f"--config={ROOT / 'configs' / name}.py" for name in ("folder", "folder_ddl"))
SMALL = (
    "--config.model.embedding_size=32",
    "--config.model.input_size=32,32",
    "--config.batch_size=8",
)


@pytest.fixture
def home(tmp_path, monkeypatch) -> pathlib.Path:
    """The current directory, with `faces`: 10 identities, easy ones in frontal, hard in profile."""
    write_faces(tmp_path / "faces", 10, domains=("frontal", "profile"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _files(folder: pathlib.Path) -> dict[pathlib.Path, bytes | None]:
    """Everything but what is kept of the images that were checked, and a run's lock."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if ".ddl_jax" not in path.parts and path.name != ".lock"
    }


def _train(config: str, *arguments: str) -> int:
    """`train.py` in this process; a later argument overrides an earlier one."""
    data = (
        "--config.data.path=faces",
        "--config.data.identities=1..8",
        "--config.evaluation.data.identities=9..10",
        "--workdir=run",
    )
    return command_line.run(command_line.train, ["train.py", config, *data, *SMALL, *arguments])


def _assert_refused(home: pathlib.Path, capsys, told: str, *arguments: str) -> None:
    before = _files(home)
    assert _train(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("train.py: ") and told in printed.err
    assert printed.err.count("\n") == 1 and not printed.out
    assert _files(home) == before  # no work directory, nothing beside the data


@pytest.mark.parametrize(
    "told, arguments",
    [
        ("no config file 'nothing.py'", ["--config=nothing.py"]),
        ("margn", [FOLDER, "--config.loss.margn=cosface"]),
        ("choose one of arcface", [FOLDER, "--config.loss.margin=arcfase"]),
        ("no folder 'nothing'", [FOLDER, "--config.data.path=nothing"]),
        ("3 devices cannot share", [FOLDER, "--config.devices=3"]),
        ("this machine has", [FOLDER, "--config.devices=99"]),
        ("'resnet51'", [FOLDER, "--config.model.name=resnet51"]),
        ("config.data.identities names identity '11'", [FOLDER, "--config.data.identities=1..11"]),
        ("'dark'; the data has easy, hard", [DDL, "--config.batch.domains=easy,dark"]),
        ("no domain rule fits", [DDL, "--config.data.domain_rules=*/frontal/*=easy"]),
        ("batch takes config.batch_size=16 different ones", [DDL, "--config.batch_size=16"]),
        ("no 'nothing'; give a work directory", [DDL, "--config.init_from.path=nothing"]),
        ("profile/1.png' is a file; give", [DDL, "--config.init_from.path=faces/3/profile/1.png"]),
        (
            "config.init_from.frozen names 'stage9'; iresnet_tiny has stem, stage1, stage2, ",
            [DDL, "--config.init_from.path=nothing", "--config.init_from.frozen=stem,stage9"],
        ),
        ("no folder 'nothing'", [FOLDER, "--config.evaluation.data.path=nothing"]),
        (
            "config.evaluation.data.identities names identity '12'",
            [FOLDER, "--config.evaluation.data.identities=12"],
        ),
        ("nothing.csv", [FOLDER, "--config.evaluation.pairs=nothing.csv"]),
    ],
)
def test_a_mistake_is_refused_before_any_work(home, capsys, told, arguments):
    _assert_refused(home, capsys, told, *arguments)


def test_an_empty_folder_is_refused(home, capsys):
    (home / "empty").mkdir()
    _assert_refused(home, capsys, "empty holds no image", FOLDER, "--config.data.path=empty")


def test_a_corrupt_image_is_refused(home, capsys):
    (home / "faces/3/profile/1.png").write_bytes(b"\x89PNG")
    _assert_refused(home, capsys, "3/profile/1.png is not a readable image", FOLDER)


def test_a_domain_without_pairs_is_refused(home, capsys):
    for identity in range(1, 11):
        (home / f"faces/{identity}/profile/1.png").unlink()
    _assert_refused(home, capsys, "domain 'hard' has no positive pair", DDL)


def test_the_work_directory_of_another_config_is_refused(home, capsys):
    (home / "run").mkdir()
    other = Config(data=Data(source="image_folder", path="faces"))
    (home / "run" / "config.json").write_text(to_json(other))
    _assert_refused(home, capsys, "run belongs to a run with another config.batch_size", FOLDER)


def test_a_file_in_place_of_the_work_directory_is_refused(home, capsys):
    (home / "run").write_text("")
    _assert_refused(home, capsys, "--workdir=run: run is a file", FOLDER)
    _assert_refused(home, capsys, "run is a file", FOLDER, "--workdir=run/deeper/still")


def test_a_work_directory_that_cannot_be_made_is_refused(home, capsys):
    # Nobody makes directories in /proc, root included.
    _assert_refused(
        home, capsys, "--workdir=/proc/run cannot be written", FOLDER, "--workdir=/proc/run"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config.batch_size=1", "--config.devices=1"],
        ["--config.batch_size=8", "--config.devices=8", "--config.model.batch_norm=per_device"],
    ],
)
def test_what_the_step_cannot_compute_is_refused_before_anything_is_written(
    home, capsys, arguments
):
    _assert_refused(home, capsys, "BatchNorm in training needs two values", FOLDER, *arguments)


def test_a_file_in_place_of_the_data_is_refused(home, capsys):
    (home / "file").write_text("")
    config = f"--config={ROOT / 'configs' / 'synthetic_pretrain.py'}:runlocal"
    arguments = ["--config.data.path=file", "--config.data.identities=", "--config.devices=1"]
    told = "config.data.path: 'file' cannot be used"
    _assert_refused(home, capsys, told, config, *arguments)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> pathlib.Path:
    """A work directory with a network for images of 32x32 at step 7."""
    workdir = tmp_path_factory.mktemp("trained")
    write_work_directory(workdir)
    return workdir


@pytest.mark.parametrize(
    "told, arguments",
    [
        ("--workdir is missing", []),
        ("nothing is no work directory", ["--workdir=nothing", "--out=a.pt"]),
        ("has no checkpoint of step 3; it has [7]", ["--out=a.pt", "--step=3"]),
        ("--step=last", ["--out=a.pt", "--step=last"]),
        ("--out is missing; give a file that ends in .stablehlo, .pt, .pth", ["--out="]),
        ("--out=a.onnx ends in none of .stablehlo, .pt, .pth", ["--out=a.onnx"]),
        ("unknown --format 'onnx'; use one of stablehlo, torch", ["--out=a", "--format=onnx"]),
        ("no directory 'nothing'", ["--out=nothing/a.stablehlo"]),
        ("faces is a directory; give", ["--out=faces", "--format=torch"]),
        ("unknown platform 'gpu'", ["--out=a.stablehlo", "--platforms=cpu,gpu"]),
        ("platforms are cuda; add cpu", ["--out=a.stablehlo", "--platforms=cuda"]),
        ("--platforms is for --format=stablehlo", ["--out=a.pt", "--platforms=cpu"]),
        ("no 'nothing'; give an image", ["--out=a.pt", "--images=nothing"]),
        ("empty holds no image", ["--out=a.pt", "--images=empty"]),
        ("0.png is 24x20, the network takes 32x32", ["--out=a.pt", "--images=faces"]),
        ("0.png is 24x20", ["--out=a.stablehlo", "--images=faces/3/profile/0.png"]),
        ("corrupt.png is not a readable image", ["--out=a.pt", "--images=corrupt.png"]),
        ("--config is not for export.py", ["--out=a.pt", FOLDER, "--config.data.path=faces"]),
        ("flag 'colour'", ["--out=a.pt", "--colour=BGR"]),
    ],
)
def test_an_export_that_cannot_be_is_refused(home, trained, capsys, told, arguments):
    (home / "empty").mkdir()
    (home / "corrupt.png").write_bytes(b"\x89PNG")
    before = _files(home)
    workdir = [f"--workdir={trained}"] if arguments else []
    assert command_line.run(command_line.export, ["export.py", *workdir, *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("export.py: ") and told in printed.err
    assert printed.err.count("\n") == 1 and not printed.out
    assert _files(home) == before


@pytest.mark.parametrize("out, options", [("a.stablehlo", ["--platforms=cpu,cuda"]), ("a.pt", [])])
def test_an_export_says_what_it_wrote(home, trained, capsys, out, options):
    write_image(home, "aligned/1/a.png", shape=(32, 32, 3))
    arguments = [f"--workdir={trained}", f"--out={out}", "--images=aligned", "--step=7", *options]
    assert command_line.run(command_line.export, ["export.py", *arguments]) == 0
    assert capsys.readouterr().out == (
        f"{out}: iresnet_tiny, 16 numbers, lowest cosine 1.000000 over 16 random and 1 given "
        "images\n"
    )
    assert (home / out).is_file()


def test_a_remote_path_without_its_library_is_one_line(capsys):
    def main(argv):
        raise ImportError("Please install gcsfs to access Google Storage")

    assert command_line.run(main, ["train.py"]) == 2
    assert capsys.readouterr().err == "train.py: gs:// needs gcsfs; pip install gcsfs\n"


def test_a_full_disk_is_one_line(capsys):
    def main(argv):
        raise OSError(28, "No space left on device", "runs/a/report.html")

    assert command_line.run(main, ["train.py"]) == 2
    assert capsys.readouterr().err == (
        "train.py: runs/a/report.html cannot be written: No space left on device; make room and "
        "start the same command again\n"
    )


def test_an_interrupted_program_says_how_to_go_on(capsys):
    def main(argv):
        raise KeyboardInterrupt

    assert command_line.run(main, ["train.py"]) == 130
    assert "training from its last checkpoint" in capsys.readouterr().err


def test_a_program_that_ends_well_exits_with_0(capsys):
    assert command_line.run(lambda argv: print(argv), ["/a/train.py", "x"]) == 0
    assert capsys.readouterr().out == "['/a/train.py', 'x']\n"


def test_the_line_begins_with_the_programs_name(capsys):
    def main(argv):
        raise UserError("too bad")

    assert command_line.run(main, ["/a/train.py"]) == 2
    assert capsys.readouterr().err == "train.py: too bad\n"


def test_a_bug_of_ours_is_not_dressed_up_as_a_users_mistake():
    def main(argv):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        command_line.run(main, ["train.py"])


@pytest.mark.parametrize(
    "program, flag",
    [
        (command_line.train, "--config"),
        (command_line.evaluate, "--before"),
        (command_line.export, "--out"),
    ],
)
def test_help_is_printed(program, flag, capsys):
    assert command_line.run(program, ["program.py", "--help"]) == 0
    printed = capsys.readouterr()
    assert flag in printed.out and "--workdir" in printed.out and not printed.err


@pytest.mark.parametrize("word", ["embeded", "run"])
def test_an_unknown_command_of_eval_is_one_line(word, capsys):
    assert command_line.run(command_line.evaluate, ["eval.py", word, "--workdir=run"]) == 2
    told = f"eval.py: unknown command {word!r}; write python eval.py --workdir=DIR or "
    printed = capsys.readouterr()
    assert printed.err.startswith(told) and printed.err.count("\n") == 1 and not printed.out


def test_the_commands_of_eval_are_the_modules_there_are(capsys):
    modules = {path.stem for path in (ROOT / "ddl_jax/commands").glob("[!_]*.py")}
    command_line.run(command_line.evaluate, ["eval.py", "--help"])
    printed = capsys.readouterr().out
    assert all(f"`python eval.py {name}" in printed for name in modules)
    for name in modules:
        assert command_line.run(command_line.evaluate, ["eval.py", name, "--help"]) == 0
        assert f"`python eval.py {name} " in capsys.readouterr().out


def _run(home: pathlib.Path, *command: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], cwd=home, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "told, command",
    [
        (
            "train.py: no folder 'nothing'",
            [f"{ROOT}/train.py", FOLDER, "--workdir=run", "--config.data.path=nothing"],
        ),
        ("train.py: no config file", [f"{ROOT}/train.py", "--config=nothing.py", "--workdir=run"]),
        (
            "train.py: get_config() returned None",
            [f"{ROOT}/train.py", "--config=none.py", "--workdir=run"],
        ),
        ("eval.py: ", [f"{ROOT}/eval.py", "--workdir=run"]),
        ("export.py: run is no", [f"{ROOT}/export.py", "--workdir=run", "--out=a.pt"]),
        (
            "ddl_jax.data: 1/a.png is not a readable image",
            ["-m", "ddl_jax.data", "prepare", "--path=corrupt", "--out=packed"],
        ),
    ],
)
def test_the_programs_themselves_end_with_one_line_and_status_2(tmp_path, told, command):
    write_image(tmp_path, "corrupt/1/a.png")
    write_image(tmp_path, "corrupt/1/b.pgm", shape=(9, 9))
    for name in ("a.png", "b.pgm"):
        file = tmp_path / "corrupt/1" / name
        file.write_bytes(file.read_bytes()[:-30])
    (tmp_path / "none.py").write_text("def get_config():\n    return None\n")
    before = _files(tmp_path)
    ended = _run(tmp_path, *command)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(told) and ended.stderr.count("\n") == 1
    assert _files(tmp_path) == before


def test_help_of_a_program_itself(tmp_path):
    ended = _run(tmp_path, f"{ROOT}/train.py", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--workdir" in ended.stdout
