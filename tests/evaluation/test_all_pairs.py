"""All pairs of images of the plane, listed by hand."""

import numpy as np
import pytest

from ddl_jax.evaluation import AllPairs

DEGREES = np.deg2rad([0, 60, 90])
EMBEDDINGS = 3 * np.stack([np.cos(DEGREES), np.sin(DEGREES)], axis=1)
IDS = np.array(["a", "a", "b"])


def test_pairs_of_one_group_come_once():
    pairs = AllPairs.of(EMBEDDINGS, IDS, np.array([0, 1, 2]))
    np.testing.assert_allclose(pairs.scores, [0.5, 0, 3**0.5 / 2], atol=1e-12)
    assert list(zip(pairs.first, pairs.second)) == [("a", "a"), ("a", "b"), ("a", "b")]
    np.testing.assert_array_equal(pairs.genuine, [True, False, False])


def test_pairs_of_two_groups():
    pairs = AllPairs.of(EMBEDDINGS, IDS, np.array([2, 0]), np.array([1]))
    np.testing.assert_allclose(pairs.scores, [3**0.5 / 2, 0.5])
    np.testing.assert_array_equal(pairs.genuine, [False, True])


def test_refuses_lists_that_do_not_agree():
    with pytest.raises(ValueError, match="3 embeddings and 2 identities"):
        AllPairs.of(EMBEDDINGS, IDS[:2], np.array([0, 1]))
