"""From a work directory to a file for other programs, in either format."""

import pathlib
import re

import jax
import numpy as np
import pytest

import ddl_jax
from ddl_jax.errors import UserError
from ddl_jax.interop import load_stablehlo, load_torch_backbone
from ddl_jax.training import export_workdir as export_lib
from ddl_jax.training.export_workdir import export_workdir

from ..data.image_files import pixels, write_image
from .work_directory import write_work_directory

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained")
    write_work_directory(path)
    return path


def embeddings(workdir, images):
    module, variables, card = ddl_jax.load_checkpoint(workdir)
    return jax.jit(module.apply)(variables, card.normalise(images))


@pytest.fixture
def faces(tmp_path):
    """A folder of two images, and their pixels."""
    names = ("1/a.png", "1/b.png")
    for name in names:
        write_image(tmp_path / "faces", name, shape=(32, 32, 3))
    return tmp_path / "faces", np.stack([pixels(name, (32, 32, 3)) for name in names])


def test_stablehlo_embeds_as_the_checkpoint(workdir, faces, tmp_path):
    folder, images = faces
    out = tmp_path / "x.stablehlo"
    assert export_workdir(workdir, out, images=str(folder)) == (
        f"{out}: iresnet_tiny, 16 numbers, lowest cosine 1.000000 over 16 random and 2 given images"
    )
    embed, card = load_stablehlo(out)
    assert card == ddl_jax.load_checkpoint(workdir)[2] and card.colour == "BGR"
    np.testing.assert_allclose(embed(images), embeddings(workdir, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.bin"])
def test_torch_has_the_weights_of_the_checkpoint(workdir, tmp_path, name):
    out = tmp_path / name
    told = export_workdir(workdir, out, step=7, file_format="torch" if name == "x.bin" else "")
    assert told.endswith("lowest cosine 1.000000 over 16 random and 0 given images")
    variables = load_torch_backbone(out, "iresnet_tiny", input_size=(32, 32))
    jax.tree.map(np.testing.assert_array_equal, variables, ddl_jax.load_checkpoint(workdir)[1])
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.long
def test_a_mobilefacenet_goes_out_in_either_format(tmp_path):
    write_work_directory(tmp_path / "run", "mobilefacenet_relu6")
    for out in ("x.stablehlo", "x.pt"):
        told = export_workdir(tmp_path / "run", tmp_path / out)
        assert "mobilefacenet_relu6, 16 numbers, lowest cosine 1.000000" in told


def test_what_is_wrong_with_the_file_is_told_before_the_weights_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(export_lib, "load_checkpoint", None)
    for out, told in (("x.txt", "ends in none of"), ("no/x.pt", "no directory")):
        with pytest.raises(UserError, match=told):
            export_workdir("nothing", tmp_path / out)


CODE = re.findall(
    r"^```python\n(.*?)^```$",
    (pathlib.Path(__file__).parents[2] / "docs" / "export.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder as the documentation's reader has it, and the embeddings of 8 images."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "runs").mkdir()
    write_work_directory(folder / "runs" / "ddl")
    export_workdir(folder / "runs" / "ddl", folder / "ddl.stablehlo")
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    return folder, images, embeddings(folder / "runs" / "ddl", images)


def run_documented(code, exported, monkeypatch):
    folder, images, _ = exported
    monkeypatch.chdir(folder)
    names = {"images": images}
    exec(code, names)
    return names


def test_the_documentation_has_the_code_that_is_run_here():
    assert len(CODE) == 3 and "load_stablehlo" in CODE[0] and "zipfile" in CODE[1]


@pytest.mark.parametrize("code", CODE[:2], ids=["ddl_jax", "jax alone"])
def test_the_documented_ways_to_read_a_program_embed(code, exported, monkeypatch):
    names = run_documented(code, exported, monkeypatch)
    np.testing.assert_allclose(names["embeddings"], exported[2], rtol=1e-4, atol=1e-5)


def test_the_documented_plain_form_is_plain(exported, monkeypatch):
    folder, images, wanted = exported
    plain = run_documented(CODE[2], exported, monkeypatch)["exported"]
    assert (folder / "ddl.mlirbc").read_bytes() == plain.mlir_module_serialized
    assert plain.mlir_module_serialized.startswith(b"ML\xefR")
    np.testing.assert_allclose(plain.call(images), wanted, rtol=1e-4, atol=1e-5)
    ours = run_documented(CODE[1], exported, monkeypatch)["exported"]
    arguments = {}
    for name, program in (("plain", plain), ("ours", ours)):
        text = program.mlir_module()
        arguments[name] = re.search(r"@main\((.*?)\) ->", text)[1].count("tensor<")
        assert ("custom_call @shape_assertion" in text) == (name == "ours")
    assert arguments == {"plain": 1, "ours": 2}  # the platform first
