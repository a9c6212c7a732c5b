"""The Distribution Distillation Loss: similarities of hard samples approach those of easy ones."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from ddl_jax.losses.axis import axis_sum
from ddl_jax.losses.cosine import at_least_float32
from ddl_jax.losses.distributions import kl_divergence, similarity_histogram
from ddl_jax.losses.similarities import PairSimilarities


class _Mean(NamedTuple):
    """A mean over the global batch, 0 when nothing counts, and whether anything did."""

    value: jax.Array
    exists: jax.Array


def order_loss(domains: Sequence[PairSimilarities], *, axis_name: str | None = None) -> jax.Array:
    r"""Keeps the expected positive similarity of every domain above every expected negative one.

    .. math:: \sum_i \sum_j \left( E[S^-_i] - E[S^+_j] \right)

    over all pairs of domains, teacher included: `(K+1)^2` terms (DDL, eq. 5, with its sign turned
    so that it is minimised). The means are those of the raw similarities, not of the histograms. A
    domain without any positive (or negative) that counts has no such mean, and no term with it.

    Args:
      domains: teacher and students, in any order.
      axis_name: similarities are the device's own part.

    Returns:
      A scalar, in units of cosine; normally negative.

    Raises:
      ValueError: no domain is given.
      AssertionError: ranks or shapes do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> domain = losses.PairSimilarities(jnp.array([0.75]), jnp.array([0.25]))
      >>> float(losses.order_loss([domain, domain]))
      -2.0
    """
    if not domains:
        raise ValueError("order_loss got no domain; give the teacher and at least one student")
    return _order(*_means(domains, axis_name))


def distribution_distillation_loss(
    teacher: PairSimilarities,
    students: Sequence[PairSimilarities],
    *,
    positive_weight: float = 0.1,
    negative_weight: float = 0.02,
    order_weight: float = 0.5,
    nodes: jax.Array | None = None,
    gamma: float = 50.0,
    divergence: Callable[[jax.Array, jax.Array], jax.Array] = kl_divergence,
    stop_teacher_gradient: bool = False,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    r"""The Distribution Distillation Loss of one teacher and K students (DDL, eq. 4 to 6).

    .. math::
      \sum_k \left[ \lambda_1 D(P^+ \| Q_k^+) + \lambda_2 D(P^- \| Q_k^-) \right]
      + \lambda_3 \sum_{i,j} \left( E[S^-_i] - E[S^+_j] \right)

    P and Q are the soft histograms of the teacher's and a student's similarities, D is KL. It is
    added to a margin softmax loss; on its own it is normally negative.

    Where it differs from the authors' released code: nodes are 101 on [-1, 1] (theirs 1000 on
    [0, 1), which cuts negatives off: `nodes=jnp.arange(0, 1, .001)`); an empty set of positives
    gives a term of 0 instead of NaN; with `axis_name` the gradient is that of the global batch
    (theirs is larger by the number of GPUs). The teacher is detached neither there nor, by default,
    here.

    KL between small samples of equal distributions is not 0: see `kl_divergence`.

    Args:
      teacher: similarities of the easy domain.
      students: similarities of the K hard domains.
      positive_weight: lambda_1.
      negative_weight: lambda_2.
      order_weight: lambda_3.
      nodes: `[R]` cosines of the histograms; None for 101 on [-1, 1].
      gamma: see `similarity_histogram`.
      divergence: `(p[R], q[R]) -> scalar`, teacher first: `kl_divergence`, `js_divergence` or
        `functools.partial(earth_mover_distance, nodes=nodes)`.
      stop_teacher_gradient: whether the teacher's histograms are constants to the divergences. The
        order loss moves the teacher in any case.
      axis_name: similarities are the device's own part.

    Returns:
      `(loss, terms)`, terms unweighted: `positive_divergence[K]`, `negative_divergence[K]`,
      `order`, `positive_mean[K+1]` and `negative_mean[K+1]` (teacher first).

    Raises:
      ValueError: no student is given.
      AssertionError: ranks or shapes do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> easy = losses.PairSimilarities(jnp.array([0.7, 0.8]), jnp.array([0.1, 0.2]))
      >>> hard = losses.PairSimilarities(jnp.array([0.4, 0.5]), jnp.array([0.2, 0.3]))
      >>> loss, terms = losses.distribution_distillation_loss(easy, [hard])
      >>> round(float(terms["order"]), 3), bool(terms["positive_divergence"][0] > 1)
      (-1.6, True)

    References:
      Huang et al., Improving Face Recognition from Hard Samples via Distribution Distillation Loss,
      ECCV 2020, https://arxiv.org/abs/2002.03662
    """
    if not students:
        raise ValueError("distribution_distillation_loss got no student; give at least one")
    nodes = jnp.linspace(-1.0, 1.0, 101) if nodes is None else nodes
    # Widened once, here: histogram and mean both send gradients back, which must add up in float32.
    domains = [_widened(domain) for domain in (teacher, *students)]
    positive = [_Set(d.positive, d.positive_where) for d in domains]
    negative = [_Set(d.negative, d.negative_where) for d in domains]
    positive_mean, negative_mean = _means(domains, axis_name)

    def divergences(sets: list[_Set], means: list[_Mean]) -> jax.Array:
        histograms = [
            similarity_histogram(
                s.values, nodes=nodes, gamma=gamma, where=s.where, axis_name=axis_name
            )
            for s in sets
        ]
        p = jax.lax.stop_gradient(histograms[0]) if stop_teacher_gradient else histograms[0]
        return jnp.stack(
            [
                jnp.where(means[0].exists & mean.exists, divergence(p, q), 0.0)
                for q, mean in zip(histograms[1:], means[1:], strict=True)
            ]
        )

    terms = {
        "positive_divergence": divergences(positive, positive_mean),
        "negative_divergence": divergences(negative, negative_mean),
        "order": _order(positive_mean, negative_mean),
        "positive_mean": jnp.stack([mean.value for mean in positive_mean]),
        "negative_mean": jnp.stack([mean.value for mean in negative_mean]),
    }
    loss = (
        positive_weight * jnp.sum(terms["positive_divergence"])
        + negative_weight * jnp.sum(terms["negative_divergence"])
        + order_weight * terms["order"]
    )
    return loss, terms


class _Set(NamedTuple):
    values: jax.Array
    where: jax.Array | None


def _widened(domain: PairSimilarities) -> PairSimilarities:
    positive, negative = at_least_float32(domain.positive), at_least_float32(domain.negative)
    return domain._replace(positive=positive, negative=negative)


def _means(
    domains: Sequence[PairSimilarities], axis_name: str | None
) -> tuple[list[_Mean], list[_Mean]]:
    positive = [_mean(d.positive, d.positive_where, axis_name) for d in domains]
    negative = [_mean(d.negative, d.negative_where, axis_name) for d in domains]
    return positive, negative


def _mean(values: jax.Array, where: jax.Array | None, axis_name: str | None) -> _Mean:
    values = at_least_float32(values)
    counts = jnp.ones(values.shape, bool) if where is None else where
    chex.assert_rank(values, 1)
    chex.assert_equal_shape([values, counts])
    total = axis_sum(jnp.sum(values, where=counts), axis_name)
    number = axis_sum(jnp.sum(counts), axis_name)
    return _Mean(total / jnp.maximum(number, 1), number > 0)


def _order(positive: Sequence[_Mean], negative: Sequence[_Mean]) -> jax.Array:
    return sum(
        jnp.where(n.exists & p.exists, n.value - p.value, 0.0) for n in negative for p in positive
    )
