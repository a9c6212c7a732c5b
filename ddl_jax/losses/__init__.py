"""Pure loss functions for face recognition: arrays in, arrays out.

Notation, the field's own:

* `B` rows of a batch, `D` embedding size, `C` classes (identities), `b` pairs or singles of a
  domain, `R` histogram nodes, `K` student domains.
* *cosine*: cosine similarity in [-1, 1]; *theta*: its angle in radians; *logit*: scale * cosine.
* Arrays are positional, hyper-parameters keyword-only. Results are per row unless the name says
  loss. Everything is computed and returned in `promote_types(dtype, float32)`.
* `axis_name` names a mapped axis (`jax.shard_map` or `jax.pmap`): arrays are then the device's own
  part, and every scalar is the value of the global batch, on every device.

Taken inside the map, the gradient of such a loss is that of the *sum over devices* of what each one
returns: divide by the number of devices for sharded class centres, take the mean over the axis for
replicated parameters (`ddl_jax.parallel` does both).
"""

from ddl_jax.losses.cosine import cosine_logits, unit_vectors
from ddl_jax.losses.distillation import distribution_distillation_loss, order_loss
from ddl_jax.losses.distributions import (
    earth_mover_distance,
    js_divergence,
    kl_divergence,
    similarity_histogram,
)
from ddl_jax.losses.kl_bias import kl_bias
from ddl_jax.losses.log_distributions import log_space_kl_divergence, similarity_log_histogram
from ddl_jax.losses.margin_softmax import MarginSoftmaxAux, margin_softmax_loss
from ddl_jax.losses.margins import (
    Margin,
    MarginInputs,
    arcface_logits,
    arcface_margin,
    combined_margin,
    combined_margin_logits,
    cosface_logits,
    cosface_margin,
    margin_logits,
    named_margin,
)
from ddl_jax.losses.mining import negative_similarities
from ddl_jax.losses.queue import (
    EmbeddingQueue,
    SimilarityQueue,
    empty_embedding_queue,
    empty_similarity_queue,
    push_embeddings,
    push_pairs,
)
from ddl_jax.losses.similarities import (
    PairSimilarities,
    hardest_negative_similarities,
    pair_similarities,
    positive_similarities,
)

__all__ = [
    "EmbeddingQueue",
    "Margin",
    "MarginInputs",
    "MarginSoftmaxAux",
    "PairSimilarities",
    "SimilarityQueue",
    "arcface_logits",
    "arcface_margin",
    "combined_margin",
    "combined_margin_logits",
    "cosface_logits",
    "cosface_margin",
    "cosine_logits",
    "distribution_distillation_loss",
    "earth_mover_distance",
    "empty_embedding_queue",
    "empty_similarity_queue",
    "hardest_negative_similarities",
    "js_divergence",
    "kl_bias",
    "kl_divergence",
    "log_space_kl_divergence",
    "margin_logits",
    "margin_softmax_loss",
    "named_margin",
    "negative_similarities",
    "order_loss",
    "pair_similarities",
    "positive_similarities",
    "push_embeddings",
    "push_pairs",
    "similarity_histogram",
    "similarity_log_histogram",
    "unit_vectors",
]
