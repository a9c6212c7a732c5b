"""The optimizer is PyTorch's SGD, the schedule the one the config spells out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from ddl_jax.config import Config, InitFrom, Optimizer
from ddl_jax.models import create_backbone
from ddl_jax.training.fine_tuning import make_fine_tuning
from ddl_jax.training.optimizer import learning_rate, make_optimizer, make_schedule


def test_schedule_warms_up_and_drops():
    settings = Optimizer(learning_rate=0.1, warmup_steps=4, drop_steps=(6, 8), drop_factor=0.1)
    rates = [float(make_schedule(Config(optimizer=settings))(step)) for step in range(10)]
    # drop_steps are finished updates: the 7th update (step 6) is the first at the lower rate.
    wanted = [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    np.testing.assert_allclose(rates, wanted, rtol=1e-5)


def rates(steps, **settings):
    schedule = make_schedule(Config(steps=steps, optimizer=Optimizer(**settings)))
    return [float(schedule(step)) for step in range(steps)]


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_polynomial_is_that_of_arcface_torch(power):
    # The closed form of its PolynomialLRWarmup, of power 1 there.
    settings = {"warmup_steps": 2, "schedule": "polynomial", "power": power}
    found = rates(10, learning_rate=0.1, **settings)
    wanted = [0.1 * (1 - (step - 2) / (10 - 2)) ** power for step in range(2, 10)]
    np.testing.assert_allclose(found, [0.05, 0.1, *wanted], rtol=1e-5)


def test_cosine_ends_at_its_share():
    found = rates(10, learning_rate=0.1, warmup_steps=2, schedule="cosine", final_rate=0.1)
    cosine = [0.5 * (1 + np.cos(np.pi * step / 8)) for step in range(8)]
    np.testing.assert_allclose(
        found, [0.05, *(0.1 * (0.9 * c + 0.1) for c in [1, *cosine])][:10], rtol=1e-5
    )


def test_a_rate_for_a_batch_grows_with_the_batch():
    config = Config(batch_size=512)
    config.optimizer.rate_for_batch = 128
    assert learning_rate(config) == pytest.approx(0.4)
    assert float(make_schedule(config)(0)) == pytest.approx(0.4)


def test_updates_are_those_of_torch_adamw():
    settings = Optimizer(name="adamw", learning_rate=0.1, weight_decay=0.01)
    optimizer = make_optimizer(Config(optimizer=settings))
    weight, mean, square = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    params = jnp.asarray(weight, jnp.float32)
    state = optimizer.init(params)
    for step in range(1, 5):
        gradient = np.array([0.5, 0.25]) * step
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        # torch.optim.AdamW: w = w - lr * decay * w; then Adam with both moments unbiased
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        unbiased = mean / (1 - 0.9**step), square / (1 - 0.999**step)
        weight = weight * (1 - 0.1 * 0.01) - 0.1 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        np.testing.assert_allclose(params, weight, rtol=1e-5)


LAYERS = {
    "backbone": {
        "bn1": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
        "features": {"bias": jnp.ones(2)},
        "layer1_0": {"bn3": {"scale": jnp.ones(2)}, "prelu": {"slope": jnp.ones(2)}},
        "fc": {"kernel": jnp.ones(2), "bias": jnp.ones(2)},
    },
    "heads": {"shared": {"class_centers": jnp.ones(2)}},
}


@pytest.mark.parametrize(
    ("no_decay", "free"),
    [
        (("batch_norm",), {"bn1/scale", "bn1/bias", "features/bias", "layer1_0/bn3/scale"}),
        (("prelu",), {"layer1_0/prelu/slope"}),
        (("bias",), {"fc/bias"}),
        (("bias", "prelu"), {"fc/bias", "layer1_0/prelu/slope"}),
    ],
)
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_what_is_named_does_not_decay(name, no_decay, free):
    settings = Optimizer(name=name, learning_rate=1.0, weight_decay=0.5, no_decay=no_decay)
    optimizer = make_optimizer(Config(optimizer=settings))
    still = jax.tree.map(jnp.zeros_like, LAYERS)
    updates, _ = optimizer.update(still, optimizer.init(LAYERS), LAYERS)
    flat = traverse_util.flatten_dict(updates, sep="/")
    assert {name.removeprefix("backbone/") for name, u in flat.items() if not u.any()} == free
    assert all(np.all(u == -0.5) for u in flat.values() if u.any())


def test_updates_are_those_of_torch_sgd():
    settings = Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    optimizer = make_optimizer(Config(optimizer=settings))
    weight, buffer = np.array([1.0, -2.0]), np.zeros(2)
    params = jnp.asarray(weight, jnp.float32)
    state = optimizer.init(params)
    for step in range(4):
        gradient = np.array([0.5, 0.25]) * (step + 1)
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        # torch.optim.SGD: d = g + decay * w; v = momentum * v + d; w = w - lr * v
        buffer = 0.9 * buffer + gradient + 0.01 * weight
        weight = weight - 0.1 * buffer
        np.testing.assert_allclose(params, weight, rtol=1e-5)


def fine_tuning(**settings):
    config = Config(init_from=InitFrom(path="runs/before", **settings))
    return make_fine_tuning(config, create_backbone("iresnet_tiny"))


PARAMS = {
    "backbone": {"conv1": {"kernel": jnp.ones(2)}, "fc": {"kernel": jnp.ones(3)}},
    "heads": {"shared": {"class_centers": jnp.ones(4)}},
}


def test_without_rates_the_optimizer_and_its_state_are_those_of_any_run():
    wanted = jax.tree.structure(make_optimizer(Config()).init(PARAMS))
    for settings in ({}, {"frozen": ("stem",)}, {"rates": ("stem=1", "head=1")}):
        optimizer = make_optimizer(Config(), fine_tuning(**settings))
        assert jax.tree.structure(optimizer.init(PARAMS)) == wanted


def test_a_factor_is_a_learning_rate_of_a_parts_own():
    settings = Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=0.01, drop_steps=(2,))
    whole = make_optimizer(Config(optimizer=settings))
    own = make_optimizer(Config(optimizer=settings), fine_tuning(rates=("stem=0.5", "head=4")))
    states, gradients = [whole.init(PARAMS), own.init(PARAMS)], jax.tree.map(jnp.cumsum, PARAMS)
    for _ in range(4):
        wanted, states[0] = whole.update(gradients, states[0], PARAMS)
        found, states[1] = own.update(gradients, states[1], PARAMS)
        # Exactly: a power of two rounds nothing.
        for factor, a, b in zip((0.5, 1, 4), *map(jax.tree.leaves, (found, wanted)), strict=True):
            np.testing.assert_array_equal(a, factor * b)
