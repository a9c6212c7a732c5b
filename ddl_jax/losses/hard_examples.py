"""Hard examples of a batch, told by their loss: keep only the hardest, or weigh them more."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import gather_rows, own_rows
from ddl_jax.losses.checks import check_floats, check_integers, check_range, check_shapes
from ddl_jax.losses.cosine import at_least_float32
from ddl_jax.losses.masked import masked_mean, which_count


def hardest_rows(
    row_losses: jax.Array,
    *,
    share: float = 0.7,
    number: int | None = None,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Which rows are among the hardest of the global batch.

    Args:
      row_losses: `[b]` losses of the rows.
      share: how many of the rows that count are kept, in (0, 1]; rounded, at least one row.
      number: how many rows of the global batch are kept; it overrides `share`.
      where: `[b]` bool, which rows count; None for all.
      axis_name: rows are the device's own part of the batch; the hardest are sought in all of it.

    Returns:
      `[b]` bool. Of equally hard rows the earlier ones are kept, so that their number is exact.

    Raises:
      ValueError: share or number is out of range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> losses.hardest_rows(jnp.array([0.1, 3.0, 0.2, 2.0]), share=0.5).tolist()
      [False, True, False, True]
    """
    if number is None:
        check_range("share", share, 1e-9, 1.0, "a part of the rows")
    else:
        check_integers(number=number)
        check_range("number", number, 1)
    check_shapes(row_losses=(row_losses, "b"))
    check_floats(row_losses=row_losses)
    counts = which_count(row_losses, where)
    constant = jax.lax.stop_gradient(at_least_float32(row_losses))
    hardness = gather_rows(jnp.where(counts, constant, -jnp.inf), axis_name)
    counts = gather_rows(counts, axis_name)
    if number is None:
        kept = jnp.maximum(jnp.round(share * jnp.sum(counts)), 1).astype(int)
    else:
        kept = number
    order = jnp.argsort(hardness, descending=True, stable=True)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size, dtype=order.dtype))
    return own_rows(counts & (rank < kept), axis_name)


def ohem_loss(
    row_losses: jax.Array,
    *,
    share: float = 0.7,
    number: int | None = None,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Online hard example mining: the mean loss of the hardest rows of the global batch.

    .. math:: \frac{1}{|H|} \sum_{i \in H} \ell_i

    with H the rows of highest loss (`hardest_rows`). All others have no gradient.

    Shrivastava et al. keep a fixed number of a detector's regions (`number`); in face recognition a
    share of the batch is kept, called HM-Softmax on top of a softmax loss. The default of 0.7 is
    that of MTCNN's face classifier (Zhang et al. 2016). Which share stands behind the row OHEM of
    the DDL paper's table is not known.

    Args:
      row_losses: `[b]` losses of the rows, such as those of `margin_softmax_loss`.
      share: how many of the rows that count are kept, in (0, 1]; rounded, at least one row.
      number: how many rows of the global batch are kept; it overrides `share`.
      where: `[b]` bool, which rows count, such as `has_class` of `margin_softmax_loss`; None for
        all.
      axis_name: rows are the device's own part of the batch.

    Returns:
      A scalar; 0, with gradient zero, when no row counts.

    Raises:
      ValueError: share or number is out of range.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> float(losses.ohem_loss(jnp.array([0.0, 3.0, 0.5, 2.0]), share=0.5))
      2.5

    References:
      Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining,
      CVPR 2016, https://arxiv.org/abs/1604.03540;
      Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
      Networks, 2016, https://arxiv.org/abs/1604.02878
    """
    hardest = hardest_rows(row_losses, share=share, number=number, where=where, axis_name=axis_name)
    return masked_mean(at_least_float32(row_losses), hardest, axis_name)


def focal_cross_entropy(cross_entropy: jax.Array, *, gamma: float = 2.0) -> jax.Array:
    r"""Focal weighting of softmax cross-entropies: rows that are already right weigh little.

    .. math:: (1 - p_i)^\gamma \, \ell_i, \qquad p_i = e^{-\ell_i}

    with p the softmax probability of the row's class (Lin et al., eq. 4, with the softmax in place
    of their sigmoid; F-Softmax of the face recognition papers). Their class weight alpha (eq. 5) is
    left out. The weight is differentiated too, as in the paper.

    `optax.losses.sigmoid_focal_loss` is another thing: one sigmoid a class, not one softmax a row.

    Args:
      cross_entropy: `[...]`, at least 0, such as the losses of `margin_softmax_loss`; p is then the
        probability *after* the margin, scaled as the logits are.
      gamma: how strongly easy rows are weighed down; 0 changes nothing.

    Returns:
      `[...]`. A cross-entropy of 0, or below it by rounding, gives 0 with gradient zero.

    Raises:
      ValueError: gamma is negative.
      AssertionError: the cross-entropies are not floating point numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> focal = losses.focal_cross_entropy(-jnp.log(jnp.array([0.5, 0.9])))
      >>> [round(x, 4) for x in focal.tolist()]
      [0.1733, 0.0011]

    References:
      Lin et al., Focal Loss for Dense Object Detection, ICCV 2017,
      https://arxiv.org/abs/1708.02002
    """
    check_range("gamma", gamma, 0.0)
    check_floats(cross_entropy=cross_entropy)
    cross_entropy = at_least_float32(cross_entropy)
    if gamma == 0:
        return cross_entropy
    # A power has no finite gradient at 0 for gamma below 1: the base is replaced there.
    is_wrong = cross_entropy > 0
    loss = jnp.where(is_wrong, cross_entropy, 1.0)
    return jnp.where(is_wrong, (-jnp.expm1(-loss)) ** gamma * loss, 0.0)
