"""All pairs with weights: plain numbers where all weights are one, copies where they are not."""

import numpy as np
import pytest

from ddl_jax.evaluation.all_pairs import AllPairs, identity_samples, interval, rank_one
from ddl_jax.evaluation.identification import identification_rank
from ddl_jax.evaluation.roc import RocCurve

PEOPLE, IMAGES = 9, 4
FARS = (0.01, 0.1)


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(PEOPLE), IMAGES)
    embeddings = rng.normal(size=(PEOPLE, 6))[identities] + 1.2 * rng.normal(size=(36, 6))
    return embeddings, identities


def groups():
    """Two images of everybody each."""
    rows = np.arange(PEOPLE * IMAGES).reshape(PEOPLE, IMAGES)
    return rows[:, :2].ravel(), rows[:, 2:].ravel()


@pytest.mark.parametrize("crossed", [True, False])
def test_weights_of_one_give_the_plain_numbers(faces, crossed):
    embeddings, identities = faces
    rows, others = groups()
    pairs = AllPairs.of(embeddings, identities, rows, others if crossed else None)
    assert len(pairs.scores) == (18 * 18 if crossed else 18 * 17 // 2)
    genuine = pairs.first == pairs.second
    assert genuine.sum() == (9 * 4 if crossed else 9)
    found = pairs.metrics(np.ones((1, PEOPLE)), FARS)
    curve = RocCurve.from_scores(pairs.scores[genuine], [pairs.scores[~genuine]])
    for far, tar in zip(FARS, curve.tar_at_far(FARS)):
        assert found[f"tar_at_far_{far:g}"] == pytest.approx([tar])
    assert found["eer"] == pytest.approx([curve.equal_error_rate()], abs=1e-9)
    means = pairs.scores[genuine].mean() - pairs.scores[~genuine].mean()
    assert found["separation"] == pytest.approx([means])


def copied(embeddings, identities, weights):
    """The data of a sample: every person as often as drawn, each copy a person of its own."""
    people = np.repeat(np.arange(PEOPLE), weights)
    rows = np.concatenate([np.flatnonzero(identities == person) for person in people])
    return embeddings[rows], np.repeat(np.arange(len(people)), IMAGES), people


def test_a_sample_is_the_data_with_people_copied(faces):
    embeddings, identities = faces
    rows, others = groups()
    weights = identity_samples(PEOPLE, 3, seed=1)
    found = AllPairs.of(embeddings, identities, rows, others).metrics(weights, FARS)
    ranks = rank_one(embeddings, identities, others, rows[::2], weights)
    for number, sample in enumerate(weights):
        copies, who, people = copied(embeddings, identities, sample)
        pairs = AllPairs.of(copies, who, rows, others)
        # Pairs of two copies of a person are no impostors.
        real = (pairs.first == pairs.second) | (people[pairs.first] != people[pairs.second])
        kept = AllPairs(*(part[real] for part in (pairs.scores, pairs.first, pairs.second)))
        wanted = kept.metrics(np.ones((1, PEOPLE)), FARS)
        for name, values in found.items():
            assert values[number] == pytest.approx(wanted[name][0], abs=1e-9), name
        drawn = np.unique(people)
        probes = np.isin(identities[others], drawn)
        repeats = np.repeat(others[probes], sample[identities[others[probes]]])
        gallery = rows[::2][drawn]
        wanted_rank = identification_rank(
            embeddings[repeats], identities[repeats], embeddings[gallery], identities[gallery]
        )
        assert ranks[number] == pytest.approx(wanted_rank)


def test_equal_scores_pass_a_threshold_together():
    pairs = AllPairs(np.array([0.9, 0.5, 0.5, 0.1]), np.array([0, 0, 0, 0]), np.array([0, 1, 0, 1]))
    found = pairs.metrics(np.ones((1, 2)), (0.0, 0.5))
    assert found["tar_at_far_0"] == [0.5]  # the second genuine pair brings an impostor with it
    assert found["tar_at_far_0.5"] == [1.0]


def test_samples_and_intervals():
    samples = identity_samples(50, 2000)
    assert samples.shape == (2001, 50) and (samples[0] == 1).all()
    assert (samples.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(samples, identity_samples(50, 2000))
    assert interval(np.array([99.0, *np.arange(101)])) == pytest.approx((2.5, 97.5))
