"""Moments of pairs that are never formed, against the pairs themselves."""

import numpy as np
import pytest

from ddl_jax.evaluation import identity_samples
from ddl_jax.evaluation.pair_moments import Images, ImpostorMoments, genuine_moments

PEOPLE = 12


@pytest.fixture
def groups():
    """Two groups, of people with 0 to 4 and 1 to 3 images."""
    rng = np.random.default_rng(3)
    centers = rng.normal(size=(PEOPLE, 6))
    found = []
    for most, least in ((5, 0), (4, 1)):
        identity = np.repeat(np.arange(PEOPLE), rng.integers(least, most, PEOPLE))
        rows = centers[identity] + rng.normal(size=(len(identity), 6))
        order = rng.permutation(len(rows))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        found.append(Images(rows[order], identity[order]))
    return found


def impostors(ours, others):
    """The moments, and cosines and people of all pairs, genuine ones first."""
    cosines = ours.rows @ others.rows.T
    first, second = np.meshgrid(ours.identity, others.identity, indexing="ij")
    own = first == second
    moments = ImpostorMoments.of(ours, others, PEOPLE, cosines[own], first[own])
    return moments, (cosines[own], first[own]), (cosines[~own], first[~own], second[~own])


def test_all_pairs(groups):
    moments, _, (cosines, *_) = impostors(*groups)
    assert moments.mean == pytest.approx(cosines.mean(), rel=1e-12)
    assert moments.variance == pytest.approx(cosines.var(), rel=1e-12)


def test_samples_of_impostor_pairs(groups):
    moments, _, (cosines, first, second) = impostors(*groups)
    counts = identity_samples(PEOPLE, 400)
    found = moments.samples(counts)
    weights = counts[:, first] * counts[:, second]
    mean = np.array([np.average(cosines, weights=w) for w in weights])
    np.testing.assert_allclose(found.mean, mean, rtol=1e-10, atol=1e-12)
    assert found.variance[0] == pytest.approx(cosines.var(), rel=1e-12)
    assert np.all(found.variance >= 0) and np.std(found.variance) > 0.01 * cosines.var()


def test_a_person_who_is_drawn_a_little_more_often_moves_the_variance_as_much(groups):
    moments, _, (cosines, first, second) = impostors(*groups)
    step = 1e-6
    counts = np.ones((PEOPLE + 1, PEOPLE))
    counts[1:] += step * np.eye(PEOPLE)
    weights = counts[:, first] * counts[:, second]
    exact = np.array([np.cov(cosines, aweights=w, ddof=0) for w in weights])
    slopes = (moments.samples(counts).variance - moments.variance)[1:] / step
    wanted = (exact[1:] - exact[0]) / step
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(slopes, wanted, rtol=1e-4, atol=1e-7)


def test_samples_of_genuine_pairs_are_exact(groups):
    _, (cosines, identity), _ = impostors(*groups)
    counts = identity_samples(PEOPLE, 50)
    found = genuine_moments(cosines, identity, counts)
    for weights, mean, variance in zip(counts[:, identity], *found):
        assert mean == pytest.approx(np.average(cosines, weights=weights), rel=1e-12)
        assert variance == pytest.approx(np.cov(cosines, aweights=weights, ddof=0), rel=1e-9)


def test_a_sample_without_a_pair_has_no_moments(groups):
    moments, own, _ = impostors(*groups)
    counts = np.ones((2, PEOPLE), int)
    counts[1] = 5 * (np.arange(PEOPLE) == own[1][0])  # one person alone
    for found in (*moments.samples(counts), genuine_moments(*own, counts * [[1], [0]]).mean):
        assert np.isfinite(found[0]) and np.isnan(found[1])
