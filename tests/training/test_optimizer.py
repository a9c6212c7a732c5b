"""The optimizer is PyTorch's SGD, the schedule the one the config spells out."""

import jax.numpy as jnp
import numpy as np
import optax

from ddl_jax.config import Optimizer
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
