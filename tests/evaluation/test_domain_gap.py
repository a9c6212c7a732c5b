"""Whether a split is worth distilling, on embeddings whose separations are known."""

import numpy as np
import pytest

from ddl_jax.evaluation.domain_gap import WORTH, DomainGap, domain_gap
from ddl_jax.evaluation.domains import domain_protocol

PEOPLE, IMAGES = 40, 6


def _gap(hard_noise: float) -> DomainGap:
    """Easy and hard images of the same people around the same centres, with other noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(PEOPLE), IMAGES)
    domains = np.where(np.arange(len(labels)) % IMAGES < IMAGES // 2, "easy", "hard")
    noise = np.where(domains == "easy", 0.4, hard_noise)[:, None]
    embeddings = rng.normal(size=(PEOPLE, 64))[labels] + noise * rng.normal(size=(240, 64))
    results = domain_protocol(embeddings, labels, domains, easy="easy")
    gap = domain_gap(results, labels, domains, easy="easy", hard="hard")
    assert gap.gap == pytest.approx(results["hard"].metrics["gap"])
    return gap


def test_noisier_images_are_worth_distilling():
    gap = _gap(1.5)
    # cos = 1 / (1 + 0.16) of two easy images, 1 / sqrt(1.16 * 3.25) of an easy and a hard one.
    assert gap.gap == pytest.approx(1 / 1.16 - 1 / np.sqrt(1.16 * 3.25), abs=0.03)
    assert WORTH < gap.low < gap.gap < gap.high < gap.gap + 0.1
    assert gap.positive_divergence > 1 > 0.05 > gap.negative_divergence >= 0
    assert gap.shared == PEOPLE
    verdict = gap.verdict()
    assert verdict.startswith("worth distilling: E[S+] - E[S-] is 0.8")
    assert f"a gap of {gap.gap:.3f} (95 % interval {gap.low:.3f} to {gap.high:.3f})" in verdict
    assert verdict.endswith(
        "40 identities have images of both; of so few the interval is too narrow"
    )


def test_images_that_do_not_differ_are_not():
    assert _gap(0.4).verdict().startswith(f"not worth distilling, the gap is below {WORTH}")


def test_a_hard_domain_that_is_the_easier_one_is_told():
    # Of hard and easy: a hard image without noise is nearer to an easy one than two easy ones.
    assert _gap(0.0).verdict().startswith("not worth distilling, it is the easier of the two")


@pytest.mark.parametrize(
    "low, high, told", [(0.01, 0.2, "doubtful"), (np.nan, np.nan, "cannot be told")]
)
def test_an_interval_that_says_little_says_so(low, high, told):
    assert DomainGap(0.5, 0.4, low, high, 0.1, 0.0, 2).verdict().startswith(told)
