"""The histogram loss: how probably a negative pair is more similar than a positive one."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_sum, gather_rows, own_numbers, own_rows
from ddl_jax.losses.checks import check_floats, check_integers, check_rising, check_shapes
from ddl_jax.losses.cosine import at_least_float32, unit_vectors
from ddl_jax.losses.masked import masks_of
from ddl_jax.losses.similarities import PairSimilarities

# Sums side by side in a histogram, see `_histogram`.
_PARTIAL_SUMS = 64


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
    check_shapes(embeddings=(embeddings, "b D"), labels=(labels, "b"))
    check_floats(embeddings=embeddings)
    check_integers(labels=labels)
    everyone = gather_rows(unit_vectors(embeddings), axis_name)
    own = own_rows(everyone, axis_name)
    cosine = jnp.matmul(own, everyone.T, precision=jax.lax.Precision.HIGHEST)
    numbers = jnp.arange(len(everyone))
    is_later = numbers[None, :] > own_numbers(len(own), axis_name)[:, None]
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

    A similarity is added to its two nodes only: memory grows with the similarities, whatever the
    number of nodes. XLA's temporaries on a CPU, for all pairs of b rows of size 512, forward and
    backward: 5 MiB at b = 256, 74 MiB at b = 1,024.

    Args:
      similarities: positive and negative cosines: `batch_pair_similarities` for all pairs of a
        batch, as in the paper, or `pair_similarities` for DDL's.
      nodes: `[R]` cosines, rising, evenly spaced in the paper; None for 101 on [-1, 1]. Between
        uneven ones :math:`\Delta` is the distance of the two neighbours. A cosine beyond the ends
        counts at the end, with gradient zero.
      axis_name: similarities are the device's own part.

    Returns:
      A scalar in [0, 1]; 0, with gradient zero, when no positive or no negative counts.

    Raises:
      ValueError: there are fewer than two nodes, or they do not rise; traced nodes cannot be looked
        at and pass.
      AssertionError: ranks, shapes or types do not fit.

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
    _check_nodes(nodes)
    positive_where, negative_where = masks_of(similarities)
    check_floats(positive=similarities.positive, negative=similarities.negative)
    positive = _histogram(similarities.positive, positive_where, nodes, axis_name)
    negative = _histogram(similarities.negative, negative_where, nodes, axis_name)
    return jnp.sum(negative * jnp.cumsum(positive))


def _check_nodes(nodes: jax.Array) -> None:
    check_shapes(nodes=(nodes, "R"))
    if nodes.shape[0] < 2:
        raise ValueError(f"nodes has {nodes.shape[0]} entries; give at least 2")
    check_rising("nodes", nodes)


def _histogram(
    values: jax.Array, counts: jax.Array, nodes: jax.Array, axis_name: str | None
) -> jax.Array:
    """Linear-interpolation histogram `[R]` with sum 1; zeros when nothing counts."""
    values = at_least_float32(values)
    nodes = jnp.asarray(nodes, values.dtype)
    # What does not count is replaced, so that a NaN there reaches no gradient.
    values = jnp.clip(jnp.where(counts, values, nodes[0]), nodes[0], nodes[-1])
    lower = jnp.searchsorted(nodes, values, side="right") - 1
    lower = jnp.minimum(lower, len(nodes) - 2)  # The last node belongs to the interval below it.
    upper_weight = (values - nodes[lower]) / (nodes[lower + 1] - nodes[lower])
    upper_weight, lower_weight = (
        jnp.where(counts, weight, 0.0) for weight in (upper_weight, 1.0 - upper_weight)
    )
    # One sum a node, added up in turn, would be off by 2e-5 for a million similarities, and the
    # threads of an accelerator would wait for each other.
    part = jnp.arange(values.size) % _PARTIAL_SUMS
    sums = jnp.zeros((_PARTIAL_SUMS, len(nodes)), values.dtype)
    sums = sums.at[part, lower].add(lower_weight).at[part, lower + 1].add(upper_weight)
    heights = axis_sum(jnp.sum(sums, axis=0), axis_name)
    number = axis_sum(jnp.sum(counts), axis_name)
    return heights / jnp.maximum(number, 1)
