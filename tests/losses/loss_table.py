"""Every loss once, with inputs to try it on: what the batteries of this folder run over.

A new loss is one line in `LOSSES`; `test_loss_table.py` fails until it is here.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddl_jax import losses

ROWS, CLASSES, SIZE, NODES = 6, 5, 8, 11
# The last two rows have no class.
LABELS = np.array([0, 1, 2, 3, -1, CLASSES])
IDENTITIES = np.array([0, 1, 2, 0, 3, 4])
# One identity of three rows, one of two and one alone.
GROUPS = np.array([0, 1, 0, 2, 1, 0])
HISTOGRAM_NODES = np.linspace(-1.0, 1.0, NODES)


class Loss(NamedTuple):
    """One line of the table.

    Attributes:
      name: of the public function, with the option in brackets.
      inputs: key of `random_inputs` and `structured_inputs`.
      value: `(*arrays) -> array`, everything but the arrays already given.
      modes: of differentiation; a derivative of its own has no forward mode.
    """

    name: str
    inputs: str
    value: Callable[..., jax.Array]
    modes: tuple[str, ...] = ("fwd", "rev")

    @property
    def function(self) -> str:
        return self.name.partition("[")[0]


def nodes_like(array: jax.Array) -> jax.Array:
    return jnp.asarray(HISTOGRAM_NODES, jnp.promote_types(array.dtype, jnp.float32))


def domains_of(faces: Sequence[jax.Array], **options: Any) -> list[losses.PairSimilarities]:
    """One `PairSimilarities` a domain from its singles, first and second, domain after domain."""
    return [losses.pair_similarities(*faces[i : i + 3], **options) for i in range(0, len(faces), 3)]


def _similarities(arrays: Sequence[jax.Array]) -> list[losses.PairSimilarities]:
    return [losses.PairSimilarities(*pair) for pair in zip(arrays[::2], arrays[1::2], strict=True)]


def _logits(function: Callable, **options: Any) -> Callable[..., jax.Array]:
    return lambda cosine: function(cosine, LABELS, **options)


def _softmax(margin: str | losses.Margin, class_chunk: int | None = None) -> Callable:
    is_class = np.arange(CLASSES) != 3
    return lambda rows, centers: losses.margin_softmax_loss(
        rows,
        centers,
        LABELS,
        margin=margin,
        key=jax.random.key(0),
        class_where=is_class,
        class_chunk=class_chunk,
    )[0]


def _margin_softmax(name: str, margin: str | losses.Margin, inputs: str = "rows") -> list[Loss]:
    """The dense form and that in chunks; the last chunk holds one new class."""
    return [
        Loss(f"margin_softmax_loss[{name}]", inputs, _softmax(margin)),
        Loss(f"margin_softmax_loss[{name}, chunks]", inputs, _softmax(margin, 2), ("rev",)),
    ]


# What a loss holds constant must not move here, or finite differences see it: the statistics of a
# batch, and AdaFace's margin, which follows the lengths without a gradient.
_CURRICULAR = dict(update_rate=0.0)
_NORMS = np.linspace(12.0, 30.0, ROWS)
_SATURATED_ADAFACE = losses.adaface_margin(h=1e9, update_rate=0.0)


def _adaface(cosine: jax.Array) -> jax.Array:
    state = losses.AdaFaceState(20.0, 8.0)
    return losses.adaface_logits(cosine, LABELS, jnp.asarray(_NORMS, jnp.float32), state)[0]


def _magface(cosine: jax.Array, norms: jax.Array) -> jax.Array:
    logits, regularizer = losses.magface_logits(cosine, LABELS, norms)
    return jnp.concatenate([logits, regularizer[:, None]], axis=1)


def _hardest(mining: str) -> Callable[..., jax.Array]:
    return lambda rows: losses.hardest_negative_similarities(rows, IDENTITIES, mining=mining)[0]


def _mined(mining: str, **options: Any) -> Callable[..., jax.Array]:
    options["key"] = jax.random.key(0) if mining == "random" else None

    def value(rows: jax.Array) -> jax.Array:
        memory = losses.EmbeddingQueue(jnp.eye(3, SIZE), jnp.arange(3), jnp.array(2))
        positive = jnp.linspace(-0.3, 0.3, ROWS)
        return losses.negative_similarities(
            rows, IDENTITIES, mining=mining, positive=positive, memory=memory, **options
        )[0]

    return value


def _distillation(divergence: Callable, **options: Any) -> Callable[..., jax.Array]:
    def value(*arrays: jax.Array) -> jax.Array:
        teacher, *students = _similarities(arrays)
        return losses.distribution_distillation_loss(
            teacher, students, divergence=divergence, nodes=nodes_like(arrays[0]), **options
        )[0]

    return value


def _past(value: float) -> losses.SimilarityQueue:
    similarities = jnp.linspace(value - 0.2, value + 0.2, 4)
    return losses.SimilarityQueue(similarities, -similarities, jnp.array(3), jnp.array(2))


def _kl_bias(*sets: jax.Array) -> jax.Array:
    where = np.arange(ROWS) != 2
    return losses.kl_bias(sets[0], sets[1], nodes=nodes_like(sets[0]), student_where=where)


def _earth_mover(p: jax.Array, q: jax.Array) -> jax.Array:
    return losses.earth_mover_distance(p, q, nodes=nodes_like(p))


def _pair_similarities(*pairs: jax.Array) -> jax.Array:
    """Positives that do not count are set to 0, so that the mask is part of what is checked."""
    found = losses.pair_similarities(*pairs, IDENTITIES)
    return jnp.stack([jnp.where(found.positive_where, found.positive, 0.0), found.negative])


def _faces(*faces: jax.Array) -> jax.Array:
    teacher, *students = domains_of(faces)
    nodes = nodes_like(faces[0])
    return losses.distribution_distillation_loss(teacher, students, nodes=nodes)[0]


def _histogram_losses(*arrays: jax.Array) -> jax.Array:
    nodes = nodes_like(arrays[0])
    return jnp.stack([losses.histogram_loss(d, nodes=nodes) for d in _similarities(arrays)])


def _batch_pairs(rows: jax.Array) -> jax.Array:
    found = losses.batch_pair_similarities(rows, GROUPS)
    sides = ((found.positive, found.positive_where), (found.negative, found.negative_where))
    return jnp.stack([jnp.where(where, cosine, 0.0) for cosine, where in sides])


def _grouped(function: Callable, **options: Any) -> Callable[..., jax.Array]:
    return lambda rows: function(rows, GROUPS, **options)


def _from_teacher(function: Callable, **options: Any) -> Callable[..., jax.Array]:
    """The teacher is differentiated too: the gradient of a constant cannot be checked."""
    return lambda *arrays: function(*arrays, stop_teacher_gradient=False, **options)


def _sets(*rows: jax.Array) -> tuple[jax.Array, ...]:
    """Two sets of three local features each; widened, as reshaping is not what is checked."""
    wide = [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in rows]
    return tuple(x.reshape(2, ROWS // 2, -1) for x in wide)


def _sinkhorn(*rows: jax.Array) -> jax.Array:
    return losses.sinkhorn_distance(*_sets(*rows), epsilon=0.1, iterations=4, debias=True)


def _transport_triplets(*rows: jax.Array) -> jax.Array:
    return losses.transport_triplet_loss(*_sets(*rows), margin=0.5, iterations=4)


def _preset(name: str) -> Callable[..., jax.Array]:
    labels = np.stack([IDENTITIES] * 6, axis=1)

    def value(*faces: jax.Array) -> jax.Array:
        # Widened here, or the stack, which is not the library's, would be in the narrow type.
        wide = [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in faces]
        return losses.preset_distillation_loss(jnp.stack(wide, axis=1), labels, preset=name)[0]

    return value


_COMBINED = dict(m1=1.1, m2=0.3, m3=0.1)

LOSSES = [
    Loss("unit_vectors", "vectors", losses.unit_vectors),
    Loss("cosine_logits", "rows", losses.cosine_logits),
    Loss("arcface_logits[monotone]", "cosine", _logits(losses.arcface_logits)),
    Loss("arcface_logits[none]", "cosine", _logits(losses.arcface_logits, beyond_pi="none")),
    Loss("arcface_logits[easy]", "cosine", _logits(losses.arcface_logits, beyond_pi="easy")),
    Loss(
        "margin_logits",
        "cosine",
        lambda cosine: losses.margin_logits(
            cosine, LABELS, losses.filtered_margin(losses.arcface_margin(), threshold=0.25)
        )[0],
    ),
    Loss("cosface_logits", "cosine", _logits(losses.cosface_logits)),
    Loss("combined_margin_logits", "cosine", _logits(losses.combined_margin_logits, **_COMBINED)),
    Loss("normface_logits", "cosine", _logits(losses.normface_logits)),
    Loss("sphereface_logits", "cosine", _logits(losses.sphereface_logits, annealing=0.5)),
    Loss(
        "elasticface_logits",
        "cosine",
        _logits(losses.elasticface_logits, key=jax.random.key(0), assignment="ranked"),
    ),
    Loss(
        "curricularface_logits",
        "cosine",
        lambda cosine: losses.curricularface_logits(cosine, LABELS, 0.2, **_CURRICULAR)[0],
    ),
    Loss("adaface_logits", "cosine", _adaface),
    Loss("magface_logits", "cosine and norms", _magface),
    *_margin_softmax("arcface", "arcface"),
    *_margin_softmax("cosface", "cosface"),
    *_margin_softmax("combined", losses.combined_margin(**_COMBINED)),
    *_margin_softmax("normface", "normface"),
    *_margin_softmax("mv_softmax", losses.mv_softmax_margin()),
    *_margin_softmax("filtered", losses.filtered_margin(losses.cosface_margin(), threshold=0.25)),
    *_margin_softmax("warming", losses.warming_margin(losses.arcface_margin(), steps=3)),
    *_margin_softmax("sphereface", losses.sphereface_margin(annealing=0.5)),
    *_margin_softmax("curricularface", losses.curricularface_margin(**_CURRICULAR)),
    *_margin_softmax("adaface", _SATURATED_ADAFACE),
    *_margin_softmax("magface", losses.magface_margin(lower_norm=0.5, upper_norm=25.0)),
    *_margin_softmax("elasticface", "elasticface"),
    *_margin_softmax("sub-centres", "arcface", "rows and sub-centres"),
    Loss("positive_similarities", "pairs", losses.positive_similarities),
    Loss("hardest_negative_similarities[paper]", "vectors", _hardest("paper")),
    Loss("hardest_negative_similarities[tface]", "vectors", _hardest("tface")),
    Loss("negative_similarities[top_k]", "vectors", _mined("top_k", count=3)),
    Loss("negative_similarities[semi_hard]", "vectors", _mined("semi_hard", count=2)),
    Loss("negative_similarities[random]", "vectors", _mined("random", count=2)),
    Loss("pair_similarities", "triples", _pair_similarities),
    Loss(
        "similarity_histogram",
        "similarities",
        lambda s: losses.similarity_histogram(s, nodes=nodes_like(s)),
    ),
    Loss(
        "similarity_log_histogram",
        "similarities",
        lambda s: losses.similarity_log_histogram(s, nodes=nodes_like(s)),
    ),
    # It is as smooth for any numbers as for logarithms.
    Loss("log_space_kl_divergence", "histograms", losses.log_space_kl_divergence),
    Loss("kl_bias", "sets", _kl_bias),
    Loss("kl_divergence", "histograms", losses.kl_divergence),
    Loss("js_divergence", "histograms", losses.js_divergence),
    Loss("earth_mover_distance", "histograms", _earth_mover),
    Loss("order_loss", "domains", lambda *arrays: losses.order_loss(_similarities(arrays))),
    Loss("distribution_distillation_loss[kl]", "domains", _distillation(losses.kl_divergence)),
    Loss("distribution_distillation_loss[js]", "domains", _distillation(losses.js_divergence)),
    Loss("distribution_distillation_loss[emd]", "domains", _distillation(_earth_mover)),
    Loss(
        "distribution_distillation_loss[log]",
        "domains",
        _distillation(losses.kl_divergence, log_space=True, correct_bias=True),
    ),
    Loss(
        "distribution_distillation_loss[past]",
        "domains",
        _distillation(losses.kl_divergence, past=[_past(v) for v in (0.6, 0.3, 0.2)]),
    ),
    Loss("distribution_distillation_loss[faces]", "faces", _faces),
    Loss("histogram_loss", "domains", _histogram_losses),
    Loss("batch_pair_similarities", "vectors", _batch_pairs),
    Loss("ohem_loss", "entropies", lambda x: losses.ohem_loss(x, share=0.5)),
    Loss("focal_cross_entropy[2]", "entropies", losses.focal_cross_entropy),
    Loss(
        "focal_cross_entropy[0.5]",
        "entropies",
        lambda x: losses.focal_cross_entropy(x, gamma=0.5),
    ),
    Loss("mv_softmax_logits[adaptive]", "cosine", _logits(losses.mv_softmax_logits)),
    Loss(
        "mv_softmax_logits[fixed]",
        "cosine",
        _logits(
            losses.mv_softmax_logits, margin=losses.arcface_margin(scale=8.0), weighting="fixed"
        ),
    ),
    Loss("batch_hard_triplet_loss[hinge]", "vectors", _grouped(losses.batch_hard_triplet_loss)),
    Loss(
        "batch_hard_triplet_loss[soft]",
        "vectors",
        _grouped(losses.batch_hard_triplet_loss, margin=None, squared=True),
    ),
    Loss(
        "batch_hard_triplet_loss[as they are]",
        "vectors",
        _grouped(losses.batch_hard_triplet_loss, normalize=False),
    ),
    Loss(
        "supervised_contrastive_loss[out]", "vectors", _grouped(losses.supervised_contrastive_loss)
    ),
    Loss(
        "supervised_contrastive_loss[in]",
        "vectors",
        _grouped(losses.supervised_contrastive_loss, variant="in"),
    ),
    Loss("center_loss", "centers", lambda x, c: losses.center_loss(x, c, LABELS)),
    Loss("relational_distance_loss", "pairs", _from_teacher(losses.relational_distance_loss)),
    Loss("relational_angle_loss", "pairs", _from_teacher(losses.relational_angle_loss)),
    Loss("similarity_preserving_loss", "pairs", _from_teacher(losses.similarity_preserving_loss)),
    Loss("sinkhorn_distance", "pairs", _sinkhorn),
    Loss("transport_triplet_loss", "triples", _transport_triplets),
    Loss("feature_regression_loss", "pairs", _from_teacher(losses.feature_regression_loss)),
    Loss("soft_target_loss", "logits", _from_teacher(losses.soft_target_loss, temperature=2.0)),
    Loss(
        "cross_resolution_loss",
        "distilled",
        lambda *arrays: losses.cross_resolution_loss(*arrays, stop_teacher_gradient=False)[0],
    ),
    Loss("preset_distillation_loss[paper]", "faces", _preset("paper")),
    Loss("preset_distillation_loss[tface]", "faces", _preset("tface")),
]

by_name = dict(argnames="loss", argvalues=LOSSES, ids=[loss.name for loss in LOSSES])

_SHAPES = {
    "vectors": [(ROWS, SIZE)],
    "rows": [(ROWS, SIZE), (CLASSES, SIZE)],
    "rows and sub-centres": [(ROWS, SIZE), (CLASSES, 2, SIZE)],
    "pairs": [(ROWS, SIZE)] * 2,
    "triples": [(ROWS, SIZE)] * 3,
    "faces": [(ROWS, SIZE)] * 6,  # two domains
    "cosine": [(ROWS, CLASSES)],
    "cosine and norms": [(ROWS, CLASSES), (ROWS,)],
    "similarities": [(ROWS,)],
    "sets": [(ROWS,)] * 2,
    "domains": [(ROWS,)] * 6,
    "histograms": [(NODES,)] * 2,
    "entropies": [(ROWS,)],
    "centers": [(ROWS, SIZE), (CLASSES, SIZE)],
    "logits": [(ROWS, CLASSES)] * 2,
    "distilled": [(ROWS, SIZE)] * 2 + [(ROWS, CLASSES)] * 2,
}
EMBEDDINGS = ("vectors", "rows", "rows and sub-centres", "pairs", "triples", "faces")


def random_inputs(loss: Loss, seed: int = 0) -> tuple[np.ndarray, ...]:
    """float64 arrays such as a loss meets in training."""
    rng = np.random.default_rng(seed)
    shapes = _SHAPES[loss.inputs]
    if loss.inputs in EMBEDDINGS:
        return tuple(rng.normal(size=shape) for shape in shapes)
    if loss.inputs == "cosine and norms":
        return rng.uniform(-0.9, 0.9, shapes[0]), rng.uniform(5.0, 60.0, shapes[1])
    if loss.inputs == "histograms":
        return tuple(rng.dirichlet(np.full(*shape, 5.0)) for shape in shapes)
    if loss.inputs == "entropies":
        return tuple(rng.gamma(1.0, size=shape) for shape in shapes)
    return tuple(rng.uniform(-0.9, 0.9, shape) for shape in shapes)


def structured_inputs(loss: Loss) -> tuple[np.ndarray, ...]:
    """float64 arrays made of angles and steps, far from what `random_inputs` draws.

    Embeddings lie in one plane, with lengths from 1 to 30; angles come within 0.1 of 0 and pi.
    """
    shapes = _SHAPES[loss.inputs]
    if loss.inputs == "histograms":
        p = 0.75 ** np.arange(NODES)
        return p / p.sum(), p[::-1] / p.sum()
    if loss.inputs == "cosine and norms":
        angles = np.linspace(0.1, 3.0, ROWS * CLASSES).reshape(shapes[0])
        return np.cos(angles), np.arange(ROWS) + 7.5
    if loss.inputs == "entropies":
        return tuple(np.geomspace(1e-3, 30.0, *shape) for shape in shapes)
    sizes = [np.prod(shape[:-1] if loss.inputs in EMBEDDINGS else shape) for shape in shapes]
    # Squared steps, so that no two of the angles' differences are equal: a maximum with ties has
    # no derivative to compare with.
    turns = np.linspace(0.1, 1.7, sum(sizes)) ** 2 + 0.09
    angles = np.split(turns, np.cumsum(sizes)[:-1])
    if loss.inputs not in EMBEDDINGS:
        return tuple(np.cos(a).reshape(shape) for a, shape in zip(angles, shapes, strict=True))
    return tuple(_planar(a, shape) for a, shape in zip(angles, shapes, strict=True))


def _planar(angles: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    lengths = np.geomspace(1.0, 30.0, angles.size)
    plane = lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.pad(plane, ((0, 0), (0, shape[-1] - 2))).reshape(shape)


def cast(arrays: tuple[np.ndarray, ...], dtype: Any) -> tuple[jax.Array, ...]:
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def weighted_sum(loss: Loss) -> Callable[..., jax.Array]:
    """The loss as a scalar in which every output has a weight of its own."""

    @functools.wraps(loss.value)
    def scalar(*arrays: jax.Array) -> jax.Array:
        value = loss.value(*arrays)
        weights = jnp.linspace(0.5, 1.5, value.size, dtype=value.dtype)
        return jnp.sum(weights * value.ravel())

    return scalar
