"""The paper's DDL and that of the released code, each under one name."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddl_jax.losses.checks import (
    check_integers,
    check_list,
    check_option,
    check_shapes,
    check_type,
    check_whole,
)
from ddl_jax.losses.cosine import at_least_float32
from ddl_jax.losses.distillation import distribution_distillation_loss
from ddl_jax.losses.distributions import kl_divergence
from ddl_jax.losses.queue import EmbeddingQueue, SimilarityQueue
from ddl_jax.losses.similarities import PairSimilarities, pair_similarities


class DistillationPreset(NamedTuple):
    """Everything that makes a DDL of embeddings; `_replace` changes a part of it.

    Attributes:
      mining: which negatives; see `negative_similarities`.
      count: negatives of a row.
      fallback: see `negative_similarities`.
      mask_labels: whether rows of the same identity are kept from being negatives. The released
        code leaves that to its sampler.
      minimum_positive: cosine at or below which a positive pair is dropped.
      lowest_node: cosine of the histograms' first node.
      highest_node: cosine of the last node.
      nodes: how many, evenly spaced.
      gamma: see `similarity_histogram`.
      positive_weight: lambda_1.
      negative_weight: lambda_2.
      order_weight: lambda_3.
      divergence: see `distribution_distillation_loss`, also for the next three.
      log_space: whether histograms are logarithms.
      correct_bias: whether the small-sample bias of KL is subtracted.
      stop_teacher_gradient: whether the teacher is constant to the divergences.
      gradient_times_devices: whether the gradient is multiplied by the number of devices of
        `axis_name`, as in the released code, where every process sends the gradient of the whole
        batch through the gathered embeddings. The value is the same.
    """

    mining: str = "paper"
    count: int = 1
    fallback: str = "easiest"
    mask_labels: bool = True
    minimum_positive: float = 0.0
    lowest_node: float = -1.0
    highest_node: float = 1.0
    nodes: int = 101
    gamma: float = 50.0
    positive_weight: float = 0.1
    negative_weight: float = 0.02
    order_weight: float = 0.5
    divergence: Callable[[jax.Array, jax.Array], jax.Array] = kl_divergence
    log_space: bool = False
    correct_bias: bool = False
    stop_teacher_gradient: bool = False
    gradient_times_devices: bool = False


_PRESETS = {
    "paper": DistillationPreset(),
    "tface": DistillationPreset(
        mining="tface",
        mask_labels=False,
        lowest_node=0.0,
        highest_node=0.999,
        nodes=1000,
        gradient_times_devices=True,
    ),
}


def distillation_preset(name: str) -> DistillationPreset:
    """The options behind a name.

    "paper": 101 nodes on [-1, 1], the hardest negative among all rows of other identities, the
    gradient of the global batch. The number of nodes is ours; from 50 on it hardly matters.

    "tface", as the authors released it: 1000 nodes on [0, 1), which cut negatives off; row i sees
    only the rows after it and a floor of 0 as negatives, whatever the labels; the gradient is
    multiplied by the number of devices (at 8 GPUs their weights .1, .02 and .5 act as .8, .16 and
    4). For the same with a gradient that does not depend on the devices, give
    `distillation_preset("tface")._replace(gradient_times_devices=False)`. One quirk is not kept:
    where no positive pair counts theirs is NaN, this has no such term.

    Args:
      name: paper or tface.

    Returns:
      A `DistillationPreset`.

    Raises:
      ValueError: unknown name.

    Examples:
      >>> from ddl_jax import losses
      >>> losses.distillation_preset("tface").nodes
      1000
    """
    check_option("preset", name, tuple(_PRESETS))
    return _PRESETS[name]


def _options(preset: str | DistillationPreset) -> DistillationPreset:
    if isinstance(preset, str):
        return distillation_preset(preset)
    check_type("preset", preset, DistillationPreset, ", or a name")
    check_whole("nodes", preset.nodes, 2)
    if not preset.lowest_node < preset.highest_node:
        raise ValueError(
            f"lowest_node is {preset.lowest_node}; expected less than highest_node, "
            f"{preset.highest_node}"
        )
    return preset


def domain_pairs(
    embeddings: jax.Array,
    labels: jax.Array | None = None,
    *,
    preset: str | DistillationPreset = "paper",
    key: jax.Array | None = None,
    memories: Sequence[EmbeddingQueue] | None = None,
    axis_name: str | None = None,
) -> list[PairSimilarities]:
    """Positive and mined negative similarities of every domain of a batch.

    Args:
      embeddings: `[b, 3 (K + 1), D]`, not normalised: of each domain, teacher first, a single image
        and the first and the second image of a pair.
      labels: `[b, 3 (K + 1)]` identities; None says that the singles of a domain are all different.
      preset: a name that `distillation_preset` knows, or options of your own.
      key: for mining "random", the same on all devices.
      memories: past singles of every domain, teacher first; see `negative_similarities`. The preset
        must have `mask_labels`.
      axis_name: rows are the device's own part of the batch.

    Returns:
      One `PairSimilarities` a domain.

    Raises:
      ValueError: unknown preset, images that are not threes, not one memory a domain, memories
        with a preset without `mask_labels`, or what `negative_similarities` refuses.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> from ddl_jax import losses
      >>> easy, hard = losses.domain_pairs(jnp.ones((4, 6, 8)))
      >>> easy.positive.shape, hard.negative.shape
      ((4,), (4,))
    """
    options = _options(preset)
    check_shapes(embeddings=(embeddings, "b images D"))
    images = embeddings.shape[1]
    if images == 0 or images % 3:
        raise ValueError(f"embeddings has {images} images a row; give three for each domain")
    if labels is not None:
        check_shapes(embeddings=(embeddings, "b images D"), labels=(labels, "b images"))
        check_integers(labels=labels)
    if memories is not None and not options.mask_labels:
        raise ValueError(
            "mask_labels is False in the preset; memories hold rows of the same identities, so "
            "set it to True"
        )
    check_list("memories", memories, EmbeddingQueue)
    if memories is not None and len(memories) != images // 3:
        raise ValueError(f"memories has {len(memories)} queues; give {images // 3}, one a domain")
    # Widened once, here: the gradients of a row's images add up in float32.
    embeddings = at_least_float32(embeddings)
    return [
        pair_similarities(
            *(embeddings[:, 3 * k + i] for i in range(3)),
            labels[:, 3 * k] if options.mask_labels and labels is not None else None,
            minimum_positive=options.minimum_positive,
            mining=options.mining,
            count=options.count,
            fallback=options.fallback,
            key=None if key is None else jax.random.fold_in(key, k),
            memory=None if memories is None else memories[k],
            axis_name=axis_name,
        )
        for k in range(images // 3)
    ]


def preset_distillation_loss(
    embeddings: jax.Array,
    labels: jax.Array | None = None,
    *,
    preset: str | DistillationPreset = "paper",
    key: jax.Array | None = None,
    memories: Sequence[EmbeddingQueue] | None = None,
    past: Sequence[SimilarityQueue] | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The Distribution Distillation Loss of a batch's embeddings, under one name.

    It is `distribution_distillation_loss` of `domain_pairs`.

    Args:
      embeddings: `[b, 3 (K + 1), D]`, not normalised: of each domain, teacher first, a single image
        and the first and the second image of a pair. K is at least 1.
      labels: `[b, 3 (K + 1)]` identities; None says that the singles of a domain are all different.
      preset: a name that `distillation_preset` knows ("paper", "tface"), or options of your own.
      key: for mining "random", the same on all devices.
      memories: past singles of every domain; see `domain_pairs`.
      past: past similarities of every domain; see `distribution_distillation_loss`. To push the
        batch's, make them with `domain_pairs` and the same arguments.
      axis_name: rows are the device's own part of the batch.

    Returns:
      `(loss, terms)` as of `distribution_distillation_loss`.

    Raises:
      ValueError: there is no student; see `domain_pairs` and `distribution_distillation_loss`.
      AssertionError: ranks, shapes or types do not fit.

    Examples:
      >>> import jax
      >>> from ddl_jax import losses
      >>> faces = jax.random.normal(jax.random.key(0), (8, 6, 16))
      >>> loss, terms = losses.preset_distillation_loss(faces, preset="tface")
      >>> terms["positive_divergence"].shape, terms["positive_mean"].shape
      ((1,), (2,))
    """
    options = _options(preset)
    domains = domain_pairs(
        embeddings, labels, preset=options, key=key, memories=memories, axis_name=axis_name
    )
    return loss_of_pairs(domains, options, past=past, axis_name=axis_name)


