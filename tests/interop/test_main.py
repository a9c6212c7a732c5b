"""`python -m ddl_jax.interop show`."""

import shlex
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.interop import __main__ as program
from ddl_jax.interop import read_torch_checkpoint, save_torch_backbone, write_torch_checkpoint
from ddl_jax.models import create_backbone


def write_zeros(path, name, size):
    """A network of zeros under the names of its authors, 24 numbers an embedding."""
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    module = create_backbone(name, embedding_size=24)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    save_torch_backbone(path, name, zeros)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_zeros(tmp_path_factory.mktemp("weights") / "tiny.pt", "iresnet_tiny", (48, 32))


def show(*arguments):
    return command_line.run(program.main, ["ddl_jax.interop", *map(str, arguments)])


def test_shows_what_goes_where_and_the_settings(tiny, capsys):
    assert show("show", tiny, "--input_size=48,32") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "fc.weight (24, 256) -> params/fc/kernel" in lines
    assert "--config.model.name=iresnet_tiny" in lines
    assert "--config.model.embedding_size=24" in lines
    assert "--config.model.input_size=48,32" in lines
    assert "--config.init_from.head=class_means" in lines
    assert any("which is not in the file: --config.model.colour=RGB" in line for line in lines)


def test_the_settings_can_be_pasted_whatever_the_file_is_called(tiny, tmp_path, capsys):
    path = shutil.copy(tiny, tmp_path / "my weights; 'best'.pt")
    assert show("show", path, "--input_size=48,32") == 0
    lines = [n for n in capsys.readouterr().out.splitlines() if n.startswith("--config.")]
    assert f"--config.init_from.path={path}" in shlex.split(" ".join(lines))


def in_a_lightning_module(path):
    state = read_torch_checkpoint(path)
    write_torch_checkpoint(path, {f"model.{name}": value for name, value in state.items()})
    return path


def test_shows_the_colours_of_a_project_that_has_its_own(tmp_path, capsys):
    path = in_a_lightning_module(write_zeros(tmp_path / "adaface.ckpt", "ir_18", (16, 32)))
    assert show("show", path, "--input_size=16,32") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ir_18, saved as by AdaFace (Lightning); sha256 ")
    assert "--config.model.colour=BGR" in lines
    assert "--config.model.mean=127.5,127.5,127.5" in lines


def test_guesses_no_colours_from_a_prefix_that_many_have(tiny, tmp_path, capsys):
    path = in_a_lightning_module(shutil.copy(tiny, tmp_path / "own.ckpt"))
    assert show("show", path, "--input_size=48,32") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("iresnet_tiny; sha256 ")
    assert "model.fc.weight (24, 256) -> params/fc/kernel" in lines
    assert any("which is not in the file: --config.model.colour=RGB" in line for line in lines)


@pytest.mark.parametrize(
    "arguments, told",
    [
        ((), "unknown command ''; write python -m ddl_jax.interop show FILE"),
        (("show",), "show takes one FILE, not 0"),
        (("show", "a.pt", "b.pt"), "show takes one FILE, not 2"),
        (("show", "none.pt"), "none.pt: no such file"),
        (("show", "."), ". is a directory; give a PyTorch checkpoint's file"),
        (("show", f"{__file__}/a.pt"), "a.pt cannot be read: Not a directory"),
        (("show", "a" * 300), "aaa cannot be read: File name too long"),
        (("show", "/proc/self/mem"), "/proc/self/mem cannot be read: Input/output error"),
        (("show", "none.pt", "--input_size=112"), "--input_size is '112'; give height,width"),
        (("show", "none.pt", "--nework=x"), "nework"),
        (
            ("show", "TINY", "--network=iresnet50"),
            "its names are those of iresnet_tiny; give that network",
        ),
        (("show", "TINY"), "'fc.weight' has shape (24, 256), expected (24, 2048)"),
    ],
)
def test_mistakes_are_one_line(arguments, told, tiny, capsys):
    arguments = [tiny if argument == "TINY" else argument for argument in arguments]
    assert show(*arguments) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
