"""Cosines of pairs read off matrix products against those of one pair at a time, and d-prime."""

import numpy as np
import pytest

from ddl_jax.evaluation import Similarities, pair_cosines, unit_rows
from ddl_jax.evaluation import similarity as module


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    unit = unit_rows(rng.normal(size=(400, 16)))
    # The first of pairs are rows 50..149, the others 100..399; some pairs come twice.
    return unit, rng.integers(50, 150, 20_000), rng.integers(100, 400, 20_000)


def test_a_long_list_is_read_off_products(pairs, monkeypatch):
    unit, first, second = pairs
    one_by_one = np.sum(unit[first] * unit[second], axis=1)
    monkeypatch.setattr(module, "_over_pairs", None)  # nothing is done one by one
    np.testing.assert_allclose(pair_cosines(unit, first, second), one_by_one, atol=1e-12)
    monkeypatch.setattr(module, "BLOCK", 40)  # 34 rows of 300 columns at a time
    np.testing.assert_allclose(pair_cosines(unit, first, second), one_by_one, atol=1e-12)


def test_a_sparse_list_is_not(pairs, monkeypatch):
    unit, first, second = pairs
    monkeypatch.setattr(module, "_CELLS_FOR_A_PAIR", 1)
    monkeypatch.setattr(module, "_from_products", None)
    expected = np.sum(unit[first] * unit[second], axis=1)
    np.testing.assert_allclose(pair_cosines(unit, first, second), expected, atol=1e-12)


def test_equal_vectors_tie_either_way(pairs):
    _, first, second = pairs
    unit = unit_rows(np.tile(np.random.default_rng(1).normal(size=(1, 512)), (400, 1)))
    for rows in (slice(None), slice(0, 50)):
        assert len(np.unique(pair_cosines(unit, first[rows], second[rows]))) == 1


def test_lists_that_do_not_agree():
    with pytest.raises(ValueError, match="must both be"):
        pair_cosines(np.eye(3), [0, 1], [1])
    assert len(pair_cosines(np.eye(3), [], [])) == 0


def test_d_prime():
    # Variances 1 and 0: 3 over the root of 1/2.
    found = Similarities(np.array([2.0, 4.0]), np.array([0.0, 0.0]))
    assert found.d_prime == pytest.approx(3 / np.sqrt(0.5))
    assert np.isnan(Similarities(np.array([0.7]), np.array([0.1])).d_prime)  # nothing varies
    given = Similarities(np.array([0.7]), np.array([0.1]), positive_std=0.3, negative_std=0.3)
    assert given.d_prime == pytest.approx(2)