def loss_of_pairs(
    domains: Sequence[PairSimilarities],
    options: DistillationPreset,
    *,
    past: Sequence[SimilarityQueue] | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`preset_distillation_loss` of what `domain_pairs` found, teacher first.

    Examples:
      >>> import jax
      >>> from ddl_jax import losses
      >>> faces = jax.random.normal(jax.random.key(0), (8, 6, 16))
      >>> loss, _ = loss_of_pairs(losses.domain_pairs(faces), losses.distillation_preset("paper"))
      >>> loss.shape
      ()
    """
    teacher, *students = domains
    dtype = teacher.positive.dtype
    loss, terms = distribution_distillation_loss(
        teacher,
        students,
        positive_weight=options.positive_weight,
        negative_weight=options.negative_weight,
        order_weight=options.order_weight,
        nodes=jnp.linspace(options.lowest_node, options.highest_node, options.nodes, dtype=dtype),
        gamma=options.gamma,
        divergence=options.divergence,
        log_space=options.log_space,
        correct_bias=options.correct_bias,
        past=past,
        stop_teacher_gradient=options.stop_teacher_gradient,
        axis_name=axis_name,
    )
    if options.gradient_times_devices and axis_name is not None:
        more = jax.lax.axis_size(axis_name) - 1
        loss = loss + more * (loss - jax.lax.stop_gradient(loss))
    return loss, terms
