"""Every backbone by name: shapes, types, counts, options."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.models import BACKBONES, create_backbone
from ddl_jax.models.iresnet import IResNet
from ddl_jax.models.mobilefacenet import MobileFaceNet, Stage

pytestmark = pytest.mark.usefixtures("quick_compilation")

# Of the PyTorch originals, requires_grad or not: the last 512 are the fixed scale of `features`.
TORCH_PARAMETERS = {
    "iresnet18": 24_025_600,
    "iresnet34": 34_139_328,
    "iresnet50": 43_590_848,
    "iresnet100": 65_156_160,
    "iresnet200": 118_833_920,
}
# At 112x112; the PReLU form at 112x96 has a last kernel of 7x6, 3,584 fewer.
OTHER_PARAMETERS = {
    "mobilefacenet": 1_003_136,
    "mobilefacenet_relu6": 999_936,
    "mbf": 2_059_520,
    "mbf_large": 6_314_880,
    "magface_iresnet50": 43_590_848,
    "ir_18": 24_020_352,
    "ir_34": 34_134_080,
    "ir_50": 43_585_600,
    "ir_101": 65_150_912,
    "ir_se_50": 43_808_320,
    "ir_se_101": 65_523_136,
}


# The others are these with more blocks.
SHALLOW = {"iresnet18", "magface_iresnet18", "ir_18", "ir_se_50", "mbf", "mobilefacenet"}
SHALLOW |= {"mobilefacenet_relu6"}
EVERY_NAME = [
    pytest.param(name, marks=() if name in SHALLOW else pytest.mark.long) for name in BACKBONES
]


def small(**options):
    """The same network, quick to compile."""
    return IResNet(depths=(1, 2), widths=(4, 8), stem_width=4, embedding_size=16, **options)


def quick_key(seed):
    """Of a generator that compiles in a tenth of the time."""
    return jax.random.key(seed, impl="rbg")


def small_images(count=4):
    return jnp.float32(np.random.default_rng(0).normal(size=(count, 16, 12, 3)))


@pytest.fixture(scope="module")
def variables():
    return jax.jit(small().init)(quick_key(1), small_images())


@pytest.mark.parametrize("name", EVERY_NAME)
def test_embeds_in_float32(name):
    module = create_backbone(name, embedding_size=96, dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 112, 112, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    embeddings = jax.eval_shape(module.apply, variables, images)
    assert embeddings.shape == (2, 96) and embeddings.dtype == jnp.float32
    own = jax.eval_shape(create_backbone(name).init, jax.random.key(0), images)
    size = own["batch_stats"]["features"]["mean"].shape
    assert size == ((128,) if name.startswith("mobilefacenet") else (512,))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("name", OTHER_PARAMETERS)
def test_the_other_networks_have_as_many_parameters_as_torch(name):
    images = jax.ShapeDtypeStruct((1, 112, 112, 3), jnp.float32)
    variables = jax.eval_shape(create_backbone(name).init, jax.random.key(0), images)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    assert count == OTHER_PARAMETERS[name]


def small_mobilefacenet(**options):
    stages = (Stage(16, 8, 2, 2), Stage(16, 12, 1, 2))
    return MobileFaceNet(stages=stages, stem_width=8, last_width=16, embedding_size=6, **options)


@pytest.mark.long  # quick: iresnet's, and mobilefacenet's in a shard_map
def test_mobilefacenet_trains_alike_with_and_without_remat():
    images = small_images()
    variables = jax.jit(small_mobilefacenet().init)(quick_key(0), images)

    def gradients(module):
        def loss(params):
            embeddings, changed = module.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(jnp.sin(embeddings)), changed["batch_stats"]

        return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])

    kept, again = gradients(small_mobilefacenet()), gradients(small_mobilefacenet(remat=(2,)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), kept, again)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(kept[0]["stem_depthwise"]))


def test_mobilefacenet_starts_with_variance_two_over_fan_out():
    variables = jax.jit(create_backbone("mobilefacenet").init)(
        quick_key(0), jnp.zeros((1, 112, 112, 3))
    )
    block = variables["params"]["block_0"]
    for part, fan_out in (("expand", 128), ("depthwise", 9 * 128), ("project", 64)):
        deviation = float(jnp.std(block[part]["conv"]["kernel"]))
        assert deviation == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
    assert float(block["expand"]["prelu"]["slope"][0]) == 0.25


@pytest.mark.parametrize("name", TORCH_PARAMETERS)
def test_as_many_parameters_as_torch(name):
    images = jax.ShapeDtypeStruct((1, 112, 112, 3), jnp.float32)
    variables = jax.eval_shape(create_backbone(name).init, jax.random.key(0), images)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
    fixed = variables["batch_stats"]["features"]["scale"]  # requires_grad is False
    assert count + math.prod(fixed.shape) == TORCH_PARAMETERS[name]


def test_starts_as_insightface_does(variables):
    block = variables["params"]["layer2_1"]
    assert float(jnp.std(block["conv1"]["kernel"])) == pytest.approx(0.1, rel=0.1)
    np.testing.assert_array_equal(block["bn3"]["scale"], np.ones(8))
    np.testing.assert_array_equal(block["prelu"]["slope"], np.full(8, 0.25))


@pytest.mark.parametrize(
    "name, deviations",
    [
        ("iresnet18", {"conv1": 0.1, "layer1_0/conv2": 0.1, "layer1_0/downsample_conv": 0.1}),
        ("magface_iresnet18", {"conv1": "fan_out", "layer1_0/downsample_conv": "fan_out"}),
        ("ir_18", {"conv1": "fan_out", "layer1_0/conv2": "fan_out", "fc": "fan_out"}),
        ("ir_se_50", {"layer1_0/se/squeeze": "fan_out", "layer1_0/se/excite": "fan_out"}),
        ("mbf", {"block_0/expand/conv": "fan_out", "block_0/depthwise/conv": "fan_out"}),
    ],
)
def test_every_kind_of_kernel_starts_as_its_authors_do(name, deviations):
    module = create_backbone(name)
    if isinstance(module, IResNet):
        module = module.clone(depths=(1, 1), widths=(128, 128))
    params = jax.jit(module.init)(quick_key(2), jnp.zeros((1, 48, 48, 3)))["params"]
    for path, wanted in deviations.items():
        kernel = functools.reduce(lambda tree, key: tree[key], path.split("/"), params)["kernel"]
        if wanted == "fan_out":
            wanted = math.sqrt(2 / (kernel.shape[-1] * math.prod(kernel.shape[:-2])))
        assert float(jnp.std(kernel)) == pytest.approx(wanted, rel=0.08), path
    if "fc" in params:
        assert np.any(params["fc"]["bias"]) == (not name.startswith("ir_"))


def convolutions(function, *arguments):
    """How many there are in a function, those of its inner functions too."""
    return str(jax.make_jaxpr(function)(*arguments)).count("conv_general_dilated[")


def test_takes_other_image_sizes():
    images = jax.ShapeDtypeStruct((2, 56, 48, 3), jnp.float32)
    module = create_backbone("iresnet_tiny")
    assert jax.eval_shape(module.init_with_output, jax.random.key(0), images)[0].shape == (2, 512)


def test_bfloat16_is_close(variables):
    images = small_images()
    exact = small().apply(variables, images)
    half = small(dtype=jnp.bfloat16).apply(variables, images)
    assert half.dtype == jnp.float32
    assert 0 < jnp.max(jnp.abs(half - exact)) < 0.05 * jnp.max(jnp.abs(exact))


def test_frozen_batch_norm_trains_as_it_evaluates(variables):
    module = small(batch_norm="frozen")
    images = small_images()
    np.testing.assert_array_equal(
        module.apply(variables, images, train=True), module.apply(variables, images)
    )


def test_eight_devices_train_as_one(variables):
    images = small_images(16)

    def gradients(module, images):
        def objective(params):
            trained = {**variables, "params": params}
            y, state = module.apply(trained, images, train=True, mutable=["batch_stats"])
            return jnp.mean(jnp.square(y - 1)), state["batch_stats"]

        return jax.grad(objective, has_aux=True)(variables["params"])

    def step(images):
        mapped = small(axis_name="data")
        return jax.lax.pmean(gradients(mapped, images), "data")

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    many = jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=spec("data"), out_specs=spec(), check_vma=False)
    )(images)
    one = jax.jit(lambda images: gradients(small(), images))(images)

    for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.max(jnp.abs(b)) + 1))


def test_remat_changes_nothing(variables):
    images = small_images()

    def loss(params, module):
        trained = {**variables, "params": params}
        y, _ = module.apply(trained, images, train=True, mutable=["batch_stats"])
        return jnp.mean(jnp.square(y - 1))

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    plain = gradient(variables["params"], small())
    again = gradient(variables["params"], small(remat=(1,)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, again)
    # A block of the first stage has two convolutions and one in its shortcut.
    made, again = (
        convolutions(jax.grad(functools.partial(loss, module=module)), variables["params"])
        for module in (small(), small(remat=(1,)))
    )
    assert again == made + 3


# What the other networks have of their own does not meet the size of the last map.
EVERY_SIZE = {"iresnet18", "mbf", "mobilefacenet", "mobilefacenet_relu6"}


@pytest.mark.parametrize(
    "name, size",
    [
        pytest.param(name, size, marks=() if quick else pytest.mark.long)
        for name in BACKBONES
        for size in ((112, 112), (224, 224), (112, 96))
        for quick in [name in SHALLOW and (size == (112, 96) or name in EVERY_SIZE)]
    ],
)
def test_every_image_size_of_the_field(name, size):
    module = create_backbone(name, remat=(1, 3))
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    embed = functools.partial(module.apply, train=True, mutable=["batch_stats"])
    embeddings, _ = jax.eval_shape(embed, variables, images)
    assert embeddings.shape == (2, 128 if name.startswith("mobilefacenet") else 512)


@pytest.mark.parametrize(
    "options, told",
    [
        (dict(batch_norm="groups"), "batch_norm_group is 0 with batch_norm='groups'"),
        (dict(batch_norm_group=4), "batch_norm_group is 4 with batch_norm='global'"),
        (dict(batch_norm="groups", batch_norm_group=2.5), "batch_norm_group is 2.5 with"),
        (dict(batch_norm="groups", batch_norm_group=True), "batch_norm_group is True with"),
        (dict(remat=(5,)), "remat has stage 5: iresnet18 has stages 1 to 4"),
        (dict(remat=("stage1",)), "remat has stage 'stage1': iresnet18 has stages 1 to 4"),
        (dict(remat=True), r"remat is True: give a tuple, as remat=\(1, 2\)"),
        (dict(frozen_parts="stem"), r"frozen_parts is 'stem': give a tuple, as frozen_parts=\('st"),
        (dict(dropout="0.4"), "dropout is '0.4': use a rate"),
        (dict(embedding_size=12.5), "embedding_size is 12.5: use a positive whole number"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, told):
    with pytest.raises(UserError, match=told) as error:
        create_backbone("iresnet18", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "images, told",
    [
        (np.zeros((2, 16, 12, 3), np.uint8), "images are uint8 (2, 16, 12, 3), expected floats"),
        (np.zeros((2, 3, 16, 12), np.float32), "images are float32 (2, 3, 16, 12)"),
        (np.zeros((16, 12, 3), np.float32), "images are float32 (16, 12, 3)"),
        (np.zeros((2, 32, 24, 3), np.float32), "images of 32x24 do not fit the parameters"),
    ],
)
@pytest.mark.parametrize("make", [small, small_mobilefacenet])
def test_images_of_another_type_or_size_are_refused_in_one_line(make, images, told):
    module = make()
    shapes = jax.eval_shape(module.init, jax.random.key(0), small_images())
    with pytest.raises(UserError) as error:
        jax.eval_shape(module.apply, shapes, images)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("make, told_apart", [(small, False), (small_mobilefacenet, True)])
def test_height_and_width_are_told_apart_where_the_parameters_tell_them(make, told_apart):
    """As the docs say: an IResNet's linear layer has only the number of pixels of the last map."""
    module = make()
    high, wide = (jnp.zeros((1, *size, 3)) for size in ((96, 64), (64, 96)))
    shapes = jax.eval_shape(module.init, jax.random.key(0), high)
    if not told_apart:
        jax.eval_shape(module.apply, shapes, wide)
        return
    with pytest.raises(UserError, match="has 8x12 pixels, they are for 12x8 pixels"):
        jax.eval_shape(module.apply, shapes, wide)


