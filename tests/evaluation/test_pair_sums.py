"""Means over all pairs from sums, against the pairs themselves."""

import numpy as np

from ddl_jax.evaluation.all_pairs import AllPairs, identity_samples
from ddl_jax.evaluation.pair_sums import PairSums
from ddl_jax.evaluation.similarity import unit_rows

IDENTITY = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])
UNIT = unit_rows(np.random.default_rng(0).normal(size=(9, 4)) + 0.5)
ROWS, OTHERS = np.array([0, 1, 3, 4, 5, 8]), np.array([2, 6, 7])


def test_means_are_those_of_all_pairs_in_every_sample():
    weights = np.concatenate([identity_samples(4, 20, seed=1), [[0, 0, 0, 4], [0, 4, 0, 0]]])
    for others in (None, OTHERS):
        pairs = AllPairs.of(UNIT, IDENTITY, ROWS, others)
        genuine = pairs.first == pairs.second
        counts = weights[:, pairs.first] * np.where(genuine, 1, weights[:, pairs.second])
        positive, negative = PairSums.of(UNIT, IDENTITY, ROWS, others).means(weights)
        for own, found in ((genuine, positive), (~genuine, negative)):
            w = counts * own
            there = w.sum(axis=1) > 0
            expected = (w @ pairs.scores)[there] / w.sum(axis=1)[there]
            np.testing.assert_allclose(found[there], expected, atol=1e-12)
            assert np.isnan(found[~there]).all()


def test_by_hand():
    # Two people on two axes, two images each: genuine cosines 1 and 0.6, all others 0 or 0.8.
    unit = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    positive, negative = PairSums.of(unit, np.array([0, 0, 1, 1]), np.arange(4)).means()
    np.testing.assert_allclose(positive, [(1 + 0.6) / 2])
    np.testing.assert_allclose(negative, [(0 + 0.8 + 0 + 0.8) / 4])


def test_a_zero_row_is_paired_like_any_other():
    unit = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    positive, negative = PairSums.of(unit, np.array([0, 0, 1]), np.arange(3)).means()
    assert (positive, negative) == (0, 0)
