"""The optimizer of a config, made of Optax's parts."""

import optax

from ddl_jax.config import Optimizer
from ddl_jax.training.fine_tuning import EVERYTHING, FineTuning


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


def make_optimizer(
    optimizer: Optimizer, fine_tuning: FineTuning = EVERYTHING
) -> optax.GradientTransformation:
    """SGD as PyTorch's: the weight decay joins the gradient before the momentum.

    Parts of `fine_tuning` with factors are as PyTorch's parameter groups with learning rates of
    their own: the factor is that of the whole update, weight decay included.
    """
    sgd = optax.chain(
        optax.add_decayed_weights(optimizer.weight_decay),
        optax.sgd(make_schedule(optimizer), momentum=optimizer.momentum or None),
    )
    if not fine_tuning.has_rates:
        return sgd
    scales = {part: optax.scale(factor) for part, factor in fine_tuning.factors.items()}
    return optax.chain(sgd, optax.partition(scales, fine_tuning.labels))
