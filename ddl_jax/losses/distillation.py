"""The Distribution Distillation Loss: similarities of hard samples approach those of easy ones."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import check_list, check_range, check_type
from ddl_jax.losses.cosine import at_least_float32
from ddl_jax.losses.distributions import kl_divergence
from ddl_jax.losses.masked import anything_counts, masked_mean, masks_of
from ddl_jax.losses.queue import SimilarityQueue
from ddl_jax.losses.set_divergence import (
    Comparison,
    SimilaritySet,
    check_comparison,
    set_divergences,
    with_past,
)
from ddl_jax.losses.similarities import PairSimilarities


class _Mean(NamedTuple):
    """A mean over the global batch, 0 when nothing counts, and whether anything did."""

    value: jax.Array
    exists: jax.Array


def order_loss(domains: Sequence[PairSimilarities], *, axis_name: str | None = None) -> jax.Array:
    r"""Keeps the expected positive similarity of every domain above every expected negative one.

    .. math:: \sum_i \sum_j \left( E[S^-_i] - E[S^+_j] \right)

    over all pairs of domains, teacher included: `(K+1)^2` terms (the order loss of DDL, Huang et
    al. 2020, with its sign turned so that it is minimised). The means are those of the raw
    similarities, not of the histograms. A domain without any positive (or negative) that counts has
    no such mean, and no term with it.

    Args:
      domains: teacher and students, in any order.
      axis_name: similarities are the device's own part.

    Returns:
      A scalar, in units of cosine; normally negative.

    Raises:
      ValueError: no domain is given.
      AssertionError: ranks or shapes do not fit, or a mask is not bool.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> domain = losses.PairSimilarities(jnp.array([0.75]), jnp.array([0.25]))
      >>> float(losses.order_loss([domain, domain]))
      -2.0
    """
    if not domains:
        raise ValueError("order_loss got no domain; give the teacher and at least one student")
    return _order(*_means([_prepared(domain) for domain in domains], axis_name))


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
    log_space: bool = False,
    correct_bias: bool = False,
    past: Sequence[SimilarityQueue] | None = None,
    stop_teacher_gradient: bool = False,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    r"""The Distribution Distillation Loss of one teacher and K students.

    .. math::
      \sum_k \left[ \lambda_1 D(P^+ \| Q_k^+) + \lambda_2 D(P^- \| Q_k^-) \right]
      + \lambda_3 \sum_{i,j} \left( E[S^-_i] - E[S^+_j] \right)

    P and Q are the soft histograms of the teacher's and a student's similarities, D is KL. It is
    added to a margin softmax loss; on its own it is normally negative.

    Where it differs from the authors' released code: nodes are 101 on [-1, 1] (theirs 1000 on
    [0, 1), which cuts negatives off: `nodes=jnp.arange(0, 1, .001)`); an empty set of positives
    gives a term of 0 instead of NaN; with `axis_name` the gradient is that of the global batch
    (theirs is larger by the number of GPUs). The teacher is detached neither there nor, by default,
    here. `preset_distillation_loss` has all of theirs in one name.

    KL between small samples of equal distributions is not 0 (a table is in `kl_bias`): more
    similarities help (`past`), and so does `correct_bias`.

    Args:
      teacher: similarities of the easy domain.
      students: similarities of the K hard domains.
      positive_weight: lambda_1.
      negative_weight: lambda_2.
      order_weight: lambda_3.
      nodes: `[R]` cosines of the histograms; None for 101 on [-1, 1].
      gamma: see `similarity_histogram`.
      divergence: `(p[R], q[R]) -> scalar`, teacher first: `kl_divergence`, `js_divergence`,
        `earth_mover_distance` (which is given the nodes) or a function of your own.
      log_space: whether histograms are logarithms, exact where linear ones underflow or epsilon
        hides them, and KL is `log_space_kl_divergence`: for sets far apart larger, with a gradient.
      correct_bias: whether `kl_bias` is subtracted from every divergence, which can then be
        negative.
      past: a queue of past similarities for each domain, teacher first. They enter the histograms,
        as constants, and so weigh down the gradient of the batch's own n similarities by
        n / (n + filled); the order loss and the means are of the batch alone. Push the batch's with
        `push_pairs` afterwards.
      stop_teacher_gradient: whether the teacher's histograms are constants to the divergences. The
        order loss moves the teacher in any case.
      axis_name: similarities are the device's own part.

    Returns:
      `(loss, terms)`, terms unweighted: `positive_divergence[K]`, `negative_divergence[K]`,
      `order`, `positive_mean[K+1]` and `negative_mean[K+1]` (teacher first). With `correct_bias`
      also `positive_bias[K]` and `negative_bias[K]`, already subtracted from the divergences.

    Raises:
      ValueError: no student is given; there is not one queue a domain; gamma is not above 0;
        `log_space` or `correct_bias` with a divergence other than `kl_divergence`.
      AssertionError: ranks or shapes do not fit, or a mask is not bool.

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
    if isinstance(students, PairSimilarities):
        raise AssertionError("students is one PairSimilarities; expected a list of them: [student]")
    if not students:
        raise ValueError("distribution_distillation_loss got no student; give at least one")
    how = Comparison(
        nodes=jnp.linspace(-1.0, 1.0, 101) if nodes is None else nodes,
        gamma=gamma,
        divergence=divergence,
        log_space=log_space,
        correct_bias=correct_bias,
        stop_teacher_gradient=stop_teacher_gradient,
        axis_name=axis_name,
    )
    check_comparison(how)
    for name, weight in (
        ("positive_weight", positive_weight),
        ("negative_weight", negative_weight),
        ("order_weight", order_weight),
    ):
        check_range(name, weight, 0.0)
    domains = [_prepared(domain) for domain in (teacher, *students)]
    positive_mean, negative_mean = _means(domains, axis_name)
    positive, negative = _sets(domains, past, axis_name)
    positive_divergence, positive_bias = set_divergences(positive[0], positive[1:], how)
    negative_divergence, negative_bias = set_divergences(negative[0], negative[1:], how)
    terms = {
        "positive_divergence": positive_divergence,
        "negative_divergence": negative_divergence,
        "order": _order(positive_mean, negative_mean),
        "positive_mean": jnp.stack([mean.value for mean in positive_mean]),
        "negative_mean": jnp.stack([mean.value for mean in negative_mean]),
    }
    if correct_bias:
        terms |= {"positive_bias": positive_bias, "negative_bias": negative_bias}
    loss = (
        positive_weight * jnp.sum(positive_divergence)
        + negative_weight * jnp.sum(negative_divergence)
        + order_weight * terms["order"]
    )
    return loss, terms