@pytest.mark.parametrize("make", [small, small_mobilefacenet])
def test_dropout_is_for_training_only(make):
    module, images = make(dropout=0.5, batch_norm="frozen"), small_images()
    variables = jax.jit(module.init)(quick_key(1), images)
    evaluated = module.apply(variables, images)
    dropped = module.apply(variables, images, train=True, rngs={"dropout": jax.random.key(0)})
    assert jnp.max(jnp.abs(dropped - evaluated)) > 1e-3


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("iresnet19", {}, "unknown backbone 'iresnet19': use one of iresnet18, "),
        ("iresnet18", {"drop_out": 0.1}, "unknown option 'drop_out' of backbone iresnet18"),
        ("iresnet18", {"depths": (1, 1, 1, 1)}, "unknown option 'depths'"),
        ("iresnet18", {"batch_norm": "sync"}, "unknown batch_norm 'sync': use one of global"),
        (
            "mobilefacenet",
            {"frozen_parts": ("stem", "stage6")},
            "frozen_parts has the unknown part 'stage6': mobilefacenet has stem, stage1, stage2, ",
        ),
        ("iresnet18", {"dropout": 1.0}, "dropout is 1.0"),
        ("iresnet18", {"embedding_size": 0}, "embedding_size is 0"),
    ],
)
def test_refuses_what_it_does_not_know(name, options, says):
    with pytest.raises(UserError, match=says) as error:
        create_backbone(name, **options)
    assert "\n" not in str(error.value)
