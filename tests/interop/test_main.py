"""`python -m ddl_jax.interop show`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax.interop import __main__ as program
from ddl_jax.interop import read_torch_checkpoint, save_torch_backbone, write_torch_checkpoint
from ddl_jax.models import create_backbone


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """iresnet_tiny as MagFace's training saves a network."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    images = jax.ShapeDtypeStruct((1, 48, 32, 3), jnp.float32)
    module = create_backbone("iresnet_tiny", embedding_size=24)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    save_torch_backbone(path, "iresnet_tiny", zeros)
    return path


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


def test_shows_the_colours_of_a_project_that_has_its_own(tiny, tmp_path, capsys):
    path = tmp_path / "adaface.ckpt"
    state = read_torch_checkpoint(tiny)
    write_torch_checkpoint(path, {f"model.{name}": value for name, value in state.items()})
    assert show("show", path, "--input_size=48,32") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("iresnet_tiny, saved as by AdaFace (Lightning); sha256 ")
    assert "--config.model.colour=BGR" in lines
    assert "--config.model.mean=127.5,127.5,127.5" in lines


@pytest.mark.parametrize(
    "arguments, told",
    [
        ((), "unknown command ''; write python -m ddl_jax.interop show FILE"),
        (("show",), "show takes one FILE, not 0"),
        (("show", "a.pt", "b.pt"), "show takes one FILE, not 2"),
        (("show", "none.pt"), "none.pt: no such file"),
        (("show", "."), ". is a directory; give a PyTorch checkpoint's file"),
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