def _sets(
    domains: Sequence[PairSimilarities],
    past: Sequence[SimilarityQueue] | None,
    axis_name: str | None,
) -> tuple[list[SimilaritySet], list[SimilaritySet]]:
    """What the histograms are made of: positive and negative sets, one a domain."""
    positive = [SimilaritySet(d.positive, d.positive_where) for d in domains]
    negative = [SimilaritySet(d.negative, d.negative_where) for d in domains]
    if past is None:
        return positive, negative
    check_list("past", past, SimilarityQueue)
    for queue in past:
        check_type("a queue of past", queue, SimilarityQueue, ", of empty_similarity_queue")
    if len(past) != len(domains):
        raise ValueError(f"past has {len(past)} queues; give {len(domains)}, one a domain")
    return (
        [
            with_past(s, queue.positive, queue.positive_filled, axis_name)
            for s, queue in zip(positive, past, strict=True)
        ],
        [
            with_past(s, queue.negative, queue.negative_filled, axis_name)
            for s, queue in zip(negative, past, strict=True)
        ],
    )


def _prepared(domain: PairSimilarities) -> PairSimilarities:
    """The domain with its masks written out, or refused.

    Widened once, here: histogram and mean both send gradients back, which must add up in float32.
    """
    masks = masks_of(domain)
    return PairSimilarities(
        at_least_float32(domain.positive), at_least_float32(domain.negative), *masks
    )


def _means(
    domains: Sequence[PairSimilarities], axis_name: str | None
) -> tuple[list[_Mean], list[_Mean]]:
    positive = [_mean(d.positive, d.positive_where, axis_name) for d in domains]
    negative = [_mean(d.negative, d.negative_where, axis_name) for d in domains]
    return positive, negative


def _mean(values: jax.Array, where: jax.Array, axis_name: str | None) -> _Mean:
    return _Mean(masked_mean(values, where, axis_name), anything_counts(where, axis_name))


def _order(positive: Sequence[_Mean], negative: Sequence[_Mean]) -> jax.Array:
    return sum(
        jnp.where(n.exists & p.exists, n.value - p.value, 0.0) for n in negative for p in positive
    )
