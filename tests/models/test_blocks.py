"""The layers against PyTorch's rules, transcribed in NumPy, and over eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ddl_jax.errors import UserError
from ddl_jax.models.batch_norm import BatchNorm
from ddl_jax.models.blocks import Linear, Slope, flatten_channels_first


def torch_batch_norm(x, mean, variance, scale, bias, momentum=0.1, epsilon=1e-5):
    """`torch.nn.functional.batch_norm(training=True)` on `[..., C]`, in float64."""
    x = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    batch_mean, batch_variance = x.mean(0), x.var(0)
    unbiased = x.var(0, ddof=1)
    y = (x - batch_mean) / np.sqrt(batch_variance + epsilon) * scale + bias
    running_mean = (1 - momentum) * mean + momentum * batch_mean
    running_variance = (1 - momentum) * variance + momentum * unbiased
    return y, running_mean, running_variance


def variables_of(rng, channels):
    return {
        "params": {"scale": rng.normal(1, 0.1, channels), "bias": rng.normal(size=channels)},
        "batch_stats": {"mean": rng.normal(size=channels), "var": rng.uniform(1, 2, channels)},
    }


def train(module, variables, x):
    return module.apply(variables, x, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 4, 5)])
def test_batch_norm_in_training_is_torchs(shape):
    rng = np.random.default_rng(0)
    variables = variables_of(rng, shape[-1])
    # A mean far from zero: E[x^2] - E[x]^2 would lose the variance in float32.
    x = rng.normal(300, 1, shape)
    want, mean, variance = torch_batch_norm(
        x, *variables["batch_stats"].values(), *variables["params"].values()
    )

    y, state = train(BatchNorm(), jax.tree.map(jnp.float32, variables), jnp.float32(x))

    np.testing.assert_allclose(y.reshape(-1, shape[-1]), want, atol=5e-4)
    np.testing.assert_allclose(state["batch_stats"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["var"], variance, rtol=1e-5)


def test_batch_norm_in_evaluation_uses_the_running_statistics():
    rng = np.random.default_rng(1)
    variables = variables_of(rng, 5)
    x = rng.normal(size=(6, 5))
    stats, params = variables["batch_stats"], variables["params"]
    want = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]

    y = BatchNorm().apply(jax.tree.map(jnp.float32, variables), jnp.float32(x))

    np.testing.assert_allclose(y, want, atol=1e-5)


def test_frozen_batch_norm_trains_as_it_evaluates():
    rng = np.random.default_rng(2)
    variables = jax.tree.map(jnp.float32, variables_of(rng, 5))
    x = jnp.float32(rng.normal(size=(6, 5)))

    y, state = train(BatchNorm(mode="frozen"), variables, x)

    np.testing.assert_array_equal(y, BatchNorm().apply(variables, x))
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], variables["batch_stats"])


def test_a_fixed_scale_is_no_parameter():
    variables = BatchNorm(learn_scale=False).init(jax.random.key(0), jnp.zeros((2, 5)))
    assert set(variables["params"]) == {"bias"}
    np.testing.assert_array_equal(variables["batch_stats"]["scale"], np.ones(5))


def test_one_value_per_channel_cannot_train():
    with pytest.raises(UserError, match="at least two images"):
        train(BatchNorm(), BatchNorm().init(jax.random.key(0), jnp.zeros((1, 5))), jnp.ones((1, 5)))


def test_half_precision_statistics_are_float32():
    x = jnp.bfloat16(np.random.default_rng(3).normal(8, 1, (512, 3)))
    module = BatchNorm()
    y, state = train(module, module.init(jax.random.key(0), x), x)
    assert y.dtype == jnp.bfloat16
    assert state["batch_stats"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * np.float64(x).mean(0), rtol=1e-5)


@pytest.mark.parametrize("images, pixels", [(4, 128 * 128), (256, 64)])
def test_values_far_from_the_first_ones_keep_their_variance(images, pixels):
    """The worst there is: one pixel, or one image, far from everything else, and it comes first."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(images, pixels, 2))
    x[0, 0, 0] += 3e4
    x[0, :, 1] += 3e4
    x = np.float32(x)
    _, mean, variance = torch_batch_norm(x, 0.0, 0.0, 1.0, 0.0, momentum=1.0)
    module = BatchNorm(momentum=0.0)
    _, state = train(module, module.init(jax.random.key(0), x), jnp.asarray(x))
    # B roundings of float32, and as much again for adding so many numbers up.
    np.testing.assert_allclose(state["batch_stats"]["var"], variance, rtol=2 * images * 6e-8 + 1e-5)
    np.testing.assert_allclose(state["batch_stats"]["mean"], mean, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variables_are_float32_under_64_bits_too(dtype):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(9).normal(size=(6, 2, 2, 5)), dtype)
        module = BatchNorm(learn_scale=False)
        fresh = module.init(jax.random.key(0), x)
        y, state = train(module, fresh, x)
        assert y.dtype == dtype
        assert {leaf.dtype for leaf in jax.tree.leaves((fresh, state))} == {jnp.dtype(jnp.float32)}


