"""Rates by bins of quality, counted one by one."""

import numpy as np
import pytest

from ddl_jax.evaluation import rates_by_quality


@pytest.fixture(scope="module")
def pairs():
    """Bad images look alike: impostors of low quality score higher, genuine pairs lower."""
    rng = np.random.default_rng(0)
    quality = rng.random(4000)
    genuine = np.arange(4000) % 4 == 0
    means = np.where(genuine, 1 + quality, 0.5 * (1 - quality))
    return means + 0.5 * rng.normal(size=4000), genuine, quality


def test_every_bin_is_counted_at_the_threshold_of_all(pairs):
    scores, genuine, quality = pairs
    rows = rates_by_quality(*pairs, [0, 0.2, 0.7, 1], far=0.02)
    # 3,000 impostors: 60 may pass, and the 60th highest is at most the threshold.
    allowed = np.sort(scores[~genuine])[-61]
    threshold = np.min(scores[genuine & (scores > allowed)])
    for row, (low, high) in zip(rows, ((0, 0.2), (0.2, 0.7), (0.7, 1)), strict=True):
        inside = (quality >= low) & (quality < high)
        assert (row.low, row.high) == (low, high)
        assert row.tar == np.mean(scores[inside & genuine] >= threshold)
        assert row.far == np.mean(scores[inside & ~genuine] >= threshold)
        assert (row.genuine, row.impostors) == (np.sum(inside & genuine), np.sum(inside & ~genuine))
    assert rows[0].far > 0.02 > rows[2].far and rows[0].tar < rows[2].tar
    assert sum(row.far * row.impostors for row in rows) <= 60


def test_the_order_of_pairs_does_not_matter(pairs):
    order = np.random.default_rng(1).permutation(4000)
    edges = [-np.inf, 0.5, np.inf]
    expected = rates_by_quality(*pairs, edges, far=0.05)
    assert rates_by_quality(*(part[order] for part in pairs), edges, far=0.05) == expected


def test_a_rate_of_few_pairs_is_unknown(pairs):
    scores, genuine, quality = pairs
    cut = np.sort(quality[genuine])[29]  # 29 genuine pairs lie below it
    low, high = rates_by_quality(*pairs, [0, cut, 1], far=0.02)
    assert low.genuine == 29 and np.isnan(low.tar)
    assert low.impostors >= 30 and np.isfinite(low.far) and np.isfinite(high.tar)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"edges": [0, 0, 1]}, "must rise"),
        ({"edges": [0.5, 1]}, "is in no bin"),
        ({"quality": np.full(4000, np.nan)}, "quality nan of pair 0"),
        ({"quality": np.ones(3)}, "must all be"),
        ({"genuine": np.ones(4000)}, "both kinds"),
        ({"far": 0.0099}, "less than 30 false accepts"),
    ],
)
def test_refuses(pairs, changes, message):
    arguments = dict(zip(("scores", "genuine", "quality"), pairs), edges=[0, 1], far=0.02)
    with pytest.raises(ValueError, match=message):
        rates_by_quality(**arguments | changes)
