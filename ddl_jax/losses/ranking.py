"""Losses that rank the pairs of a batch: batch-hard triplets and supervised contrast."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import gather_rows, is_other_row
from ddl_jax.losses.checks import (
    check_floats,
    check_integers,
    check_option,
    check_range,
    check_shapes,
)
from ddl_jax.losses.cosine import at_least_float32, lengths, unit_vectors
from ddl_jax.losses.distances import without_scale
from ddl_jax.losses.masked import masked_log_sum_exp, masked_mean


class Triplets(NamedTuple):
    """The hardest triplet of each row.

    Attributes:
      positive: `[b]` row number, in the global batch, of the farthest of the same identity.
      negative: `[b]` row number, in the global batch, of the nearest of another identity.
      where: `[b]` bool, whether the row has both; where it has not, the numbers mean nothing.
    """

    positive: jax.Array
    negative: jax.Array
    where: jax.Array


def hardest_triplets(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    normalize: bool = True,
    axis_name: str | None = None,
) -> Triplets:
    r"""Finds the farthest positive and the nearest negative of each row (Hermans et al., eq. 5).

    Args:
      embeddings: `[b, D]`.
      labels: `[b]` identities.
      normalize: whether distances are those of the unit vectors, or of the embeddings as they are.
      axis_name: rows are the device's own part of the batch; all rows are looked at.

    Returns:
      `Triplets` of the own rows. Of equally far rows the first is taken.

    Raises:
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
      >>> triplets = losses.hardest_triplets(x, jnp.array([0, 0, 1]))
      >>> triplets.positive[:2].tolist(), triplets.negative[:2].tolist(), triplets.where.tolist()
      ([1, 0], [2, 2], [True, True, False])
    """
    is_positive, is_negative = _relations(embeddings, labels, axis_name)
    rows = jax.lax.stop_gradient(at_least_float32(embeddings))
    rows = unit_vectors(rows) if normalize else without_scale(rows, axis_name)
    everyone = gather_rows(rows, axis_name)
    product = jnp.matmul(rows, everyone.T, precision=jax.lax.Precision.HIGHEST)
    # The row's own square is left out: it does not change which of the others is far.
    distance = jnp.sum(everyone * everyone, axis=1)[None, :] - 2.0 * product
    return Triplets(
        jnp.argmax(jnp.where(is_positive, distance, -jnp.inf), axis=1),
        jnp.argmin(jnp.where(is_negative, distance, jnp.inf), axis=1),
        jnp.any(is_positive, axis=1) & jnp.any(is_negative, axis=1),
    )


def batch_hard_triplet_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float | None = 0.2,
    squared: bool = False,
    normalize: bool = True,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Batch-hard triplet loss, the mean over the rows that have a triplet.

    .. math::
      \left[ m + \max_{p : y_p = y_a} d(x_a, x_p) - \min_{n : y_n \ne y_a} d(x_a, x_n) \right]_+

    with d the Euclidean distance (Hermans et al., eq. 5, which sums over the rows). With
    `margin=None` the hinge is the soft margin :math:`\log(1 + e^{\cdot})` of the same paper.

    Hermans et al. do not normalise the embeddings (`normalize=False`) and warn of squared distances
    here; face recognition does normalise them, and FaceNet squares (`squared=True`, margin 0.2).
    Their code gives a row without a positive the positive distance 0; here such a row does not
    count. `optax.losses.triplet_margin_loss` takes triplets and does not look for them.

    Args:
      embeddings: `[b, D]`.
      labels: `[b]` identities; every identity should come twice or more in the global batch.
      margin: m, in units of the distance, at least 0; None for the soft margin.
      squared: whether distances are squared.
      normalize: whether distances are those of the unit vectors (0 to 2, the square is
        `2 - 2 cos`), or of the embeddings as they are.
      axis_name: rows are the device's own part of the batch; triplets come from all of it.

    Returns:
      A scalar; 0, with gradient zero, when no row has a triplet. Equal rows have the distance 0,
      with gradient zero.

    Raises:
      ValueError: the margin is negative.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
      >>> float(losses.batch_hard_triplet_loss(x, jnp.array([0, 0, 1]), margin=2.5))
      0.5

    References:
      Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017,
      https://arxiv.org/abs/1703.07737;
      Schroff et al., FaceNet, CVPR 2015, https://arxiv.org/abs/1503.03832
    """
    if margin is not None:
        check_range("margin", margin, 0.0, unit="in units of the distance")
    triplets = hardest_triplets(embeddings, labels, normalize=normalize, axis_name=axis_name)
    rows = unit_vectors(embeddings) if normalize else at_least_float32(embeddings)
    everyone = gather_rows(rows, axis_name)
    # Distances anew from differences: those of the search lose digits where rows are near.
    positive = lengths(rows - everyone[triplets.positive])
    negative = lengths(rows - everyone[triplets.negative])
    gap = positive**2 - negative**2 if squared else positive - negative
    loss = jax.nn.softplus(gap) if margin is None else jnp.maximum(gap + margin, 0.0)
    return masked_mean(loss, triplets.where, axis_name)