def mapped_train(module, variables, x):
    """Output, statistics (one row a device) and input gradient over eight devices."""

    def step(x):
        def objective(x):
            y, state = train(module, variables, x)
            return jnp.mean(jnp.sin(y)), (y, state["batch_stats"])

        gradient, (y, stats) = jax.grad(objective, has_aux=True)(x)
        return y, jax.tree.map(lambda s: s[None], stats), gradient

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    part = P("data")
    mapped = jax.shard_map(step, mesh=mesh, in_specs=part, out_specs=part, check_vma=False)
    return jax.jit(mapped)(x)


def test_global_statistics_of_eight_devices_are_those_of_one():
    rng = np.random.default_rng(4)
    variables = jax.tree.map(jnp.float32, variables_of(rng, 5))
    # The first rows differ from the last: local statistics would show.
    x = jnp.float32(rng.normal(size=(16, 3, 5)) + np.arange(16)[:, None, None])
    module = BatchNorm(axis_name="data")

    y, stats, gradient = mapped_train(module, variables, x)

    alone, state = train(BatchNorm(), variables, x)
    np.testing.assert_allclose(y, alone, atol=1e-5)
    for key, value in state["batch_stats"].items():
        np.testing.assert_allclose(stats[key], np.tile(value, (8, 1)), rtol=1e-5)
    objective = lambda x: jnp.mean(jnp.sin(train(BatchNorm(), variables, x)[0]))  # noqa: E731
    # Each device differentiates the mean over its own eighth.
    np.testing.assert_allclose(gradient / 8, jax.grad(objective)(x), atol=1e-6)


def test_per_device_statistics_are_of_the_devices_own_rows():
    rng = np.random.default_rng(5)
    variables = jax.tree.map(jnp.float32, variables_of(rng, 5))
    x = jnp.float32(rng.normal(size=(16, 3, 5)) + np.arange(16)[:, None, None])

    y, stats, _ = mapped_train(BatchNorm(mode="per_device", axis_name="data"), variables, x)

    for device in range(8):
        rows = slice(2 * device, 2 * device + 2)
        alone, state = train(BatchNorm(), variables, x[rows])
        np.testing.assert_allclose(y[rows], alone, atol=1e-5)
        np.testing.assert_allclose(stats["var"][device], state["batch_stats"]["var"], rtol=1e-5)


def groups_by_hand(variables, x, slope):
    """PReLU of the batch normalisation of every two images, differentiated by jax itself."""
    params = variables["params"]
    parts = x.reshape(-1, 2, *x.shape[1:])
    mean = parts.mean((1, 2), keepdims=True)
    deviation = jnp.sqrt(parts.var((1, 2), keepdims=True) + 1e-5)
    scale, bias, slope = (v[None, None, None] for v in (params["scale"], params["bias"], slope))
    y = (parts - mean) / deviation * scale + bias
    return jnp.where(y > 0, y, slope * y).reshape(x.shape)


