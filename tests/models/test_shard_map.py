"""A backbone in somebody else's `jax.shard_map`, which by default follows what varies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ddl_jax.models.iresnet import IResNet
from ddl_jax.models.mobilefacenet import MobileFaceNet, Stage
from tests.random_values import random_values

pytestmark = pytest.mark.usefixtures("quick_compilation")

IMAGES = jnp.float32(np.random.default_rng(0).normal(size=(16, 16, 12, 3)))


def iresnet(**options):
    sizes = {"depths": (1, 1), "widths": (16, 16), "stem_width": 4, "embedding_size": 6}
    return IResNet(**sizes, squeeze_excite=True, **options)


def mobilefacenet(**options):
    return MobileFaceNet(
        stages=(Stage(8, 4, 1, 2), Stage(8, 6, 1, 2)),
        second="pairs",
        stem_width=4,
        last_width=8,
        embedding_size=6,
        **options,
    )


def objective(module, axis_name=None):
    """The loss of the global batch, with the running statistics."""

    def loss_of(params, batch_stats, images):
        variables = {"params": params, "batch_stats": batch_stats}
        y, changed = module.apply(variables, images, train=True, mutable=["batch_stats"])
        loss = jnp.mean(jnp.sin(3 * y))
        loss = loss if axis_name is None else jax.lax.pmean(loss, axis_name)
        return loss, changed["batch_stats"]

    return jax.value_and_grad(loss_of, has_aux=True)


def assert_close(found, wanted):
    def check(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(1, np.abs(b).max()))

    jax.tree.map(check, found, wanted)


@pytest.mark.parametrize("make, remat", [(iresnet, ()), (mobilefacenet, (1,))])
def test_a_plain_shard_map_gives_the_gradient_of_one_device(make, remat):
    variables = random_values(jax.eval_shape(make().init, jax.random.key(0), IMAGES))
    params, batch_stats = variables["params"], variables["batch_stats"]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(
        objective(make(axis_name="data", remat=remat), "data"),
        mesh=mesh,
        in_specs=(P(), P(), P("data")),
        out_specs=P(),
    )
    found = jax.jit(mapped)(params, batch_stats, IMAGES)
    wanted = jax.jit(objective(make()))(params, batch_stats, IMAGES)
    assert_close(found, wanted)
    assert np.abs(wanted[1]["embedding" if make is mobilefacenet else "fc"]["kernel"]).max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [
        {"batch_norm": "per_device"},
        {"batch_norm": "groups", "batch_norm_group": 2},
        pytest.param({"batch_norm": "frozen"}, marks=pytest.mark.long),
    ],
    ids=["per_device", "groups", "frozen"],
)
def test_statistics_that_do_not_cross_the_devices_give_the_mean_gradient(options):
    module = mobilefacenet(**options)
    variables = random_values(jax.eval_shape(module.init, jax.random.key(0), IMAGES))
    params, batch_stats = variables["params"], variables["batch_stats"]
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def gradient(params, images):
        (_, _), gradients = objective(module, "data")(params, batch_stats, images)
        return gradients

    mapped = jax.shard_map(gradient, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    alone = jax.jit(objective(module))
    parts = [alone(params, batch_stats, part)[1] for part in jnp.split(IMAGES, 4)]
    assert_close(jax.jit(mapped)(params, IMAGES), jax.tree.map(lambda *g: sum(g) / 4, *parts))
