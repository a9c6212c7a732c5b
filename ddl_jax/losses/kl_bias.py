"""By how much KL between two small samples exceeds KL between what they are drawn from."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_sum
from ddl_jax.losses.checks import check_shapes
from ddl_jax.losses.distributions import bump_exponents
from ddl_jax.losses.log_distributions import log_heights, normalised
from ddl_jax.losses.masked import which_count


def kl_bias(
    teacher: jax.Array,
    student: jax.Array,
    *,
    nodes: jax.Array,
    gamma: float = 50.0,
    teacher_where: jax.Array | None = None,
    student_where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""An estimate of the small-sample bias of `kl_divergence` between two soft histograms.

    It is a jackknife (leave one out) of both samples. Leaving similarity i out of the n behind a
    histogram multiplies its bin r by :math:`1 - u_{ir}`,

    .. math:: u_{ir} = \frac{n}{n - 1} (w_{ir} - c_i),

    with :math:`w_{ir}` the share of i in the height of bin r, :math:`c_i` its share of the whole.
    The jackknife sums :math:`(1 - u) \log(1 - u) + u` over the teacher's similarities and
    :math:`-\log(1 - u) - u` over the student's; here both series are cut after the fourth power:

    .. math::
      \sum_r p_r \Big[ \tfrac{n - 1}{n} \sum_i \big(\tfrac{u_{ir}^2}{2} + \tfrac{u_{ir}^3}{6}
      + \tfrac{u_{ir}^4}{12}\big) + \tfrac{m - 1}{m} \sum_j \big(\tfrac{u_{jr}^2}{2}
      + \tfrac{u_{jr}^3}{3} + \tfrac{u_{jr}^4}{4}\big) \Big]

    The cut keeps it finite and smooth where one similarity alone makes a bin (u = 1). There the
    uncut jackknife fails: with a rare second mode in the student it came down to -4 where the true
    divergence is 2. Neither the paper nor the released code corrects anything.

    Mean (and standard deviation) of KL, and of KL corrected by this, for n similarities a set,
    gamma 50 and 101 nodes on [-1, 1], over 4,000 draws (2,000 at n = 256). "equal" are two sets of
    N(.5, .12), .12 the standard deviation; "apart" are N(.6, .12) and N(.4, .12), whose true
    divergence, that of sets without end, is .808:

    ====  ============  =============  ============  ============
      n   equal: KL     corrected      apart: KL     corrected
    ====  ============  =============  ============  ============
     16   .077 (.071)   .005 (.069)    .999 (.461)   .859 (.451)
     32   .039 (.033)   .001 (.032)    .909 (.304)   .827 (.298)
     64   .019 (.017)   .000 (.016)    .863 (.206)   .818 (.203)
    256   .005 (.004)   .000 (.004)    .825 (.098)   .812 (.097)
    ====  ============  =============  ============  ============

    So the mean is mended and the spread is not: only more similarities help with that (larger
    batches, or `SimilarityQueue`). A corrected divergence can be negative.

    All of it is for similarities that are independent, as those of positive pairs are. Mined
    negatives are not: two rows that are each other's hardest negative enter twice. Of the KL
    between the hardest negatives of two batches of the same distribution about half is left: .082
    becomes .042 at b = 16 and .0130 becomes .0058 at 64 for Gaussian embeddings of 32 numbers,
    .0065 becomes .0031 at b = 16 for 512 (2,000 draws each).

    Args:
      teacher: `[n]` cosines.
      student: `[m]` cosines.
      nodes: `[R]` cosines of the histograms.
      gamma: see `similarity_histogram`.
      teacher_where: `[n]` bool, which count; None for all.
      student_where: `[m]` bool, which count; None for all.
      axis_name: similarities are the device's own part.

    Returns:
      A scalar, nats, at least 0; a set of fewer than two similarities adds nothing.

    Raises:
      ValueError: gamma is not above 0.
      AssertionError: ranks or shapes do not fit, or a mask is not bool.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> p, q, nodes = jnp.array([0.5, 0.7]), jnp.array([0.6, 0.8]), jnp.linspace(-1, 1, 101)
      >>> round(float(losses.kl_bias(p, q, nodes=nodes)), 2)
      0.73
    """
    check_shapes(teacher=(teacher, "n"), student=(student, "m"), nodes=(nodes, "R"))
    teacher_where = which_count(teacher, teacher_where, "teacher_where")
    student_where = which_count(student, student_where, "student_where")
    log_p, second, third, fourth = _leave_one_out(teacher, nodes, gamma, teacher_where, axis_name)
    by_teacher = second / 2 + third / 6 + fourth / 12
    _, second, third, fourth = _leave_one_out(student, nodes, gamma, student_where, axis_name)
    by_student = second / 2 + third / 3 + fourth / 4
    return jnp.sum(jnp.exp(log_p) * (by_teacher + by_student))


def _leave_one_out(
    similarities: jax.Array,
    nodes: jax.Array,
    gamma: float,
    where: jax.Array,
    axis_name: str | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The log histogram, and the sums of u^2, u^3 and u^4 times (n - 1) / n; all `[R]`."""
    exponent, counts = bump_exponents(similarities, nodes, gamma, where)
    heights = log_heights(exponent, counts, axis_name)
    log_histogram = normalised(heights)
    # Inside exp: a similarity that does not count may lie anywhere and overflow.
    share = jnp.exp(jnp.where(counts, exponent - heights[None, :], -jnp.inf))
    share_of_all = jnp.sum(share * jnp.exp(log_histogram)[None, :], axis=1, keepdims=True)
    number = axis_sum(jnp.sum(counts), axis_name).astype(share.dtype)
    u = (share - share_of_all) * (number / jnp.maximum(number - 1, 1))
    powers = axis_sum(jnp.stack([jnp.sum(u**k, axis=0) for k in (2, 3, 4)]), axis_name)
    return log_histogram, *(powers * (jnp.maximum(number - 1, 0) / jnp.maximum(number, 1)))
