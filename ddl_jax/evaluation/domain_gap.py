"""Do two domains of a data set differ enough to distill one into the other?

The DDL paper's criterion for easy and hard sets: their distributions of genuine and of impostor
similarities, under a network that exists already, must differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from ddl_jax import losses
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.evaluation.similarity import Similarities

# A gap that surely is smaller is not worth distilling: a quarter of the one that the paper closes
# on SCface, 0.52 - 0.31 (its Fig. 1).
WORTH = 0.05
_FEW = 50  # people: of fewer, bootstrap intervals miss the truth too often; docs/metrics.md


@dataclasses.dataclass(frozen=True)
class DomainGap:
    """How a hard domain differs from the easy one.

    Attributes:
      easy, hard: separations E[S+] - E[S-].
      low, high: 95 % bootstrap interval of easy - hard over identities; NaN with too few.
      positive_divergence, negative_divergence: KL(easy || hard) of the histograms of genuine and
        impostor similarities, DDL's own.
      shared: identities with images in both domains.
    """

    easy: float
    hard: float
    low: float
    high: float
    positive_divergence: float
    negative_divergence: float
    shared: int

    @property
    def gap(self) -> float:
        """What the hard domain lacks of the easy one's separation."""
        return self.easy - self.hard

    def verdict(self) -> str:
        """Whether to distill, with the numbers, in one sentence."""
        if not np.isfinite(self.low):
            word = "cannot be told, too few identities have pairs"
        elif self.low >= WORTH:
            word = "worth distilling"
        elif self.high < 0:
            word = "not worth distilling, it is the easier of the two"
        elif self.high < WORTH:
            word = f"not worth distilling, the gap is below {WORTH}"
        else:
            word = f"doubtful, the gap may be below {WORTH}"
        few = "; of so few the interval is too narrow" if self.shared < _FEW else ""
        return (
            f"{word}: E[S+] - E[S-] is {self.easy:.3f} in the easy domain and {self.hard:.3f} "
            f"here, a gap of {self.gap:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}); "
            f"KL(easy||hard) is {self.positive_divergence:.3f} of genuine and "
            f"{self.negative_divergence:.3f} of impostor similarities; {self.shared} identities "
            f"have images of both{few}"
        )


def domain_gap(
    results: Mapping[str, ProtocolResult],
    labels: np.ndarray,
    domains: np.ndarray,
    *,
    easy: str,
    hard: str,
) -> DomainGap:
    """Compares a hard domain with the easy one.

    Args:
      results: of `domain_protocol`.
      labels, domains: of the images that it was given.
      easy, hard: names of two domains of them.
    """
    easy_result, hard_result = results[easy], results[hard]
    positive, negative = _divergences(easy_result.similarities, hard_result.similarities)
    return DomainGap(
        easy=easy_result.similarities.separation,
        hard=hard_result.similarities.separation,
        low=hard_result.metrics["gap_low"],
        high=hard_result.metrics["gap_high"],
        positive_divergence=positive,
        negative_divergence=negative,
        shared=len(np.intersect1d(labels[domains == easy], labels[domains == hard])),
    )


def _divergences(easy: Similarities, hard: Similarities) -> tuple[float, float]:
    nodes = jnp.linspace(-1.0, 1.0, 101)

    def divergence(kind: str) -> float:
        p, q = (
            losses.similarity_histogram(
                jnp.asarray(getattr(domain, kind), jnp.float32), nodes=nodes
            )
            for domain in (easy, hard)
        )
        return float(losses.kl_divergence(p, q))

    return divergence("positive"), divergence("negative")
