"""Measures on samples: plain numbers where all weights are one, copies where they are not."""

import numpy as np
import pytest
from sklearn import metrics

from ddl_jax.evaluation import (
    AllPairs,
    PairSamples,
    RocCurve,
    Similarities,
    accuracy_samples,
    verification_accuracy,
    verification_samples,
)
from ddl_jax.evaluation.verification import distance_accuracy

PEOPLE, IMAGES = 9, 4
FARS = (0.01, 0.1)


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(PEOPLE), IMAGES)
    embeddings = rng.normal(size=(PEOPLE, 6))[identities] + 1.2 * rng.normal(size=(36, 6))
    return embeddings, identities


def plain(scores, genuine):
    """What the functions without weights say."""
    curve = RocCurve.from_scores(scores[genuine], [scores[~genuine]])
    similarities = Similarities(scores[genuine], scores[~genuine])
    tars = {f"tar_at_far_{far:g}": tar for far, tar in zip(FARS, curve.tar_at_far(FARS))}
    return tars | {
        "eer": curve.equal_error_rate(),
        "auc": curve.area(),
        "overlap": curve.overlap(),
        "separation": similarities.separation,
        "d_prime": similarities.d_prime,
    }


@pytest.mark.parametrize("crossed", [True, False])
def test_a_sample_is_the_data_with_people_copied(faces, crossed):
    embeddings, identities = faces
    rows = np.arange(PEOPLE * IMAGES).reshape(PEOPLE, IMAGES)
    rows, others = rows[:, :2].ravel(), rows[:, 2:].ravel()
    pairs = AllPairs.of(embeddings, identities, rows, others if crossed else None)
    samples = PairSamples.of_identities(pairs.first, pairs.second, samples=4, seed=1)
    found = verification_samples(pairs.scores, pairs.genuine, samples, FARS)
    for number, counts in enumerate(samples.counts):
        genuine = pairs.genuine
        copies = counts[pairs.first] * np.where(genuine, 1, counts[pairs.second])
        wanted = plain(np.repeat(pairs.scores, copies), np.repeat(genuine, copies))
        assert wanted.keys() == found.keys()
        for name, value in wanted.items():
            assert found[name][number] == pytest.approx(value, abs=1e-9), name


def test_equal_scores_pass_a_threshold_together():
    scores, genuine = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, False, True, False])
    found = verification_samples(scores, genuine, PairSamples.of_pairs(4, samples=1), (0.0, 0.5))
    assert found["tar_at_far_0"][0] == 0.5  # the second genuine pair brings an impostor with it
    assert found["tar_at_far_0.5"][0] == 1.0
    assert found["auc"][0] == pytest.approx(metrics.roc_auc_score(genuine, scores)) == 0.875


def test_the_order_of_pairs_does_not_matter(faces):
    pairs = AllPairs.of(*faces, np.arange(36))
    order = np.random.default_rng(2).permutation(len(pairs.scores))
    expected, result = (
        verification_samples(
            pairs.scores[rows],
            pairs.genuine[rows],
            PairSamples.of_identities(pairs.first[rows], pairs.second[rows], samples=20),
            FARS,
        )
        for rows in (slice(None), order)
    )
    for name, values in expected.items():
        np.testing.assert_allclose(result[name], values, atol=1e-12, err_msg=name)


def test_a_sample_without_genuine_pairs_is_undefined():
    # Person 0 alone has a genuine pair; the second sample draws persons 1 and 2 only.
    samples = PairSamples(
        np.array([[1, 1, 1], [0, 2, 1]]), np.array([0, 0, 1]), np.array([0, 1, 2])
    )
    found = verification_samples([0.9, 0.2, 0.1], [True, False, False], samples, (0.1,))
    assert all(np.isfinite(values[0]) for name, values in found.items())
    assert all(np.isnan(values[1]) for values in found.values())


def test_accuracy_of_samples_is_that_of_copied_pairs():
    rng = np.random.default_rng(3)
    embeddings, same = rng.normal(size=(240, 4)), rng.random(120) < 0.5
    embeddings[1::2] += 1.5 * same[:, None] * embeddings[::2]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    distances = np.square(unit[::2] - unit[1::2]).sum(axis=1)
    fold = np.arange(120) % 5
    samples = PairSamples.of_pairs(120, samples=6)
    found = accuracy_samples(distances, same, samples, folds=fold)
    assert found[0] == pytest.approx(
        verification_accuracy(embeddings, same, folds=fold)["accuracy"]
    )
    for value, copies in zip(found, samples.counts):
        wanted = distance_accuracy(
            *(np.repeat(x, copies) for x in (distances, same)), folds=np.repeat(fold, copies)
        )
        assert value == pytest.approx(wanted["accuracy"])


def test_a_fold_that_nobody_is_drawn_from_is_left_out():
    counts = np.array([[1, 1, 1, 1, 1, 1], [2, 2, 1, 1, 0, 0], [3, 3, 0, 0, 0, 0]])
    rows = np.arange(6)
    found = accuracy_samples(
        np.array([0.1, 1.5, 0.2, 1.4, 0.3, 0.25]),
        np.array([True, False] * 3),
        PairSamples(counts, rows, rows),
        folds=np.repeat([0, 1, 2], 2),
    )
    # Thresholds of all three .21, .11, .21: right 2, 1 and 1 of 2. Of the first two: .21, .11.
    np.testing.assert_allclose(found, [2 / 3, 3 / 4, np.nan])


@pytest.mark.parametrize(
    "scores, genuine, message",
    [
        ([0.1, np.nan], [True, False], "1 are not finite"),
        ([0.1, 0.2], [True, True], "both kinds"),
        ([0.1, 0.2, 0.3], [True, False, False], "one of each for every pair"),
    ],
)
def test_refuses(scores, genuine, message):
    with pytest.raises(ValueError, match=message):
        verification_samples(scores, genuine, PairSamples.of_pairs(2, samples=1), FARS)
