"""Protocols on embeddings: numpy in, numpy out. Pictures are in `plots`, files in `report`."""

from ddl_jax.evaluation.all_pairs import AllPairs
from ddl_jax.evaluation.bootstrap import (
    Difference,
    Interval,
    PairSamples,
    difference,
    identity_samples,
    interval,
    share_samples,
)
from ddl_jax.evaluation.domains import domain_protocol
from ddl_jax.evaluation.gallery_search import BestPeople, Search, best_people, search_gallery
from ddl_jax.evaluation.identification import (
    cumulative_matches,
    identification_metrics,
    identification_rank,
    identification_ranks,
    joined_gallery_rates,
    tpir_at_fpir,
)
from ddl_jax.evaluation.paired import McNemar, mcnemar
from ddl_jax.evaluation.pairs_protocol import PairsList, pairs_protocol, read_pairs
from ddl_jax.evaluation.quality import BinRates, rates_by_quality
from ddl_jax.evaluation.resampled import accuracy_samples, verification_samples
from ddl_jax.evaluation.result import ProtocolResult, results_of, roc_metrics, with_bounds
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities, pair_cosines, unit_rows
from ddl_jax.evaluation.verification import (
    tar_at_far,
    template_features,
    verification_accuracy,
    verification_decisions,
)

__all__ = [
    "AllPairs",
    "BestPeople",
    "BinRates",
    "Difference",
    "Interval",
    "McNemar",
    "PairSamples",
    "PairsList",
    "ProtocolResult",
    "RocCurve",
    "Search",
    "Similarities",
    "accuracy_samples",
    "best_people",
    "cumulative_matches",
    "difference",
    "domain_protocol",
    "identification_metrics",
    "identification_rank",
    "identification_ranks",
    "identity_samples",
    "interval",
    "joined_gallery_rates",
    "mcnemar",
    "pair_cosines",
    "pairs_protocol",
    "rates_by_quality",
    "read_pairs",
    "results_of",
    "roc_metrics",
    "search_gallery",
    "share_samples",
    "tar_at_far",
    "template_features",
    "tpir_at_fpir",
    "unit_rows",
    "verification_accuracy",
    "verification_decisions",
    "verification_samples",
    "with_bounds",
]
