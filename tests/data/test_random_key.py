"""Draws that do not depend on each other."""

import itertools

import numpy as np

from ddl_jax.data.random_key import random_bits


def test_bits_are_a_function_of_purpose_and_numbers():
    keys = [("a", 1, 2), ("a", 1, 2, 0), ("a", 12), ("a", 1, 20), ("a1", 2), ("b", 1, 2)]
    draws = [random_bits(64, *key).tobytes() for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws == [random_bits(64, *key).tobytes() for key in keys]


def test_bits_are_even_and_neighbours_have_nothing_in_common():
    draws = np.stack(
        [random_bits(6, "mirror", 0, step, row) for step in range(60) for row in range(40)]
    )
    assert (draws.shape, draws.dtype) == ((2400, 6), bool)
    columns = 2.0 * draws - 1
    assert np.abs(columns.mean(0)).max() < 4 / np.sqrt(2400)
    for one, other in itertools.combinations(columns.T, 2):
        assert abs((one * other).mean()) < 4 / np.sqrt(2400)
    for shift in (1, 2, 40):
        assert np.abs((columns[shift:] * columns[:-shift]).mean(0)).max() < 4 / np.sqrt(2300)
