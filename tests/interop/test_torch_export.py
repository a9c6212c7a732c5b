"""PyTorch weights that embed otherwise than the network never appear."""

import jax
import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.interop import export_torch, load_torch_backbone, torch_backbone
from ddl_jax.models import ModelCard, create_backbone
from tests.random_values import random_values

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def network():
    card = ModelCard(network="iresnet_tiny", input_size=(32, 32), embedding_size=16)
    module = create_backbone(card.network, embedding_size=card.embedding_size)
    shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    return module, random_values(shapes), card


def test_the_file_is_compared_and_has_the_weights(network, tmp_path):
    out = tmp_path / "x.pt"
    checked = export_torch(out, *network, images=IMAGES)
    assert checked.lowest_cosine > 0.9999 and (checked.random, checked.given) == (16, 3)
    again = load_torch_backbone(out, "iresnet_tiny", input_size=(32, 32))
    jax.tree.map(np.testing.assert_array_equal, again, network[1])
    assert list(tmp_path.iterdir()) == [out]


def test_nothing_is_left_of_a_file_that_embeds_otherwise(network, tmp_path, monkeypatch):
    write = torch_backbone.write_torch_checkpoint

    def write_damaged(path, state):
        write(path, {**state, "fc.weight": state["fc.weight"][::-1]})

    monkeypatch.setattr(torch_backbone, "write_torch_checkpoint", write_damaged)
    with pytest.raises(UserError, match="is not written: its embeddings are not the network's"):
        export_torch(tmp_path / "x.pt", *network)
    assert not list(tmp_path.iterdir())


def test_another_network_or_other_images_are_refused_first(network, tmp_path):
    module, variables, card = network
    with pytest.raises(UserError, match="expected uint8 \\(N, 32, 32, 3\\)"):
        export_torch(tmp_path / "x.pt", *network, images=IMAGES[:, :16])
    wrong = {**variables, "params": {}}
    with pytest.raises(UserError, match="the variables are not those of iresnet_tiny: no 'params/"):
        export_torch(tmp_path / "x.pt", module, wrong, card)
    assert not list(tmp_path.iterdir())
