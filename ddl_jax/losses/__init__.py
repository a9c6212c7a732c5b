"""Pure loss functions for face recognition: arrays in, arrays out.

Notation, the field's own:

* `B` rows of a batch, `D` embedding size, `C` classes (identities), `b` pairs or singles of a
  domain, `R` histogram nodes, `K` student domains.
* *cosine*: cosine similarity in [-1, 1]; *theta*: its angle in radians; *logit*: scale * cosine.
* Arrays are positional, hyper-parameters keyword-only. Results are per row unless the name says
  loss. Everything is computed and returned in `promote_types(dtype, float32)`.
* `axis_name` names a mapped axis (`jax.shard_map` or `jax.pmap`): arrays are then the device's own
  part, and every scalar is the value of the global batch, on every device.

Give `jax.shard_map` the option `check_vma=False` (`jax.pmap` has nothing like it). Taken inside the
map, the gradient of such a loss is then that of the *sum over devices* of what each one returns:
divide by the number of devices for sharded class centres, take the mean over the axis for
replicated parameters (`ddl_jax.parallel` does both). With jax's default of `check_vma=True` jax
adds up by itself and none of this is needed: dividing would make the gradient too small. Chunks of
classes are refused there, and what keeps a state of the global batch (`push_pairs`,
`push_embeddings`, `updated_centers`, AdaFace's state) returns what jax cannot see to be the same on
every device.
"""

from ddl_jax.losses.adaface import AdaFaceState, adaface_logits, adaface_margin
from ddl_jax.losses.centers import center_loss, updated_centers
from ddl_jax.losses.cosine import cosine_logits, unit_vectors
from ddl_jax.losses.cross_resolution import (
    cross_resolution_loss,
    feature_regression_loss,
    soft_target_loss,
)
from ddl_jax.losses.curricularface import curricularface_logits, curricularface_margin
from ddl_jax.losses.distillation import distribution_distillation_loss, order_loss
from ddl_jax.losses.distributions import (
    earth_mover_distance,
    js_divergence,
    kl_divergence,
    similarity_histogram,
)
from ddl_jax.losses.elasticface import elasticface_logits, elasticface_margin
from ddl_jax.losses.hard_examples import focal_cross_entropy, hardest_rows, ohem_loss
from ddl_jax.losses.kl_bias import kl_bias
from ddl_jax.losses.log_distributions import log_space_kl_divergence, similarity_log_histogram
from ddl_jax.losses.magface import magface_logits, magface_margin
from ddl_jax.losses.margin import Margin, MarginInputs, margin_logits
from ddl_jax.losses.margin_softmax import MarginSoftmaxAux, margin_softmax_loss
from ddl_jax.losses.margins import (
    arcface_logits,
    arcface_margin,
    combined_margin,
    combined_margin_logits,
    cosface_logits,
    cosface_margin,
    normface_logits,
    normface_margin,
)
from ddl_jax.losses.mining import negative_similarities
from ddl_jax.losses.misclassified import mv_softmax_logits, mv_softmax_margin
from ddl_jax.losses.named_margin import (
    MARGIN_NAMES,
    MarginWarmUp,
    filtered_margin,
    named_margin,
    warming_margin,
)
from ddl_jax.losses.pair_histograms import batch_pair_similarities, histogram_loss
from ddl_jax.losses.partial_fc import SampledClasses, sample_classes, update_rows
from ddl_jax.losses.presets import (
    DistillationPreset,
    distillation_preset,
    domain_pairs,
    preset_distillation_loss,
)
from ddl_jax.losses.queue import (
    EmbeddingQueue,
    SimilarityQueue,
    empty_embedding_queue,
    empty_similarity_queue,
    push_embeddings,
    push_pairs,
)
from ddl_jax.losses.ranking import (
    Triplets,
    batch_hard_triplet_loss,
    hardest_triplets,
    supervised_contrastive_loss,
)
from ddl_jax.losses.relational import (
    relational_angle_loss,
    relational_distance_loss,
    similarity_preserving_loss,
)
from ddl_jax.losses.similarities import (
    PairSimilarities,
    hardest_negative_similarities,
    pair_similarities,
    positive_similarities,
)
from ddl_jax.losses.sphereface import sphereface_logits, sphereface_margin
from ddl_jax.losses.transport import sinkhorn_distance, transport_triplet_loss

__all__ = [
    "MARGIN_NAMES",
    "AdaFaceState",
    "DistillationPreset",
    "EmbeddingQueue",
    "Margin",
    "MarginInputs",
    "MarginSoftmaxAux",
    "MarginWarmUp",
    "PairSimilarities",
    "SampledClasses",
    "SimilarityQueue",
    "Triplets",
    "adaface_logits",
    "adaface_margin",
    "arcface_logits",
    "arcface_margin",
    "batch_hard_triplet_loss",
    "batch_pair_similarities",
    "center_loss",
    "combined_margin",
    "combined_margin_logits",
    "cosface_logits",
    "cosface_margin",
    "cosine_logits",
    "cross_resolution_loss",
    "curricularface_logits",
    "curricularface_margin",
    "distillation_preset",
    "distribution_distillation_loss",
    "domain_pairs",
    "earth_mover_distance",
    "elasticface_logits",
    "elasticface_margin",
    "empty_embedding_queue",
    "empty_similarity_queue",
    "feature_regression_loss",
    "filtered_margin",
    "focal_cross_entropy",
    "hardest_negative_similarities",
    "hardest_rows",
    "hardest_triplets",
    "histogram_loss",
    "js_divergence",
    "kl_bias",
    "kl_divergence",
    "log_space_kl_divergence",
    "magface_logits",
    "magface_margin",
    "margin_logits",
    "margin_softmax_loss",
    "mv_softmax_logits",
    "mv_softmax_margin",
    "named_margin",
    "negative_similarities",
    "normface_logits",
    "normface_margin",
    "ohem_loss",
    "order_loss",
    "pair_similarities",
    "positive_similarities",
    "preset_distillation_loss",
    "push_embeddings",
    "push_pairs",
    "relational_angle_loss",
    "relational_distance_loss",
    "sample_classes",
    "similarity_histogram",
    "similarity_log_histogram",
    "similarity_preserving_loss",
    "sinkhorn_distance",
    "soft_target_loss",
    "sphereface_logits",
    "sphereface_margin",
    "supervised_contrastive_loss",
    "transport_triplet_loss",
    "unit_vectors",
    "update_rows",
    "updated_centers",
    "warming_margin",
]
