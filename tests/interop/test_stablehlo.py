"""A network as one program: what comes out of the file is what the network says."""

import json
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.interop import checked_file, export_stablehlo, load_stablehlo, stablehlo
from ddl_jax.models import BACKBONES, ModelCard, create_backbone
from ddl_jax.models.iresnet import IResNet
from tests.random_values import random_values

pytestmark = pytest.mark.usefixtures("quick_compilation")

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"

OF_EVERY_KIND = (
    *("iresnet_tiny", "iresnet18", "ir_se_50"),
    *("mobilefacenet", "mobilefacenet_relu6", "mbf", "mbf_large"),
)


def pixels(count, size=(32, 32)):
    return np.random.default_rng(1).integers(0, 256, (count, *size, 3), np.uint8)


def network(name="iresnet_tiny", *, dtype=jnp.float32, size=(32, 32), **card):
    """Module, random variables, card."""
    module = create_backbone(name, embedding_size=24, dtype=dtype)
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    variables = random_values(jax.eval_shape(module.init, jax.random.key(0), images))
    return module, variables, ModelCard(name, input_size=size, embedding_size=24, **card)


def embeddings(module, variables, card, images):
    return jax.jit(module.apply)(variables, card.normalise(images))


@pytest.fixture(scope="module")
def tiny():
    return network(colour="BGR", mean=(10, 120, 200), deviation=(40, 60, 90), source="a test")


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "tiny.stablehlo"
    checked = export_stablehlo(path, *tiny, images=pixels(3))
    assert checked.lowest_cosine > 0.999999 and (checked.random, checked.given) == (16, 3)
    assert list(path.parent.iterdir()) == [path]
    return path


def entries_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_preprocessing_is_inside_and_any_number_of_images_goes_in(tiny, tiny_file):
    module, variables, card = tiny
    embed, again = load_stablehlo(tiny_file)
    assert again == card
    images = pixels(5)
    wanted = embeddings(module, variables, card, images)
    for count in (1, 2, 5):
        found = embed(images[:count])
        assert found.dtype == jnp.float32 and found.shape == (count, 24)
        np.testing.assert_allclose(found, wanted[:count], rtol=1e-4, atol=1e-5)
    other = embeddings(module, variables, ModelCard("iresnet_tiny", (32, 32)), images)
    assert np.abs(wanted - other).max() > 0.1 * np.abs(wanted).max()  # the card matters
    assert np.abs(np.linalg.norm(wanted, axis=1) - 1).min() > 0.1  # not brought to length 1


