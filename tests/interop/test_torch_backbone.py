"""Insightface's numbers come out of insightface's files."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_weights import iresnet_weights

from ddl_jax.errors import UserError
from ddl_jax.interop import (
    load_torch_backbone,
    read_torch_checkpoint,
    save_torch_backbone,
    write_torch_checkpoint,
)
from ddl_jax.models import create_backbone

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "iresnet.npz"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module")
def iresnet18_file(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "iresnet18.pt"
    write_torch_checkpoint(path, iresnet_weights(golden["iresnet18_keys"]))
    return path


def tiny_variables(height=112, width=112):
    """Random variables by their shapes: quicker than compiling the initialisation."""
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    module = create_backbone("iresnet_tiny", embedding_size=32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.float32(rng.normal(size=leaf.shape)), shapes)


@pytest.mark.parametrize("name", ["iresnet18", "iresnet50"])
def test_embeddings_are_insightfaces(name, golden, tmp_path):
    path = tmp_path / f"{name}.pt"
    write_torch_checkpoint(path, iresnet_weights(golden[f"{name}_keys"]))
    variables = load_torch_backbone(path, name)
    embeddings = jax.jit(create_backbone(name).apply)(variables, golden["image"])
    # The golden numbers are float64, 15 (iresnet18) and 59 (iresnet50) at most.
    np.testing.assert_allclose(embeddings, golden[name], atol=1e-4, rtol=1e-6)


def test_saves_insightfaces_keys_and_numbers(golden, iresnet18_file, tmp_path):
    path = tmp_path / "saved.pt"
    save_torch_backbone(path, "iresnet18", load_torch_backbone(iresnet18_file, "iresnet18"))
    saved, original = read_torch_checkpoint(path), read_torch_checkpoint(iresnet18_file)
    keys = {f"{name}:{'x'.join(map(str, value.shape))}" for name, value in saved.items()}
    assert keys == set(golden["iresnet18_keys"])
    for name, value in original.items():
        np.testing.assert_array_equal(saved[name], value)
        assert saved[name].dtype == value.dtype


def test_a_backbone_survives_the_file(tmp_path):
    variables = tiny_variables()
    path = tmp_path / "tiny.pt"
    save_torch_backbone(path, "iresnet_tiny", variables)
    again = load_torch_backbone(path, "iresnet_tiny")
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def refusal(call, *args):
    with pytest.raises(UserError) as error:
        call(*args)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refuses_another_network(iresnet18_file, tmp_path):
    too_small = refusal(load_torch_backbone, iresnet18_file, "iresnet34")
    assert "no tensor 'layer1.2.bn1.bias' (120 such" in too_small
    too_big = refusal(load_torch_backbone, iresnet18_file, "iresnet_tiny")
    assert "also has tensor 'layer1.1.bn1.bias'" in too_big
    assert "unknown backbone" in refusal(load_torch_backbone, iresnet18_file, "iresnet")
    assert "not those of iresnet18" in refusal(
        save_torch_backbone, tmp_path / "wrong.pt", "iresnet18", {"params": {}}
    )


def test_names_the_first_tensor_that_does_not_fit(tmp_path):
    path = tmp_path / "tiny.pt"
    save_torch_backbone(path, "iresnet_tiny", tiny_variables())
    state = read_torch_checkpoint(path)

    def refused(**changes):
        changed = {**state, **changes}
        write_torch_checkpoint(path, {k: v for k, v in changed.items() if v is not None})
        return refusal(load_torch_backbone, path, "iresnet_tiny")

    assert "no tensor 'bn2.bias'" in refused(**{"bn2.bias": None})
    assert "no tensor 'fc.weight'" in refused(**{"fc.weight": None})
    assert "also has tensor 'head' (1 such" in refused(head=np.zeros((3, 2), np.float32))
    kernel = np.zeros((16, 8, 5, 3), np.float32)
    shape = refused(**{"layer1.0.conv1.weight": kernel})
    assert "'layer1.0.conv1.weight' has shape (16, 8, 5, 3), expected (16, 8, 3, 3)" in shape


def test_another_input_size_is_named(tmp_path):
    path = tmp_path / "small.pt"
    save_torch_backbone(path, "iresnet_tiny", tiny_variables(56, 48))
    message = refusal(load_torch_backbone, path, "iresnet_tiny")
    assert "'fc.weight' has shape (32, 512), expected (32, 2048)" in message
    load_torch_backbone(path, "iresnet_tiny", input_size=(56, 48))
