"""Optimal transport between sets of local features, and OTFace's loss on top of it."""

import math

import chex
import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_option
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
      ValueError: epsilon or iterations is out of range.
      AssertionError: shapes do not fit.

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
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}; choose one above 0")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; choose at least 1")
    chex.assert_equal_rank([first, second])
    chex.assert_equal_shape_prefix([first, second], first.ndim - 2)
    chex.assert_equal_shape_suffix([first, second], 1)
    first, second = unit_vectors(first), unit_vectors(second)
    distance = _transport_cost(first, second, epsilon, iterations)
    if debias:
        distance -= 0.5 * _transport_cost(first, first, epsilon, iterations)
        distance -= 0.5 * _transport_cost(second, second, epsilon, iterations)
    return distance


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
    average: str = "active",
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
      positive: `[t, n, D]` of the same identities.
      negative: `[t, n, D]` of other identities.
      margin: m, in units of the cost.
      epsilon: see `sinkhorn_distance`.
      iterations: see `sinkhorn_distance`.
      where: `[t]` bool, which triplets count; None for all.
      average: "active" divides by the triplets of positive loss, as the authors' code does, "all"
        by those that count.
      axis_name: triplets are the device's own part.

    Returns:
      A scalar; 0, with gradient zero, when no triplet counts.

    Raises:
      ValueError: unknown average, or epsilon or iterations out of range.
      AssertionError: ranks or shapes do not fit.

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
    check_option("average", average, ("active", "all"))
    chex.assert_rank([anchor, positive, negative], 3)
    options = dict(epsilon=epsilon, iterations=iterations)
    gap = sinkhorn_distance(anchor, positive, **options) - sinkhorn_distance(
        anchor, negative, **options
    )
    loss = jnp.maximum(gap + margin, 0.0)
    counts = which_count(loss, where)
    if average == "all":
        return masked_mean(loss, counts, axis_name)
    return masked_mean(loss, counts & (loss > 0), axis_name)