def test_groups_prelu_and_all_gradients():
    rng = np.random.default_rng(6)
    with jax.enable_x64(True):
        variables = variables_of(rng, 5)
        x = jnp.asarray(rng.normal(size=(8, 3, 5)) + np.arange(8)[:, None, None])
        slope, weights = jnp.asarray(rng.normal(size=5)), jnp.asarray(rng.normal(size=x.shape))
        module = BatchNorm(mode="groups", group=2)

        def ours(params, x, slope):
            y, state = module.apply(
                {**variables, "params": params}, x, True, lambda _: slope, mutable=["batch_stats"]
            )
            return jnp.sum(weights * y), (y, state["batch_stats"])

        def by_hand(params, x, slope):
            y = groups_by_hand({"params": params}, x, slope)
            return jnp.sum(weights * y), y

        arguments = variables["params"], x, slope
        argnums = (0, 1, 2)
        gradients, (y, stats) = jax.grad(ours, argnums, has_aux=True)(*arguments)
        wanted, wanted_y = jax.grad(by_hand, argnums, has_aux=True)(*arguments)
        np.testing.assert_allclose(y, wanted_y, atol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), gradients, wanted)
        unbiased = x.reshape(4, 6, 5).var(1, ddof=1).mean(0)
        before = variables["batch_stats"]
        np.testing.assert_allclose(stats["var"], 0.9 * before["var"] + 0.1 * unbiased)
        mean = x.mean((0, 1))
        np.testing.assert_allclose(stats["mean"], 0.9 * before["mean"] + 0.1 * mean)


def test_groups_are_the_devices_of_per_device():
    rng = np.random.default_rng(7)
    variables = jax.tree.map(jnp.float32, variables_of(rng, 5))
    x = jnp.float32(rng.normal(size=(16, 3, 5)) + np.arange(16)[:, None, None])
    many, stats, _ = mapped_train(BatchNorm(mode="per_device", axis_name="data"), variables, x)
    one, state = train(BatchNorm(mode="groups", group=2), variables, x)
    np.testing.assert_allclose(many, one, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a.mean(0), b, rtol=1e-5),
        stats,
        state["batch_stats"],
    )


def test_groups_must_divide_the_batch():
    module = BatchNorm(mode="groups", group=4)
    x = jnp.ones((6, 5))
    with pytest.raises(UserError, match="6 images into groups of 4"):
        train(module, module.init(jax.random.key(0), x), x)


def test_prelu_has_a_slope_per_channel():
    variables = Slope().init(jax.random.key(0), 3)
    np.testing.assert_array_equal(variables["params"]["slope"], [0.25, 0.25, 0.25])
    module = BatchNorm(epsilon=0.0)
    x, slopes = jnp.array([[-2.0, -2.0, 3.0]]), jnp.array([0.5, 0.1, 0.1])
    y = module.apply(module.init(jax.random.key(0), x), x, prelu=lambda _: slopes)
    np.testing.assert_allclose(y, [[-1.0, -0.2, 3.0]])


def test_linear_starts_as_torchs():
    params = Linear(2000).init(jax.random.key(0), jnp.zeros((1, 25)))["params"]
    for value in params.values():
        # Uniform in +-1/sqrt(25): its ends and its deviation.
        assert 0.19 < jnp.max(jnp.abs(value)) <= 0.2
        np.testing.assert_allclose(jnp.std(value), 0.2 / np.sqrt(3), rtol=0.05)


def test_flatten_puts_channels_first():
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    want = np.moveaxis(x, -1, 1).reshape(2, -1)
    np.testing.assert_array_equal(flatten_channels_first(jnp.asarray(x)), want)
