"""Centres of identities: by hand, and what is planted is found."""

import numpy as np
import pytest

from ddl_jax.evaluation import centers
from ddl_jax.evaluation import similarity as similarity_lib
from ddl_jax.evaluation.similarity import unit_rows


def test_centers_by_hand():
    unit = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    found = centers.identity_centers(unit, np.array([0, 0, 2]), 3)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [0, 0], [-1, 0]])


def test_an_image_is_compared_with_the_others_of_its_identity():
    unit = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.6, 0.8]])
    own = centers.own_similarities(unit, np.array([0, 0, 0, 1]))
    # The first is at a right angle to the others; each of these has the first and its equal.
    np.testing.assert_allclose(own, [0, 0.5**0.5, 0.5**0.5, np.nan])


def test_labels_are_checked_by_hand():
    unit = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]])
    check = centers.check_labels(unit, np.array([0, 0, 1, 1, 2]))
    assert check.nearest.tolist() == [1, 1, 0, 0, 1]
    centre = unit_rows(unit[2:3] + unit[3:4])[0]  # of identity 1
    np.testing.assert_allclose(check.own, [1, 1, 0.6, 0.6, np.nan])
    np.testing.assert_allclose(check.other, [centre[0], centre[0], 0, 0.8, -centre[0]])
    assert check.margin[3] == pytest.approx(-0.2)  # nearer to the other than to its own
    with pytest.raises(ValueError, match="at least 2"):
        centers.check_labels(unit, np.zeros(5, int))


def _people(people: int = 40, images: int = 8, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(people), images)
    rows = rng.normal(size=(people, 64))[labels] + noise * rng.normal(size=(len(labels), 64))
    return unit_rows(rows), labels


@pytest.fixture(params=[(0, 7), (8192, 4096)], ids=["in small tiles", "in one tile"])
def block(request, monkeypatch):
    monkeypatch.setattr(similarity_lib, "BLOCK", request.param[0])
    monkeypatch.setattr(centers, "_COLUMNS", request.param[1])


def test_planted_duplicates_and_no_others_are_found(block):
    unit, labels = _people()
    doubled = labels.copy()
    doubled[8:12], doubled[80:84] = 40, 41  # half of the images of 1 and of 10
    same_at = centers.same_person_similarity(unit, doubled)
    pairs = centers.similar_centers(
        centers.identity_centers(unit, doubled, 42), None, at_least=same_at
    )
    assert set(zip(pairs.first.tolist(), pairs.second.tolist())) == {(1, 40), (10, 41)}
    assert pairs.similarity[0] >= pairs.similarity[1] >= same_at


def test_an_overlap_of_two_sets_is_found(block):
    unit, labels = _people()
    first, second = unit[::2], unit[1::2]  # the same people, other images
    one = centers.identity_centers(first[:100], labels[::2][:100], 25)
    two = centers.identity_centers(second[80:], labels[1::2][80:] - 20, 20)
    pairs = centers.similar_centers(one, two, at_least=0.7)
    assert sorted(zip(pairs.first.tolist(), pairs.second.tolist())) == [
        (20 + n, n) for n in range(5)
    ]


def test_planted_wrong_labels_and_no_others_are_found(block):
    unit, labels = _people()
    wrong = np.array([3, 50, 51, 200])
    labels[wrong] = (labels[wrong] + 7) % 40
    check = centers.check_labels(unit, labels)
    assert np.flatnonzero(check.margin < centers.wrong_label_margin(check)).tolist() == [
        *wrong.tolist()
    ]
    assert check.nearest[wrong].tolist() == ((labels[wrong] - 7) % 40).tolist()


def test_hard_images_of_the_right_label_are_kept():
    unit, labels = _people()
    hard = np.arange(0, 320, 8)  # one image of everybody has a third of a person left
    noise = unit_rows(np.random.default_rng(1).normal(size=(40, 64)))
    unit[hard] = unit_rows(unit[hard + 1] + 3 * noise)
    check = centers.check_labels(unit, labels)
    assert (check.margin[hard] < 0).mean() > 0.3  # the plain rule would throw them out
    assert not (check.margin < centers.wrong_label_margin(check)).any()


def test_halves_are_those_of_one_identity():
    unit, labels = _people(noise=0.0)
    np.testing.assert_allclose(centers.half_similarities(unit, labels), np.ones(40))
    lonely = np.arange(320)
    assert not len(centers.half_similarities(unit, lonely))
    with pytest.raises(ValueError, match="no identity has two images"):
        centers.same_person_similarity(unit, lonely)


def test_a_network_that_knows_nobody_is_told():
    unit = unit_rows(np.random.default_rng(0).normal(size=(60, 8)))
    with pytest.raises(ValueError, match="nearer to another identity"):
        centers.wrong_label_margin(centers.check_labels(unit, np.arange(60) // 3))
