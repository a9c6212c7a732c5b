"""Protocols on embeddings: numpy in, numpy out. Pictures are in `plots`, files in `report`."""

from ddl_jax.evaluation.domains import domain_protocol
from ddl_jax.evaluation.identification import identification_rank
from ddl_jax.evaluation.pairs_protocol import PairsList, pairs_protocol, read_pairs
from ddl_jax.evaluation.result import ProtocolResult, results_of
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities
from ddl_jax.evaluation.verification import (
    tar_at_far,
    template_features,
    verification_accuracy,
)

__all__ = [
    "PairsList",
    "ProtocolResult",
    "RocCurve",
    "Similarities",
    "domain_protocol",
    "identification_rank",
    "pairs_protocol",
    "read_pairs",
    "results_of",
    "tar_at_far",
    "template_features",
    "verification_accuracy",
]
