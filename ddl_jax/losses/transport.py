"""Optimal transport between sets of local features, and OTFace's loss on top of it."""

import math

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import (
    check_floats,
    check_integers,
    check_option,
    check_range,
    check_shapes,
)
from ddl_jax.losses.cosine import unit_vectors
from ddl_jax.losses.masked import masked_mean, which_count


def sinkhorn_distance(
    first: jax.Array,
    second: jax.Array,
    *,
    epsilon: float = 1.0,
    iterations: int = 10,
    debias: bool = False,
) -> jax.Array:
    r"""Entropic optimal transport between two sets of local features.

    .. math::
      W(x, y) = \sum_{ij} P_{ij} C_{ij}, \qquad C_{ij} = 1 - \cos(x_i, y_j), \qquad
      P = \operatorname{diag}(a)\, e^{-C / \epsilon} \operatorname{diag}(b)

    with all features of a set of equal weight, and a and b found by Sinkhorn's iterations. b comes
    last in each: after a finite number of them only the sums of P over i are exact. They run on
    logarithms, so that a small epsilon does not underflow; the gradient goes through all of them.

    The defaults are those of OTFace's code, where the function is called sinkhorn_divergence. What
    others call so is `debias=True`: :math:`W(x, y) - \frac12 W(x, x) - \frac12 W(y, y)`, which is 0
    for equal sets. Exact transport is the limit of a small epsilon with many iterations.

    Args:
      first: `[..., n, D]` features, not normalised, such as the positions of the last feature map.
      second: `[..., m, D]` features.
      epsilon: strength of the entropy, in units of the cost, above 0.
      iterations: how often rows and columns are rescaled, at least 1.
      debias: whether the sets' transports to themselves are taken off.

    Returns:
      `[...]`, in [0, 2] unless debiased. A feature of norm 0 has cost 1 to all.

    Raises:
      ValueError: epsilon is below 1e-9, or iterations below 1.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.eye(2)
      >>> float(losses.sinkhorn_distance(x, x[::-1], epsilon=0.01))
      0.0
      >>> round(float(losses.sinkhorn_distance(x, x)), 4)
      0.2689

    References:
      Cuturi, Sinkhorn Distances: Lightspeed Computation of Optimal Transport, NeurIPS 2013,
      https://arxiv.org/abs/1306.0895;
      Qian et al., OTFace: Hard Samples Guided Optimal Transport Loss for Deep Face Representation,
      2022, https://arxiv.org/abs/2203.14461
    """
    check_range("epsilon", epsilon, 1e-9, unit="in units of the cost")
    check_integers(iterations=iterations)
    check_range("iterations", iterations, 1)
    _check_sets(first, second)
    first, second = unit_vectors(first), unit_vectors(second)
    distance = _transport_cost(first, second, epsilon, iterations)
    if debias:
        distance -= 0.5 * _transport_cost(first, first, epsilon, iterations)
        distance -= 0.5 * _transport_cost(second, second, epsilon, iterations)
    return distance


def _check_sets(first: jax.Array, second: jax.Array) -> None:
    """Refuses all but `[..., n, D]` and `[..., m, D]`; the leading sizes are called b0, b1, ..."""
    if jnp.ndim(first) < 2:
        raise AssertionError(f"first has shape {jnp.shape(first)}; expected [..., n, D]")
    leading = "".join(f"b{axis} " for axis in range(jnp.ndim(first) - 2))
    check_shapes(first=(first, f"{leading}n D"), second=(second, f"{leading}m D"))
    check_floats(first=first, second=second)


def _transport_cost(
    first: jax.Array, second: jax.Array, epsilon: float, iterations: int
) -> jax.Array:
    """Cost `[...]` of the transport between sets of unit vectors."""
    cosine = jnp.einsum("...nd,...md->...nm", first, second, precision=jax.lax.Precision.HIGHEST)
    cost = 1.0 - cosine
    kernel = -cost / epsilon
    log_rows, log_columns = math.log(first.shape[-2]), math.log(second.shape[-2])

    def rescale(logs, _):
        """One iteration on the logarithms of a `[..., n]` and b `[..., m]`."""
        _, b = logs
        a = -log_rows - jax.nn.logsumexp(kernel + b[..., None, :], axis=-1)
        b = -log_columns - jax.nn.logsumexp(kernel + a[..., :, None], axis=-2)
        return (a, b), None

    start = jnp.zeros_like(cost[..., :, 0]), jnp.zeros_like(cost[..., 0, :])
    (a, b), _ = jax.lax.scan(rescale, start, length=iterations)
    plan = jnp.exp(kernel + a[..., :, None] + b[..., None, :])
    return jnp.sum(plan * cost, axis=(-2, -1))


def transport_triplet_loss(
    anchor: jax.Array,
    positive: jax.Array,
    negative: jax.Array,
    *,
    margin: float = 0.0,
    epsilon: float = 1.0,
    iterations: int = 10,
    where: jax.Array | None = None,
    reduction: str = "mean_of_active",
    axis_name: str | None = None,
) -> jax.Array:
    r"""OTFace's term: transport to the positive must cost less than to the negative.

    .. math:: \left[ W(a, p) - W(a, n) + m \right]_+

    with W the `sinkhorn_distance` of the local features. It is added to a margin softmax loss on
    the embeddings; the authors' code weighs it with 10, has margin 0 and takes all triplets of the
    batch in which the negative's embedding is more similar than the positive's. A cheaper choice is
    one triplet a row: `hardest_triplets`, whose numbers pick rows from the local features of the
    global batch. The paper's equation was not at hand, only its code.

    Args:
      anchor: `[t, n, D]` local features, not normalised.
      positive: `[t, p, D]` of the same identities; p, as q below, may be n.
      negative: `[t, q, D]` of other identities.
      margin: m, in units of the cost, at least 0.
      epsilon: see `sinkhorn_distance`.
      iterations: see `sinkhorn_distance`.
      where: `[t]` bool, which triplets count; None for all.
      reduction: "mean" over the triplets that count, or "mean_of_active", over those of positive
        loss among them, as in the authors' code.
      axis_name: triplets are the device's own part.

    Returns:
      A scalar; 0, with gradient zero, when no triplet counts.

    Raises:
      ValueError: unknown reduction, the margin is negative, or epsilon or iterations out of range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.eye(2)[None]
      >>> round(float(losses.transport_triplet_loss(x, -x, x)), 4)
      1.0

    References:
      Qian et al., OTFace: Hard Samples Guided Optimal Transport Loss for Deep Face Representation,
      2022, https://arxiv.org/abs/2203.14461
    """
    check_option("reduction", reduction, ("mean", "mean_of_active"))
    check_range("margin", margin, 0.0, unit="in units of the cost")
    check_shapes(
        anchor=(anchor, "t n D"), positive=(positive, "t p D"), negative=(negative, "t q D")
    )
    check_floats(anchor=anchor, positive=positive, negative=negative)
    options = dict(epsilon=epsilon, iterations=iterations)
    gap = sinkhorn_distance(anchor, positive, **options) - sinkhorn_distance(
        anchor, negative, **options
    )
    loss = jnp.maximum(gap + margin, 0.0)
    counts = which_count(loss, where)
    if reduction == "mean":
        return masked_mean(loss, counts, axis_name)
    return masked_mean(loss, counts & (loss > 0), axis_name)
