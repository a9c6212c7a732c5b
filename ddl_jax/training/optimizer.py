"""The optimizer of a config, made of Optax's parts."""

import optax

from ddl_jax.config import Optimizer


def make_schedule(optimizer: Optimizer) -> optax.Schedule:
    """Learning rate by finished updates: linear warm-up, then a drop at each of drop_steps."""
    drops = {step: optimizer.drop_factor for step in optimizer.drop_steps}
    steps = optax.piecewise_constant_schedule(optimizer.learning_rate, drops)
    if not optimizer.warmup_steps:
        return steps
    # The first update already moves: a rate of 0 would waste it.
    rising = optax.linear_schedule(
        optimizer.learning_rate / optimizer.warmup_steps,
        optimizer.learning_rate,
        optimizer.warmup_steps - 1,
    )
    return lambda count: rising(count) * steps(count) / optimizer.learning_rate


def make_optimizer(optimizer: Optimizer) -> optax.GradientTransformation:
    """SGD as PyTorch's: the weight decay joins the gradient before the momentum."""
    return optax.chain(
        optax.add_decayed_weights(optimizer.weight_decay),
        optax.sgd(make_schedule(optimizer), momentum=optimizer.momentum or None),
    )
