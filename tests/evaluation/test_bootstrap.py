"""Bootstrap samples: what they draw, what intervals of them say, and how often they are right."""

import numpy as np
import pytest
from scipy import stats

from ddl_jax.evaluation import (
    PairSamples,
    difference,
    identity_samples,
    interval,
    share_samples,
    verification_samples,
)


def test_samples_draw_as_many_identities_as_there_are():
    samples = identity_samples(50, 2000)
    assert samples.shape == (2001, 50) and (samples[0] == 1).all()
    assert (samples.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(samples, identity_samples(50, 2000))
    with pytest.raises(ValueError, match="0 samples"):
        identity_samples(50, 0)


def test_interval_is_the_middle_of_the_samples():
    assert interval(np.array([99.0, *np.arange(101)])) == pytest.approx((99, 2.5, 97.5))
    assert interval(np.array([99.0, *np.arange(101)]), level=0.5) == pytest.approx((99, 25, 75))
    with pytest.raises(ValueError, match="level=95"):
        interval(np.arange(9.0), level=95)


def test_an_interval_of_undefined_samples_is_unknown():
    few = np.arange(101.0)
    few[3] = np.nan
    assert np.isfinite(interval(few)).all()
    few[1:8] = np.nan
    assert np.isnan(interval(few)[1:]).all()
    assert np.isnan(difference(few, np.zeros(101))[1:]).all()


def test_difference_is_paired():
    rng = np.random.default_rng(0)
    common = rng.normal(size=1001)
    better = difference(common + 0.1, common)
    assert (better.value, better.low, better.high) == pytest.approx((0.1, 0.1, 0.1))
    assert better.p_value == pytest.approx(2 / 1001)
    assert difference(common, common).p_value == 1
    # Of the samples 1, 2, 3, -1 one is below 0: twice (1 + 1) of 5, the data counted in.
    assert difference(np.array([5.0, 1, 2, 3, -1]), np.zeros(5)).p_value == pytest.approx(0.8)
    with pytest.raises(ValueError, match="the same samples"):
        difference(common, common[1:])


def test_weights_of_pairs_by_hand():
    counts = np.array([[1, 1, 1], [2, 0, 1]])
    samples = PairSamples(counts, np.array([0, 0, 0, 1]), np.array([0, 1, 2, 1]))
    np.testing.assert_array_equal(next(samples.blocks()), [[1, 1, 1, 1], [2, 0, 2, 0]])
    np.testing.assert_array_equal(next(samples.part([2, 0]).blocks()), [[1, 1], [2, 2]])
    # Names are any labels; a list without names resamples its pairs.
    named = PairSamples.of_identities(["b", "a"], ["a", "a"], samples=3)
    np.testing.assert_array_equal(named.first, [1, 0])
    np.testing.assert_array_equal(next(PairSamples.of_pairs(5).blocks()), identity_samples(5))
    with pytest.raises(ValueError, match="must both be"):
        PairSamples.of_identities(["a"], ["a", "b"])


def test_shares_weigh_the_people_of_the_probes():
    counts = np.array([[1, 1, 1], [3, 0, 0], [0, 1, 2], [0, 0, 3]])
    shares = share_samples([True, True, False, True], [0, 0, 0, 1], counts)
    np.testing.assert_allclose(shares, [3 / 4, 2 / 3, 1, np.nan])
    with pytest.raises(ValueError, match="must both be"):
        share_samples([True], [0, 1], counts)


def made_pairs(rng, people, images):
    """Scores of all pairs, with an effect of each person: i + j + noise, genuine ones 1 higher."""
    effect, likeness = rng.normal(0, 0.5, (2, people))
    identity = np.repeat(np.arange(people), images)
    a, b = np.triu_indices(len(identity), 1)
    first, second = identity[a], identity[b]
    genuine = first == second
    means = np.where(genuine, 1 + likeness[first], effect[first] + effect[second])
    return means + rng.normal(0, 0.3, len(first)), genuine, first, second


def test_intervals_over_identities_cover_and_those_over_pairs_do_not():
    rng = np.random.default_rng(0)
    # Impostors have variance .59: FAR is .1 at 1.282 times its root.
    genuine_deviation, threshold = np.sqrt(0.5**2 + 0.3**2), 1.2816 * np.sqrt(0.59)
    truths = {
        "separation": 1.0,
        "tar_at_far_0.1": stats.norm.sf(threshold, 1, genuine_deviation),
        "auc": stats.norm.cdf(1 / np.sqrt(0.59 + genuine_deviation**2)),
    }
    runs, covered = 50, {}
    for seed in range(runs):
        scores, genuine, first, second = made_pairs(rng, 50, 2)
        for kind, samples in (
            ("identities", PairSamples.of_identities(first, second, samples=100, seed=seed)),
            ("pairs", PairSamples.of_pairs(len(first), samples=100, seed=seed)),
        ):
            values = verification_samples(scores, genuine, samples, (0.1,))
            for name, truth in truths.items():
                _, low, high = interval(values[name])
                covered[kind, name] = covered.get((kind, name), 0) + (low <= truth <= high)
    # 95 % asked for: fewer than 42 of 50 come by chance once in a thousand tries.
    assert all(covered["identities", name] >= 42 for name in truths), covered
    assert all(covered["identities", name] > covered["pairs", name] for name in truths), covered


def test_rank_intervals_cover():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        skill = rng.beta(2, 1, 40)  # people differ; their mean is 2/3
        identities = np.repeat(np.arange(40), 5)
        hits = rng.random(200) < skill[identities]
        values = share_samples(hits, identities, identity_samples(40, 300, seed=seed))
        _, low, high = interval(values)
        covered += low <= 2 / 3 <= high
    assert 0.88 <= covered / 200 <= 0.99
