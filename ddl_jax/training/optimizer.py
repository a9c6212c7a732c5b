"""The optimizer of a config, made of Optax's parts."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from ddl_jax import parallel
from ddl_jax.config import Config, Optimizer
from ddl_jax.models import is_batch_norm
from ddl_jax.training.fine_tuning import EVERYTHING, FineTuning


def learning_rate(config: Config) -> float:
    """The rate that the schedule moves: in proportion to the batch where the config asks for it.

    Goyal et al. 2017: a batch n times as large takes n times the rate.
    """
    settings = config.optimizer
    if not settings.rate_for_batch:
        return settings.learning_rate
    return settings.learning_rate * config.batch_size / settings.rate_for_batch


def make_schedule(config: Config) -> optax.Schedule:
    """Learning rate by finished updates: linear warm-up, then drops, a cosine or a polynomial.

    drop_steps count from the start of the run; cosine and polynomial go from the end of the warm-up
    to the last step, `(1 - progress)^power`.
    """
    settings, rate = config.optimizer, learning_rate(config)
    warmup, final = settings.warmup_steps, settings.final_rate
    length = max(config.steps - warmup, 1)
    if settings.schedule == "cosine":
        falling = optax.cosine_decay_schedule(rate, length, alpha=final)
    elif settings.schedule == "polynomial":
        falling = optax.polynomial_schedule(rate, final * rate, settings.power, length)
    else:
        drops = {step - warmup: settings.drop_factor for step in settings.drop_steps}
        falling = optax.piecewise_constant_schedule(rate, drops)
    if not warmup:
        return falling
    # The first update already moves: a rate of 0 would waste it.
    rising = optax.linear_schedule(rate / warmup, rate, warmup - 1)
    return optax.join_schedules([rising, falling], [warmup])


def make_optimizer(
    config: Config, fine_tuning: FineTuning = EVERYTHING
) -> optax.GradientTransformation:
    """The rule of an update.

    `sgd` is PyTorch's: the weight decay joins the gradient before the momentum. `adamw` decays the
    parameters apart from the gradient (Loshchilov & Hutter 2019), as PyTorch's does too. The
    gradient is clipped before either.

    Parts of `fine_tuning` with factors are as PyTorch's parameter groups with learning rates of
    their own: the factor is that of the whole update, weight decay included.

    To be used inside the map over `parallel.AXIS` where it clips: the length of a gradient is that
    of all its parts, of which a device holds some.
    """
    settings, schedule = config.optimizer, make_schedule(config)
    decaying = _decaying(settings)
    if settings.name == "adamw":
        decay = {"weight_decay": settings.weight_decay, "mask": decaying}
        rule = optax.adamw(schedule, settings.beta1, settings.beta2, **decay)
    else:
        rule = optax.chain(
            optax.add_decayed_weights(settings.weight_decay, decaying),
            optax.sgd(schedule, momentum=settings.momentum or None),
        )
    parts = [_clip(settings)] if settings.clip_norm else []
    parts.append(rule)
    if fine_tuning.has_rates:
        scales = {part: optax.scale(factor) for part, factor in fine_tuning.factors.items()}
        parts.append(optax.partition(scales, fine_tuning.labels))
    return optax.chain(*parts) if len(parts) > 1 else rule


def _clip(settings: Optimizer) -> optax.GradientTransformation:
    """Shortens the whole gradient, or that of the backbone alone, to `clip_norm`."""

    def shorten(gradients: Any, params: Any = None) -> Any:
        del params
        name = "backbone"
        clipped = gradients if settings.clip == "all" else {name: gradients.get(name, {})}
        # Not optax.clip_by_global_norm, which would take a device's class centres for all.
        norm = parallel.global_norm(clipped)
        factor = jnp.minimum(1.0, settings.clip_norm / jnp.maximum(norm, 1e-12))
        return gradients | jax.tree.map(lambda leaf: leaf * factor, clipped)

    return optax.stateless(shorten)


def _decaying(settings: Optimizer) -> Any:
    """Which parameters decay, as a function of their tree; None for all."""
    if not settings.no_decay:
        return None

    def decays(path: tuple[str, ...]) -> bool:
        if path[0] == "backbone" and is_batch_norm(path[-2]):
            return "batch_norm" not in settings.no_decay
        kind = {"slope": "prelu", "bias": "bias"}.get(path[-1])
        return kind not in settings.no_decay

    def mask(params: Any) -> Any:
        flat = traverse_util.flatten_dict(params)
        return traverse_util.unflatten_dict({path: decays(path) for path in flat})

    return mask
