"""Bootstrap samples: what they draw, what intervals of them say, and how often they are right."""

import tracemalloc

import numpy as np
import pytest

from benchmarks import coverage
from ddl_jax.evaluation import (
    PairSamples,
    bootstrap,
    difference,
    identity_samples,
    interval,
    share_samples,
)


def test_samples_draw_as_many_identities_as_there_are():
    samples = identity_samples(50, 2000)
    assert samples.shape == (2001, 50) and (samples[0] == 1).all()
    assert (samples.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(samples, identity_samples(50, 2000))
    with pytest.raises(ValueError, match="0 samples"):
        identity_samples(50, 0)


def test_samples_of_very_many_people_are_not_kept(monkeypatch):
    people = 1_000_003  # nobody else's
    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "_MOST_KEPT", people - 1)
        large = _memory_of(lambda: identity_samples(people, 1))
    assert large < people / 10
    assert _memory_of(lambda: identity_samples(people, 1)) > people / 2


def _memory_of(make):
    """Bytes that are still held when what was made is given back."""
    tracemalloc.start()
    make()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held


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


def test_samples_that_are_all_alike_bound_nothing():
    hits = share_samples(np.ones(40), np.repeat(np.arange(20), 2), identity_samples(20))
    assert interval(hits).value == 1 and np.isnan(interval(hits)[1:]).all()
    assert np.isnan(interval(np.full(9, np.nan))).all()


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


def test_a_difference_that_no_sample_doubts_is_as_sure_as_its_deviation_says():
    drawn = np.array([3.0, *np.linspace(2, 4, 1000)])
    # Twice the tail of a normal distribution beyond 3 / 0.5779 = 5.191 deviations.
    assert difference(drawn, np.zeros(1001)).p_value == pytest.approx(2.09e-7, rel=0.01)
    assert difference(np.zeros(1001), drawn).p_value == pytest.approx(2.09e-7, rel=0.01)
    # The samples' own bound holds where the tail's is larger, and where they are all alike.
    for skewed in ([0.1, *np.linspace(0.01, 1, 99)], np.full(100, 0.1)):
        assert difference(np.array(skewed), np.zeros(100)).p_value == pytest.approx(2 / 100)


def test_small_p_values_of_equal_models_are_rare():
    rng = np.random.default_rng(0)
    counts = identity_samples(200, 400)
    people = rng.normal(size=(200, 4000)) * rng.exponential(size=(200, 1))
    means = counts @ people / 200
    p = np.array([difference(each, np.zeros(401)).p_value for each in means.T])
    assert np.mean(p <= 0.05) < 0.07
    assert 0 < np.sum(p < 2 / 401) and np.mean(p <= 1e-3) < 4e-3 and np.mean(p <= 1e-5) < 1e-3


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


def test_intervals_over_identities_cover_and_those_over_pairs_do_not():
    tries = list(coverage.held(people=50, gap=1, tries=50, samples=100))
    found = {key: sum(one[key] for one in tries) for key in tries[0]}
    for name in coverage.truths(1):
        # 95 % asked for: fewer than 42 of 50 come by chance once in a thousand tries.
        assert found["identities", name] >= 42, name
    for name in ("separation", "tar_at_far_0.1", "auc"):
        assert found["pairs", name] < found["identities", name], name


def test_intervals_of_a_domain_cover():
    tries = list(coverage.held_of_domain(people=50, tries=50, samples=100))
    for name in ("separation", "d_prime"):
        assert 42 <= sum(one[name] for one in tries) <= 50, name


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
