"""Histograms of similarities and the divergences between them."""

import jax
import jax.numpy as jnp
from jax.scipy.special import rel_entr

from ddl_jax.losses.axis import axis_max, axis_sum
from ddl_jax.losses.checks import check_range, check_rising, check_shapes
from ddl_jax.losses.cosine import at_least_float32
from ddl_jax.losses.masked import which_count


def similarity_histogram(
    similarities: jax.Array,
    *,
    nodes: jax.Array,
    gamma: float = 50.0,
    where: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""A soft histogram: every similarity adds a Gaussian bump to the nodes.

    The similarity distribution estimation of DDL (Huang et al. 2020).

    .. math:: h_r \propto \sum_i w_i e^{-\gamma (s_i - t_r)^2}, \qquad \sum_r h_r = 1

    The paper divides by the number of similarities, the released code by the sum over the nodes, as
    here: only then is h a distribution on any nodes. gamma 50 is a standard deviation of 0.1.

    Args:
      similarities: `[n]` cosines.
      nodes: `[R]` cosines at which the histogram is taken.
      gamma: inverse squared width of the bump, `1 / (2 sigma^2)`, above 0.
      where: `[n]` bool, which similarities count; None for all.
      axis_name: similarities are the device's own part.

    Returns:
      `[R]`, summing to 1; uniform, with gradient zero, when no similarity counts.

    Raises:
      ValueError: gamma is not above 0.
      AssertionError: ranks or shapes do not fit, or the mask is not bool.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> h = losses.similarity_histogram(jnp.array([0.0]), nodes=jnp.array([-0.1, 0.0, 0.1]))
      >>> [round(x, 3) for x in h.tolist()]
      [0.274, 0.452, 0.274]
    """
    exponent, counts = bump_exponents(similarities, nodes, gamma, where)
    # The largest exponent is taken out before exp: far from all nodes every bump would underflow.
    # It cancels in the normalisation, so it is a constant to the gradient.
    largest = jax.lax.stop_gradient(jnp.max(exponent, where=counts, initial=-jnp.inf))
    largest = axis_max(largest, axis_name)
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    bumps = jnp.exp(jnp.where(counts, exponent - largest, 0.0))
    heights = axis_sum(jnp.sum(bumps, axis=0, where=counts), axis_name)
    total = jnp.sum(heights)
    uniform = jnp.full_like(heights, 1.0 / heights.shape[0])
    return jnp.where(total > 0, heights / jnp.where(total > 0, total, 1.0), uniform)


def bump_exponents(
    similarities: jax.Array, nodes: jax.Array, gamma: float, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Logarithms `[n, R]` of the bumps of all similarities, and `[n, 1]` bool which count."""
    check_shapes(similarities=(similarities, "n"), nodes=(nodes, "R"))
    check_range("gamma", gamma, 1e-9, unit="one over squared cosines")
    similarities = at_least_float32(similarities)
    counts = which_count(similarities, where)
    # What does not count is replaced, so that a NaN there reaches no gradient.
    similarities = jnp.where(counts, similarities, 0.0)
    distance = similarities[:, None] - nodes.astype(similarities.dtype)[None, :]
    return -gamma * distance**2, counts[:, None]


def kl_divergence(p: jax.Array, q: jax.Array, *, epsilon: float = 1e-9) -> jax.Array:
    r"""Kullback-Leibler divergence, natural logarithm: the KL terms of DDL (Huang et al. 2020).

    .. math::
      \mathrm{KL}(P \| Q) = \sum_r (p_r + \epsilon) \log \frac{p_r + \epsilon}{q_r + \epsilon}

    epsilon is added to both without normalising again, as in the released code: KL(P||P) is 0. It
    caps the logarithm of a bin at about 20.7 and leaves no gradient where q is far below it;
    `log_space_kl_divergence` has neither epsilon nor cap.

    Between finite samples of the *same* distribution this is positive, not 0: `kl_bias` estimates
    by how much, and its docstring has a table.

    Args:
      p: `[R]`, the teacher's histogram.
      q: `[R]`, the student's histogram.
      epsilon: added to every bin, at least 1e-30: a bin that is empty in both must not give NaN.

    Returns:
      A scalar, nats.

    Raises:
      ValueError: epsilon is below 1e-30.
      AssertionError: the shapes differ or are not of rank 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> round(float(losses.kl_divergence(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]))), 4)
      0.6931
    """
    check_shapes(p=(p, "R"), q=(q, "R"))
    check_range("epsilon", epsilon, 1e-30)
    p, q = at_least_float32(p) + epsilon, at_least_float32(q) + epsilon
    return jnp.sum(p * (jnp.log(p) - jnp.log(q)))


def js_divergence(p: jax.Array, q: jax.Array) -> jax.Array:
    r"""Jensen-Shannon divergence, natural logarithm; symmetric, at most log 2.

    .. math:: \tfrac12 \mathrm{KL}(P \| M) + \tfrac12 \mathrm{KL}(Q \| M), \quad M = (P + Q) / 2

    Args:
      p: `[R]` histogram.
      q: `[R]` histogram.

    Returns:
      A scalar, nats. Bins empty on both sides add nothing, without any epsilon.

    Raises:
      AssertionError: the shapes differ or are not of rank 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> round(float(losses.js_divergence(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))), 4)
      0.6931
    """
    check_shapes(p=(p, "R"), q=(q, "R"))
    p, q = at_least_float32(p), at_least_float32(q)
    # A floor far below any mass that matters: log of an empty bin has an infinite gradient.
    floor = jnp.finfo(p.dtype).tiny ** 0.5
    p, q = jnp.maximum(p, floor), jnp.maximum(q, floor)
    middle = 0.5 * (p + q)
    return 0.5 * jnp.sum(rel_entr(p, middle) + rel_entr(q, middle))


def earth_mover_distance(p: jax.Array, q: jax.Array, *, nodes: jax.Array) -> jax.Array:
    r"""Earth mover's (1-Wasserstein) distance of two histograms on the same nodes.

    .. math:: \sum_{r=1}^{R-1} |F_P(t_r) - F_Q(t_r)| (t_{r+1} - t_r)

    with F the cumulative sums.

    Args:
      p: `[R]` histogram.
      q: `[R]` histogram.
      nodes: `[R]` cosines, rising.

    Returns:
      A scalar, in units of cosine.

    Raises:
      ValueError: the nodes do not rise; traced nodes cannot be looked at and pass.
      AssertionError: the shapes differ or are not of rank 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> nodes = jnp.array([0.0, 0.5, 1.0])
      >>> p, q = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 0.0, 1.0])
      >>> float(losses.earth_mover_distance(p, q, nodes=nodes))
      1.0
    """
    check_shapes(p=(p, "R"), q=(q, "R"), nodes=(nodes, "R"))
    check_rising("nodes", nodes)
    p, q = at_least_float32(p), at_least_float32(q)
    surplus = jnp.cumsum(p - q)[:-1]
    # |surplus| with gradient 0 at 0; that of jnp.abs is 1 there, and would move equal histograms.
    distance = surplus * jax.lax.stop_gradient(jnp.sign(surplus))
    return jnp.sum(distance * jnp.diff(nodes.astype(p.dtype)))
