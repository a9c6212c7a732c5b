"""McNemar's test by hand and against scipy, and what it is fed with."""

import numpy as np
import pytest
from scipy import stats

from ddl_jax.evaluation import mcnemar, verification_accuracy, verification_decisions


def decisions(both, only_first, only_second, neither):
    counts = (both, only_first, only_second, neither)
    kinds = np.array([(True, True), (True, False), (False, True), (False, False)])
    return np.repeat(kinds, counts, axis=0).T


def test_by_hand():
    # Of 4 differing cases one model has 4: 2 (1/2)^4. Cases that both decide alike do not matter.
    assert mcnemar(*decisions(50, 4, 0, 3)) == pytest.approx((4, 0, 2 / 16))
    assert mcnemar(*decisions(0, 0, 4, 0)) == pytest.approx((0, 4, 2 / 16))
    # 1 of 5: 2 (1 + 5) (1/2)^5.
    assert mcnemar(*decisions(9, 4, 1, 1)).p_value == pytest.approx(12 / 32)
    assert mcnemar(*decisions(9, 2, 2, 1)).p_value == 1


def test_the_same_decisions_are_no_difference():
    assert mcnemar(*decisions(7, 0, 0, 2)) == (0, 0, 1)


def test_agrees_with_scipy_and_is_symmetric():
    first, second = np.random.default_rng(0).random((2, 500)) < [[0.9], [0.85]]
    found = mcnemar(first, second)
    differing = int(np.sum(first != second))
    assert found.p_value == stats.binomtest(found.only_first, differing).pvalue
    assert found.p_value == pytest.approx(mcnemar(second, first).p_value)


def test_p_values_of_equal_models_are_rarely_small():
    rng = np.random.default_rng(1)
    small = sum(mcnemar(*(rng.random((2, 200)) < 0.9)).p_value <= 0.05 for _ in range(400))
    assert small <= 32  # 5 % of 400 are 20, and an exact test has at most that


def test_decisions_are_those_of_the_accuracy():
    rng = np.random.default_rng(2)
    embeddings, same = rng.normal(size=(200, 5)), np.arange(100) % 2 == 0
    embeddings[1::2] += same[:, None] * embeddings[::2]
    fold = np.arange(100) // 20
    correct = verification_decisions(embeddings, same, folds=fold)
    accuracy = verification_accuracy(embeddings, same, folds=fold)
    np.testing.assert_allclose(correct.reshape(5, 20).mean(axis=1), accuracy["fold_accuracies"])


@pytest.mark.parametrize(
    "first, second, message",
    [
        ([True], [True, False], "must both be"),
        ([], [], "N > 0"),
        ([1.0, 0.0], [True, False], "float64: give bool"),
    ],
)
def test_refuses(first, second, message):
    with pytest.raises(ValueError, match=message):
        mcnemar(first, second)
