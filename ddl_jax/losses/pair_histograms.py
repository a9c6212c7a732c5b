"""The histogram loss: how probably a negative pair is more similar than a positive one."""

import chex
import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_sum, gather_rows, own_rows
from ddl_jax.losses.cosine import at_least_float32, unit_vectors
from ddl_jax.losses.masked import which_count
from ddl_jax.losses.similarities import PairSimilarities


def batch_pair_similarities(
    embeddings: jax.Array, labels: jax.Array, *, axis_name: str | None = None
) -> PairSimilarities:
    r"""Cosines of all pairs of a batch, positive and negative, each pair once.

    The sets :math:`S^+` and :math:`S^-` of the histogram loss (Ustinova and Lempitsky, Sec. 3).
    Nothing is mined; `pair_similarities` makes the sets of DDL.

    Args:
      embeddings: `[b, D]`, not normalised.
      labels: `[b]` identities.
      axis_name: rows are the device's own part of the batch; a pair belongs to the device of its
        earlier row, so that every pair of the global batch is on exactly one device.

    Returns:
      `PairSimilarities` whose arrays all have `b * B` entries, with B rows in the global batch:
      `positive` and `negative` are the same cosines, of each own row with every row, and the two
      masks say which of them are which.

    Raises:
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
      >>> pairs = losses.batch_pair_similarities(x, jnp.array([0, 1, 0]))
      >>> pairs.positive[pairs.positive_where].tolist()
      [1.0]
      >>> pairs.negative[pairs.negative_where].tolist()
      [0.0, 0.0]
    """
    chex.assert_rank([embeddings, labels], [2, 1])
    chex.assert_equal_shape_prefix([embeddings, labels], 1)
    chex.assert_type(labels, int)
    everyone = gather_rows(unit_vectors(embeddings), axis_name)
    own = own_rows(everyone, axis_name)
    cosine = jnp.matmul(own, everyone.T, precision=jax.lax.Precision.HIGHEST)
    numbers = jnp.arange(everyone.shape[0])
    is_later = numbers[None, :] > own_rows(numbers, axis_name)[:, None]
    is_same = gather_rows(labels, axis_name)[None, :] == labels[:, None]
    cosine = cosine.ravel()
    return PairSimilarities(
        cosine, cosine, (is_same & is_later).ravel(), (~is_same & is_later).ravel()
    )


def histogram_loss(
    similarities: PairSimilarities,
    *,
    nodes: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""The probability that a random negative pair is more similar than a random positive pair.

    .. math::
      \sum_{r=1}^{R} h^-_r \sum_{q=1}^{r} h^+_q, \qquad
      h_r = \frac{1}{|S|} \sum_{s \in S} \delta_r(s)

    with :math:`\delta_r(s)` the weight of node r in the linear interpolation of s between its two
    neighbouring nodes: :math:`1 - |s - t_r| / \Delta` within :math:`\Delta` of the node, else 0.
    The inner sum includes r itself, in the paper and in the PyTorch code that is in use: a positive
    and a negative pair at the same node count as wrong.

    It differs from DDL in two ways: bumps are triangles instead of Gaussians, and there is no
    teacher. It has no other hyper-parameter than the nodes.

    Args:
      similarities: positive and negative cosines: `batch_pair_similarities` for all pairs of a
        batch, as in the paper, or `pair_similarities` for DDL's.
      nodes: `[R]` cosines, rising; None for 101 on [-1, 1]. A cosine beyond the ends counts at the
        end, with gradient zero.
      axis_name: similarities are the device's own part.

    Returns:
      A scalar in [0, 1]; 0, with gradient zero, when no positive or no negative counts.

    Raises:
      ValueError: there are fewer than two nodes.
      AssertionError: ranks or shapes do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> nodes = jnp.array([-1.0, 0.0, 1.0])
      >>> apart = losses.PairSimilarities(jnp.array([1.0]), jnp.array([-0.5]))
      >>> float(losses.histogram_loss(apart, nodes=nodes))
      0.0
      >>> mixed = losses.PairSimilarities(jnp.array([1.0, -1.0]), jnp.array([0.0]))
      >>> float(losses.histogram_loss(mixed, nodes=nodes))
      0.5

    References:
      Ustinova and Lempitsky, Learning Deep Embeddings with Histogram Loss, NeurIPS 2016,
      https://arxiv.org/abs/1611.00822
    """
    nodes = jnp.linspace(-1.0, 1.0, 101) if nodes is None else nodes
    chex.assert_rank(nodes, 1)
    if nodes.shape[0] < 2:
        raise ValueError(f"nodes has {nodes.shape[0]} entries; give at least 2")
    positive = _histogram(similarities.positive, similarities.positive_where, nodes, axis_name)
    negative = _histogram(similarities.negative, similarities.negative_where, nodes, axis_name)
    return jnp.sum(negative * jnp.cumsum(positive))


def _histogram(
    values: jax.Array, where: jax.Array | None, nodes: jax.Array, axis_name: str | None
) -> jax.Array:
    """Linear-interpolation histogram `[R]` with sum 1; zeros when nothing counts."""
    values = at_least_float32(values)
    counts = which_count(values, where)
    chex.assert_rank(values, 1)
    nodes = nodes.astype(values.dtype)
    values = jnp.clip(values, nodes[0], nodes[-1])[:, None]
    step = jnp.diff(nodes)
    # Beyond its ends the first node has no rising side and the last no falling one.
    ends = jnp.ones((values.shape[0], 1), values.dtype)
    rising = jnp.concatenate([ends, (values - nodes[None, :-1]) / step[None, :]], axis=1)
    falling = jnp.concatenate([(nodes[None, 1:] - values) / step[None, :], ends], axis=1)
    weights = jnp.maximum(jnp.minimum(rising, falling), 0.0)
    heights = axis_sum(jnp.sum(weights, axis=0, where=counts[:, None]), axis_name)
    number = axis_sum(jnp.sum(counts), axis_name)
    return heights / jnp.maximum(number, 1)
