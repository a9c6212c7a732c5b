"""The optimizer is PyTorch's SGD, the schedule the one the config spells out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ddl_jax.config import Config, InitFrom, Optimizer
from ddl_jax.models import create_backbone
from ddl_jax.training.fine_tuning import make_fine_tuning
from ddl_jax.training.optimizer import make_optimizer, make_schedule


def test_schedule_warms_up_and_drops():
    settings = Optimizer(learning_rate=0.1, warmup_steps=4, drop_steps=(6, 8), drop_factor=0.1)
    rates = [float(make_schedule(settings)(step)) for step in range(10)]
    # drop_steps are finished updates: the 7th update (step 6) is the first at the lower rate.
    wanted = [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    np.testing.assert_allclose(rates, wanted, rtol=1e-5)


def test_updates_are_those_of_torch_sgd():
    settings = Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    optimizer = make_optimizer(settings)
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
    wanted = jax.tree.structure(make_optimizer(Optimizer()).init(PARAMS))
    for settings in ({}, {"frozen": ("stem",)}, {"rates": ("stem=1", "head=1")}):
        optimizer = make_optimizer(Optimizer(), fine_tuning(**settings))
        assert jax.tree.structure(optimizer.init(PARAMS)) == wanted


def test_a_factor_is_a_learning_rate_of_a_parts_own():
    settings = Optimizer(learning_rate=0.1, momentum=0.9, weight_decay=0.01, drop_steps=(2,))
    whole = make_optimizer(settings)
    own = make_optimizer(settings, fine_tuning(rates=("stem=0.5", "head=4")))
    states, gradients = [whole.init(PARAMS), own.init(PARAMS)], jax.tree.map(jnp.cumsum, PARAMS)
    for _ in range(4):
        wanted, states[0] = whole.update(gradients, states[0], PARAMS)
        found, states[1] = own.update(gradients, states[1], PARAMS)
        # Exactly: a power of two rounds nothing.
        for factor, a, b in zip((0.5, 1, 4), *map(jax.tree.leaves, (found, wanted)), strict=True):
            np.testing.assert_array_equal(a, factor * b)
