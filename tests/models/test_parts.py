"""Every layer of every backbone belongs to one part; BatchNorms freeze part by part."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from ddl_jax.models import BACKBONES, backbone_parts, create_backbone, is_batch_norm
from ddl_jax.models.iresnet import IResNet
from ddl_jax.models.mobilefacenet import MobileFaceNet, Stage

pytestmark = pytest.mark.usefixtures("quick_compilation")

STAGES = {"mobilefacenet": 5, "mobilefacenet_relu6": 5, "mbf": 6, "mbf_large": 7}
SMALL = {
    "iresnet": IResNet(depths=(1, 2), widths=(4, 8), stem_width=4, embedding_size=16),
    "mobilefacenet": MobileFaceNet(
        stages=(Stage(16, 8, 2, 2), Stage(16, 12, 1, 2)),
        second="separable",
        stem_width=8,
        last_width=16,
        embedding_size=6,
    ),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_layer_belongs_to_one_part(name):
    module = create_backbone(name)
    images = jax.ShapeDtypeStruct((1, 112, 112, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    parts = backbone_parts(module)
    assert set(variables["params"]) | set(variables["batch_stats"]) <= set(parts)
    stages = [f"stage{number}" for number in range(1, STAGES.get(name, 4) + 1)]
    assert list(dict.fromkeys(parts.values())) == ["stem", *stages, "embedding"]
    assert {parts[layer] for layer in variables["params"]} >= {"stem", *stages, "embedding"}
    # What has running statistics is a BatchNorm, and its name says so.
    found = {path[:-1] for path in traverse_util.flatten_dict(variables["batch_stats"])}
    paths = {path[:-1] for path in traverse_util.flatten_dict(variables["params"])}
    assert {path for path in paths if is_batch_norm(path[-1])} == found & paths


def test_stages_are_those_of_the_papers_tables():
    iresnet, mobilefacenet = map(backbone_parts, map(create_backbone, ("iresnet50", "mbf")))
    assert iresnet["layer3_13"] == "stage3" and "layer3_14" not in iresnet
    # Depths 1, 4, 1, 6, 1, 2.
    found = [mobilefacenet[f"block_{number}"] for number in (0, 1, 4, 5, 6, 11, 12, 13, 14)]
    assert found == [f"stage{number}" for number in (1, 2, 2, 3, 4, 4, 5, 6, 6)]
    with pytest.raises(TypeError, match="Dense is no backbone of create_backbone"):
        backbone_parts(nn.Dense(3))


IMAGES = jnp.float32(np.random.default_rng(0).normal(size=(4, 16, 12, 3)))


@pytest.fixture(scope="module", params=SMALL)
def network(request):
    """A small network of each family, and variables of it."""
    module, rng = SMALL[request.param], np.random.default_rng(1)
    shapes = jax.eval_shape(module.init, jax.random.key(1), IMAGES)
    # Drawn by jax they would take long to compile.
    draw = lambda leaf: jnp.float32(rng.uniform(0.1, 0.2, leaf.shape))  # noqa: E731
    return module, jax.tree.map(draw, shapes)


def train(module, variables):
    """Embeddings and statistics of a step of training."""
    apply = jax.jit(lambda v: module.apply(v, IMAGES, train=True, mutable=["batch_stats"]))
    embeddings, changed = apply(variables)
    return embeddings, changed["batch_stats"]


@pytest.mark.parametrize("frozen", [(), ("stem", "stage1"), ("stage2", "embedding")])
def test_frozen_parts_keep_their_statistics(network, frozen):
    module, variables = network
    _, changed = train(module.clone(frozen_parts=frozen), variables)
    parts = backbone_parts(module)
    before = traverse_util.flatten_dict(variables["batch_stats"])
    for path, after in traverse_util.flatten_dict(changed).items():
        fixed = parts[path[0]] in frozen or path[-1] == "scale"
        assert np.array_equal(after, before[path]) == fixed, path


def test_with_all_parts_frozen_training_is_evaluation(network):
    module, variables = network
    parts = tuple(dict.fromkeys(backbone_parts(module).values()))
    embeddings, _ = train(module.clone(frozen_parts=parts), variables)
    wanted = jax.jit(module.apply)(variables, IMAGES)
    np.testing.assert_allclose(embeddings, wanted, rtol=1e-5, atol=1e-6)
