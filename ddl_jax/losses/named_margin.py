"""Every margin by its name, and what can be put around any of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.adaface import adaface_margin
from ddl_jax.losses.checks import check_option, check_range, check_type, check_whole
from ddl_jax.losses.curricularface import curricularface_margin
from ddl_jax.losses.elasticface import elasticface_margin
from ddl_jax.losses.magface import magface_margin
from ddl_jax.losses.margin import Margin, MarginInputs
from ddl_jax.losses.margins import (
    arcface_margin,
    combined_margin,
    cosface_margin,
    normface_margin,
)
from ddl_jax.losses.sphereface import sphereface_margin

_MARGINS = {
    "arcface": arcface_margin,
    "cosface": cosface_margin,
    "combined": combined_margin,
    "normface": normface_margin,
    "sphereface": sphereface_margin,
    "curricularface": curricularface_margin,
    "adaface": adaface_margin,
    "magface": magface_margin,
    "elasticface": elasticface_margin,
}
MARGIN_NAMES = tuple(_MARGINS)


def named_margin(name: str, **options: Any) -> Margin:
    """The `Margin` of a name, one of `MARGIN_NAMES`, with that margin's own options.

    Raises:
      ValueError: no margin has this name, or a number is out of its range.

    Examples:
      >>> from ddl_jax import losses
      >>> losses.named_margin("cosface", margin=0.35).scale
      64.0
    """
    check_option("margin", name, MARGIN_NAMES)
    return _MARGINS[name](**options)


def margin_of(margin: str | Margin) -> Margin:
    """The margin itself, or that of a name with its default options.

    Raises:
      ValueError: no margin has this name.
      AssertionError: it is neither a name nor a `Margin`.
    """
    if isinstance(margin, str):
        return named_margin(margin)
    check_type("margin", margin, Margin, " such as losses.arcface_margin(), or a name")
    return margin


def filtered_margin(margin: str | Margin, *, threshold: float) -> Margin:
    r"""Inter-class filtering: negatives too similar to a row are taken for its own identity.

    .. math:: \cos\theta_j \leftarrow 0 \quad\text{where}\quad \cos\theta_j > \tau,\ j \ne y

    A very similar negative in noisy data is often the same person under another label. As in
    insightface's arcface_torch its cosine becomes 0, with gradient 0; it stays in the softmax.

    Args:
      margin: any margin, or its name; it sees the cosines that are left.
      threshold: tau, in cosine; arcface_torch's configs leave it off (0) or take 0.4.

    Returns:
      The margin with the filter before its negatives.

    Raises:
      ValueError: the threshold is not in [-1, 1], or no margin has this name.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> margin = losses.filtered_margin(losses.normface_margin(scale=1.0), threshold=0.4)
      >>> cosine = jnp.array([[0.5, 0.25, 0.75]])
      >>> losses.margin_logits(cosine, jnp.array([0]), margin)[0].tolist()
      [[0.5, 0.25, 0.0]]
    """
    check_range("threshold", threshold, -1.0, 1.0, "in cosine")
    margin = margin_of(margin)

    def negatives(cosine: jax.Array, target_cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        kept = jnp.where(cosine > threshold, 0.0, cosine)
        return margin.negatives(kept, target_cosine, inputs)

    return margin._replace(negatives=negatives)


class MarginWarmUp(NamedTuple):
    """The state of `warming_margin`.

    Attributes:
      batches: how many it has seen, as a float.
      margin: the state of the margin itself.
    """

    batches: jax.Array
    margin: Any


def warming_margin(margin: str | Margin, *, steps: int) -> Margin:
    r"""Goes from no margin to the whole one over the first batches, in a straight line.

    .. math:: t_w(\cos\theta_y) = (1 - w) \cos\theta_y + w\, t(\cos\theta_y), \qquad
      w = \min(n / \text{steps}, 1)

    in batch n = 1, 2, ..., and the same for the negatives of a margin that changes them. For
    CosFace this is a margin that grows in proportion to w; not all margins have a number that could
    grow, so it is the logit that moves. A fresh network, whose target cosines are near 0, can so
    order the classes before it has to separate them.

    Args:
      margin: any margin, or its name.
      steps: batches until the margin is whole, 1 or more.

    Returns:
      The margin; its state is a `MarginWarmUp`.

    Raises:
      ValueError: `steps` is below 1, or no margin has this name.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> margin = losses.warming_margin(losses.cosface_margin(margin=0.5, scale=1.0), steps=2)
      >>> cosine, labels = jnp.array([[0.5, 0.25]]), jnp.array([0])
      >>> logits, state = losses.margin_logits(cosine, labels, margin)
      >>> logits.tolist()
      [[0.25, 0.25]]
      >>> inputs = losses.MarginInputs(state=state)
      >>> losses.margin_logits(cosine, labels, margin, inputs)[0].tolist()
      [[0.0, 0.25]]
    """
    check_whole("steps", steps, 1)
    inner = margin_of(margin)

    def mixed(plain: jax.Array, whole: jax.Array, inputs: MarginInputs) -> jax.Array:
        share = jnp.minimum(inputs.state.batches / steps, 1.0)
        return plain + share * (whole - plain)

    def own(inputs: MarginInputs) -> MarginInputs:
        return inputs._replace(state=inputs.state.margin)

    def target(cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        return mixed(cosine, inner.target(cosine, own(inputs)), inputs)

    def negatives(cosine: jax.Array, target_cosine: jax.Array, inputs: MarginInputs) -> jax.Array:
        return mixed(cosine, inner.negatives(cosine, target_cosine, own(inputs)), inputs)

    def update(
        target_cosine: jax.Array, inputs: MarginInputs, where: jax.Array, axis_name: str | None
    ) -> MarginWarmUp:
        state = inputs.state.margin
        if inner.update is not None:
            state = inner.update(target_cosine, own(inputs), where, axis_name)
        return MarginWarmUp(inputs.state.batches + 1.0, state)

    return inner._replace(
        target=target,
        negatives=negatives,
        initial_state=MarginWarmUp(0.0, inner.initial_state),
        update=update,
        regularizer=lambda cosine, inputs: inner.regularizer(cosine, own(inputs)),
    )
