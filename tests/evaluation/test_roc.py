"""The ROC curve from blocks against thresholds tried one by one."""

import numpy as np
import pytest

from ddl_jax.evaluation import RocCurve


def test_blocks_do_not_change_the_curve():
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(1, 1, 40), np.round(rng.normal(size=300), 1)
    whole = RocCurve.from_scores(genuine, [impostor])
    parts = RocCurve.from_scores(genuine, iter(np.array_split(impostor, 7)))
    for name in ("far", "tar", "thresholds", "impostor_count", "genuine_count"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_thresholds_have_the_rates_they_promise():
    rng = np.random.default_rng(1)
    genuine, impostor = np.round(rng.normal(1, 1, 50), 1), np.round(rng.normal(size=200), 1)
    curve = RocCurve.from_scores(genuine, [impostor])
    fars = np.linspace(0, 1, 30)
    for far, tar, threshold in zip(fars, curve.tar_at_far(fars), curve.threshold_at_far(fars)):
        assert np.mean(impostor >= threshold) <= far
        assert np.mean(genuine >= threshold) == tar


@pytest.mark.parametrize(
    "genuine, impostor, expected",
    [
        ([0.9, 0.8], [0.2, 0.1], 0.0),  # apart
        ([0.2, 0.1], [0.9, 0.8], 1.0),  # the wrong way round
        ([0.5, 0.5], [0.5], 0.5),  # one point: the diagonal
        ([0.9, 0.8, 0.7, 0.2], [0.6, 0.3, 0.1, 0.0], 0.25),  # one of four wrong on either side
    ],
)
def test_equal_error_rate(genuine, impostor, expected):
    curve = RocCurve.from_scores(np.array(genuine), [np.array(impostor)])
    assert curve.equal_error_rate() == pytest.approx(expected)


def test_equal_error_rate_of_two_normal_distributions():
    # Means 2 standard deviations apart: the error at the middle is Phi(-1).
    rng = np.random.default_rng(2)
    curve = RocCurve.from_scores(rng.normal(2, 1, 100_000), [rng.normal(0, 1, 100_000)])
    assert curve.equal_error_rate() == pytest.approx(0.158655, abs=2e-3)
