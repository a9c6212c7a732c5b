"""Histograms as logarithms, and KL between them: nothing underflows, so no gradient is lost."""

import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_max, axis_sum
from ddl_jax.losses.checks import check_shapes
from ddl_jax.losses.cosine import at_least_float32
from ddl_jax.losses.distributions import bump_exponents


def similarity_log_histogram(
    similarities: jax.Array,
    *,
    nodes: jax.Array,
    gamma: float = 50.0,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""The natural logarithm of `similarity_histogram`, exact far below float32's 0.

    .. math:: \log h_r = \log \sum_i w_i e^{-\gamma (s_i - t_r)^2} - \log \sum_{r,i} \dots

    A node two cosines away from every similarity has e^-200, which is 0 in float32; here it is
    -200 and still says in which direction the nearest similarity lies. Neither the paper nor the
    released code has it.

    Args:
      similarities: `[n]` cosines.
      nodes: `[R]` cosines at which the histogram is taken.
      gamma: inverse squared width of the bump, `1 / (2 sigma^2)`, above 0.
      where: `[n]` bool, which similarities count; None for all.
      axis_name: similarities are the device's own part.

    Returns:
      `[R]` natural logarithms, finite; of the uniform histogram, with gradient zero, when no
      similarity counts.

    Raises:
      ValueError: gamma is not above 0.
      AssertionError: ranks or shapes do not fit, or the mask is not bool.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> h = losses.similarity_log_histogram(jnp.array([1.0]), nodes=jnp.array([-1.0, 1.0]))
      >>> h.tolist()
      [-200.0, 0.0]
    """
    exponent, counts = bump_exponents(similarities, nodes, gamma, where)
    return normalised(log_heights(exponent, counts, axis_name))


def log_space_kl_divergence(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    r"""Kullback-Leibler divergence of histograms given as logarithms.

    .. math:: \mathrm{KL}(P \| Q) = \sum_r p_r (\log p_r - \log q_r)

    Unlike `kl_divergence`, and the released code, it has no epsilon: it does not level off between
    sets that are far apart, where it grows with the squared distance and keeps pulling. At gamma 50
    it can reach 200 nats, so the weight of such a term is worth a thought.

    Args:
      log_p: `[R]`, the teacher's log histogram, finite.
      log_q: `[R]`, the student's log histogram, finite.

    Returns:
      A scalar, nats.

    Raises:
      AssertionError: the shapes differ or are not of rank 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> p, q = jnp.array([0.0, -200.0]), jnp.array([-200.0, 0.0])
      >>> float(losses.log_space_kl_divergence(p, q))
      200.0
    """
    check_shapes(log_p=(log_p, "R"), log_q=(log_q, "R"))
    log_p, log_q = at_least_float32(log_p), at_least_float32(log_q)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q))


def log_heights(exponent: jax.Array, counts: jax.Array, axis_name: str | None) -> jax.Array:
    """Logarithm `[R]` of the sum of all bumps at each node; 0 when no similarity counts."""
    # One largest exponent a node: with a common one, nodes far from all bumps would underflow.
    largest = jax.lax.stop_gradient(jnp.max(exponent, axis=0, where=counts, initial=-jnp.inf))
    largest = axis_max(largest, axis_name)
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    bumps = jnp.exp(jnp.where(counts, exponent - largest[None, :], 0.0))
    total = axis_sum(jnp.sum(bumps, axis=0, where=counts), axis_name)
    return jnp.where(total > 0, largest + jnp.log(jnp.where(total > 0, total, 1.0)), 0.0)


def normalised(log_heights: jax.Array) -> jax.Array:
    """The log histogram: its exponentials sum to 1."""
    return log_heights - jax.nn.logsumexp(log_heights)