def test_plain_jax_reads_it_as_the_docs_say(tiny, tiny_file):
    with zipfile.ZipFile(tiny_file) as archive:
        exported = jax.export.deserialize(archive.read("model.jax_export"))
        card = json.loads(archive.read("card.json"))
    images = pixels(2)
    np.testing.assert_allclose(
        jax.jit(exported.call)(images), embeddings(*tiny, images), rtol=1e-4, atol=1e-5
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert card == tiny[2].to_json()


def test_a_loaded_network_is_a_function_like_others(tiny, tiny_file):
    embed, _ = load_stablehlo(tiny_file)
    images = pixels(2)
    twice = jax.jit(lambda images: 2 * embed(images))(images)
    np.testing.assert_allclose(twice, 2 * embeddings(*tiny, images), rtol=1e-4, atol=1e-5)


def test_equal_networks_are_equal_files_that_tell_nothing_of_this_machine(
    tiny, tiny_file, tmp_path
):
    limit = jax.config.jax_traceback_in_locations_limit
    export_stablehlo(tmp_path / "again.stablehlo", *tiny)
    assert (tmp_path / "again.stablehlo").read_bytes() == tiny_file.read_bytes()
    assert b".py" not in tiny_file.read_bytes()
    assert jax.config.jax_traceback_in_locations_limit == limit


def test_what_an_older_jax_wrote_is_read():
    """The file is jax 0.10.2's, of the network below."""
    embed, card = load_stablehlo(GOLDEN / "jax_0_10_2.stablehlo")
    assert (card.colour, card.source) == ("BGR", "jax 0.10.2")
    module = IResNet((1, 1, 1, 1), (2, 3, 4, 5), stem_width=2, stem_stride=2, embedding_size=3)
    images = jax.ShapeDtypeStruct((1, *card.input_size, 3), jnp.float32)
    variables = random_values(jax.eval_shape(module.init, jax.random.key(0), images))
    given = pixels(4, card.input_size)
    wanted = embeddings(module, variables, card, given)
    np.testing.assert_allclose(embed(given), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [n if n in OF_EVERY_KIND else pytest.param(n, marks=pytest.mark.long) for n in BACKBONES],
)
def test_every_backbone_is_a_program_for_all_platforms(name):
    module = create_backbone(name)
    card = ModelCard(name, input_size=(32, 32))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    embed = checked_file.embedder(module, zeros, card)
    program = stablehlo._program(embed, card, stablehlo.PLATFORMS)
    exported = jax.export.deserialize(bytearray(program))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    (images,), (out,) = exported.in_avals, exported.out_avals
    assert images.dtype == jnp.uint8 and images.shape[1:] == (32, 32, 3)
    assert jax.export.is_symbolic_dim(images.shape[0])
    assert out.dtype == jnp.float32 and out.shape == (images.shape[0], module.embedding_size)


@pytest.mark.parametrize(
    "name, dtype", [("mobilefacenet_relu6", jnp.float32), ("iresnet_tiny", jnp.bfloat16)]
)
def test_other_networks_embed_as_before(name, dtype, tmp_path):
    module, variables, card = network(name, dtype=dtype, size=(40, 32))
    path = tmp_path / "network.stablehlo"
    checked = export_stablehlo(path, module, variables, card, platforms=("cpu", "cpu"))
    assert checked.lowest_cosine > 0.99999 and checked.given == 0
    embed, again = load_stablehlo(path)
    assert again == card
    images = pixels(3, (40, 32))
    tolerance = 1e-4 if dtype == jnp.float32 else 0.05
    wanted = embeddings(module, variables, card, images)
    np.testing.assert_allclose(embed(images), wanted, atol=tolerance * np.abs(wanted).max())


def refusal(call, *args, **options):
    with pytest.raises(UserError) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_that_embeds_otherwise_never_appears(tiny, tmp_path, monkeypatch):
    program, damaged = stablehlo._program, network(colour="BGR")
    damaged[1]["params"]["fc"]["kernel"][:, 0] *= 3

    def write_damaged(embed, card, platforms):
        return program(checked_file.embedder(*damaged), card, platforms)

    path = tmp_path / "tiny.stablehlo"
    path.write_text("the file before")
    monkeypatch.setattr(stablehlo, "_program", write_damaged)
    told = refusal(export_stablehlo, path, *tiny)
    assert "tiny.stablehlo is not written: its embeddings are not the network's" in told
    assert "the lowest cosine is 0." in told and "expected 0.9999 or more" in told
    assert [file.read_text() for file in tmp_path.iterdir()] == ["the file before"]


def test_one_image_that_embeds_otherwise_is_enough(tiny, tmp_path, monkeypatch):
    """The random images pass, the given one does not."""
    module, variables, card = tiny
    black = np.zeros((1, 32, 32, 3), np.uint8)

    def embed_otherwise(path):
        embed = checked_file.embedder(module, variables, card)
        return lambda images: (
            embed(images) * jnp.where(jnp.sum(images, (1, 2, 3)) == 0, -1, 1)[:, None]
        )

    monkeypatch.setattr(stablehlo, "load_stablehlo", lambda path: (embed_otherwise(path), card))
    path = tmp_path / "tiny.stablehlo"
    told = refusal(export_stablehlo, path, *tiny, images=np.concatenate([pixels(20), black]))
    assert "the lowest cosine is -1.0" in told and not list(tmp_path.iterdir())
    export_stablehlo(path, *tiny, images=pixels(20))


@pytest.mark.parametrize("factor, passes", [(1.02, False), (0.98, False), (1.005, True)])
def test_a_file_whose_embeddings_have_other_norms_never_appears(
    factor, passes, tiny, tmp_path, monkeypatch
):
    program = stablehlo._program

    def write_longer(embed, card, platforms):
        return program(jax.jit(lambda images: embed(images) * factor), card, platforms)

    monkeypatch.setattr(stablehlo, "_program", write_longer)
    path = tmp_path / "tiny.stablehlo"
    if passes:
        export_stablehlo(path, *tiny)
        return
    told = refusal(export_stablehlo, path, *tiny)
    assert f"one is {factor} times as long, expected within 1%" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value, told", [(np.nan, "are not finite"), (0.0, "cosine is nan")])
def test_a_network_that_says_nothing_is_not_written(value, told, tmp_path):
    module, variables, card = network()
    for collection, layer in (("batch_stats", "features"), ("params", "fc")):
        for leaf in variables[collection][layer].values():
            leaf[:] = value
    variables["batch_stats"]["features"]["var"][:] = 1
    variables["params"]["features"]["bias"][:] = 0
    assert told in refusal(export_stablehlo, tmp_path / "a.stablehlo", module, variables, card)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused(tiny, tmp_path, monkeypatch):
    module, variables, card = tiny

    def refused(path="a.stablehlo", variables=variables, card=card, **options):
        return refusal(export_stablehlo, tmp_path / path, module, variables, card, **options)

    assert "unknown platform 'gpu'; use some of cpu, cuda, tpu" in refused(platforms=("gpu",))
    assert "platforms are cuda, tpu; add cpu" in refused(platforms=("cuda", "tpu"))
    assert "platforms are empty; add cpu" in refused(platforms=())
    assert "no directory" in refused("nothing/a.stablehlo")
    (tmp_path / "folder").mkdir()
    assert "folder is a directory; give the name of a file" in refused("folder")
    wanted = "expected uint8 (N, 32, 32, 3), N at least 1"
    assert f"images are uint8 (2, 32, 24, 3), {wanted}" in refused(images=pixels(2, (32, 24)))
    assert f"images are float32 (2, 32, 32, 3), {wanted}" in refused(
        images=pixels(2) / np.float32(2)
    )
    larger = ModelCard("iresnet_tiny", (64, 64), embedding_size=24)
    told = refused(card=larger)
    assert "['params']['fc']['kernel'] is (128, 24), expected (512, 24)" in told
    assert "is none, expected (8,)" in refused(variables={"params": variables["params"]})
    longer = ModelCard("iresnet_tiny", (32, 32), embedding_size=512)
    assert "embedding_size is 512, the network's 24" in refused(card=longer)
    monkeypatch.setattr(stablehlo.importlib.util, "find_spec", lambda name: None)
    assert "pip install flatbuffers" in refused()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_path_that_cannot_be_written_is_refused(tiny):
    # Nobody makes files in /proc, root included.
    assert "cannot be written" in refusal(export_stablehlo, "/proc/a.stablehlo", *tiny)


def test_images_that_do_not_fit_are_refused(tiny_file):
    embed, _ = load_stablehlo(tiny_file)
    wanted = "expected uint8 (N, 32, 32, 3), N at least 1"
    for images, got in (
        (pixels(2).astype(np.float32), "float32 (2, 32, 32, 3)"),
        (pixels(2)[0], "uint8 (32, 32, 3)"),
        (pixels(0), "uint8 (0, 32, 32, 3)"),
        (pixels(1, (31, 32)), "uint8 (1, 31, 32, 3)"),
        (pixels(1).tolist(), "list (1, 32, 32, 3)"),
    ):
        assert refusal(embed, images) == f"images are {got}, {wanted}"


def test_other_files_are_told_apart(tiny_file, tmp_path, monkeypatch):
    path = tmp_path / "a.stablehlo"
    assert "a.stablehlo: no such file" in refusal(load_stablehlo, path)
    wanted = "is a directory; give a file of export_stablehlo"
    assert refusal(load_stablehlo, tmp_path) == f"{tmp_path} {wanted}"
    for path_of_none, told in (
        (tiny_file / "a", "Not a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
    ):
        assert refusal(load_stablehlo, path_of_none) == f"{path_of_none} cannot be read: {told}"
    path.write_bytes(b"<html>not found</html>")
    assert "not a file of export_stablehlo, or damaged" in refusal(load_stablehlo, path)
    entries = entries_of(tiny_file)

    def write(**changes):
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in ({**entries, **changes}).items():
                if data is not None:
                    archive.writestr(name, data)

    write(**{"card.json": None})
    assert "no item named 'card.json'" in refusal(load_stablehlo, path)
    write(**{"card.json": b'{"network": "iresnet_tiny", "eyes": 2}'})
    assert "model card: unknown field 'eyes'" in refusal(load_stablehlo, path)
    for card in (b"[]", b'"iresnet_tiny"', b"null"):
        write(**{"card.json": card})
        assert "model card: is " in refusal(load_stablehlo, path)
    write(**{"model.jax_export": b"of another version"})
    assert f"jax {jax.__version__} does not read it" in refusal(load_stablehlo, path)
    # The flatbuffer around the program can be read, the program cannot.
    newer = entries["model.jax_export"].replace(b"ML\xefR", b"ML\xefS")
    assert newer != entries["model.jax_export"]
    write(**{"model.jax_export": newer})
    told = refusal(load_stablehlo, path)
    assert f"jax {jax.__version__} does not read it (" in told and "with this one" in told
    monkeypatch.setattr(stablehlo.jax_export, "default_export_platform", lambda: "rocm")
    told = refusal(load_stablehlo, tiny_file)
    assert "is for cpu, cuda, tpu, and this machine is rocm" in told


def test_truncated_and_damaged_files_are_refused(tiny_file, tmp_path):
    whole = tiny_file.read_bytes()
    path = tmp_path / "a.stablehlo"
    for length in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:length])
        refusal(load_stablehlo, path)
    for position in np.random.default_rng(0).choice(len(whole), 50):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert "damaged" in refusal(load_stablehlo, path)