def supervised_contrastive_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float = 0.1,
    variant: str = "out",
    axis_name: str | None = None,
) -> jax.Array:
    r"""Supervised contrastive loss, the mean over the rows that have a positive.

    .. math::
      L^{out}_i = -\frac{1}{|P(i)|} \sum_{p \in P(i)}
          \log \frac{e^{\cos(x_i, x_p) / \tau}}{\sum_{a \ne i} e^{\cos(x_i, x_a) / \tau}}, \qquad
      L^{in}_i = -\log \frac{1}{|P(i)|} \sum_{p \in P(i)}
          \frac{e^{\cos(x_i, x_p) / \tau}}{\sum_{a \ne i} e^{\cos(x_i, x_a) / \tau}}

    with P(i) the other rows of the same identity (Khosla et al., eq. 2 and 3, which sum over the
    rows; L_out is the one they recommend).

    Where their PyTorch code differs: it multiplies the loss by `temperature / base_temperature`,
    both 0.07 by default, which this function does not: take the factor into the loss's weight. It
    divides by all rows, and gives NaN, or 0 in later versions, for a row without a positive.

    Args:
      embeddings: `[b, D]`, not normalised: the views of an image are rows of the same label.
      labels: `[b]` identities.
      temperature: tau, above 0.
      variant: "out" (the sum over positives outside the logarithm) or "in".
      axis_name: rows are the device's own part of the batch; pairs come from all of it.

    Returns:
      A scalar; 0, with gradient zero, when no row has a positive.

    Raises:
      ValueError: the temperature is below 1e-9 or the variant unknown.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> x = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
      >>> loss = losses.supervised_contrastive_loss(x, jnp.array([0, 0, 1]), temperature=1.0)
      >>> round(float(loss), 4)
      0.3133

    References:
      Khosla et al., Supervised Contrastive Learning, NeurIPS 2020,
      https://arxiv.org/abs/2004.11362
    """
    check_range("temperature", temperature, 1e-9)
    check_option("variant", variant, ("out", "in"))
    is_positive, is_negative = _relations(embeddings, labels, axis_name)
    rows = unit_vectors(embeddings)
    everyone = gather_rows(rows, axis_name)
    cosine = jnp.matmul(rows, everyone.T, precision=jax.lax.Precision.HIGHEST)
    logits = cosine / temperature
    number = jnp.maximum(jnp.sum(is_positive, axis=1), 1)
    if variant == "out":
        attraction = jnp.sum(logits, axis=1, where=is_positive) / number
    else:
        attraction = masked_log_sum_exp(logits, is_positive) - jnp.log(number.astype(logits.dtype))
    loss = masked_log_sum_exp(logits, is_positive | is_negative) - attraction
    return masked_mean(loss, jnp.any(is_positive, axis=1), axis_name)


def _relations(
    embeddings: jax.Array, labels: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """Which rows of the global batch are positives and negatives of each own row, `[b, B]` each."""
    check_shapes(embeddings=(embeddings, "b D"), labels=(labels, "b"))
    check_floats(embeddings=embeddings)
    check_integers(labels=labels)
    all_labels = gather_rows(labels, axis_name)
    is_other = is_other_row(len(labels), len(all_labels), axis_name)
    is_same = all_labels[None, :] == labels[:, None]
    return is_same & is_other, ~is_same
