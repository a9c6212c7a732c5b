"""The ROC curve from blocks against thresholds tried one by one."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from ddl_jax.evaluation import RocCurve, roc_metrics


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


@pytest.mark.parametrize("decimals", [1, 12])
def test_the_curve_and_its_area_are_scikit_learns(decimals):
    rng = np.random.default_rng(3)
    genuine = np.round(rng.normal(0.7, 0.5, 80), decimals)
    impostor = np.round(rng.normal(0, 0.5, 300), decimals)
    curve = RocCurve.from_scores(genuine, [impostor])
    label, scores = np.repeat([1, 0], [80, 300]), np.concatenate([genuine, impostor])
    assert curve.area() == pytest.approx(metrics.roc_auc_score(label, scores), abs=1e-12)
    far, tar, _ = metrics.roc_curve(label, scores, drop_intermediate=False)
    for target in far:  # scikit-learn's corners are on the curve: the best TAR of their FAR
        assert curve.tar_at_far([target]) == [tar[far <= target].max()]


def test_area_by_hand():
    # Genuine .9 is above all, .5 ties with one of two and beats the other: (2 + 1.5) of 4.
    curve = RocCurve.from_scores(np.array([0.9, 0.5]), [np.array([0.5, 0.1])])
    assert curve.area() == 3.5 / 4


def test_overlap():
    # Best at .5: one of two genuine scores rejected, none of four impostors accepted.
    curve = RocCurve.from_scores(np.array([0.9, 0.2]), [np.array([0.4, 0.3, 0.1, 0.0])])
    assert curve.overlap() == 0.5
    same = np.arange(50.0)
    assert RocCurve.from_scores(same, [same]).overlap() == pytest.approx(1)
    # Two normal densities 2 standard deviations apart share twice the tail beyond the middle.
    rng = np.random.default_rng(4)
    curve = RocCurve.from_scores(rng.normal(2, 1, 100_000), [rng.normal(0, 1, 100_000)])
    assert curve.overlap() == pytest.approx(2 * stats.norm.sf(1), abs=0.01)


def test_the_false_accepts_behind_a_rate_are_counted_at_its_threshold():
    rng = np.random.default_rng(5)
    genuine, impostor = np.round(rng.normal(1, 1, 50), 1), np.round(rng.normal(size=200), 1)
    curve = RocCurve.from_scores(genuine, [impostor])
    fars = np.linspace(0, 1, 30)
    for far, threshold in zip(curve.far_at_far(fars), curve.threshold_at_far(fars)):
        assert far == np.mean(impostor >= threshold)


def test_a_rate_needs_thirty_false_accepts():
    rng = np.random.default_rng(6)
    curve = RocCurve.from_scores(rng.normal(2, 1, 100), [rng.normal(size=3000)])
    np.testing.assert_array_equal(curve.is_measured([1e-2, 0.0099, 1]), [True, False, True])
    found = roc_metrics(curve, [1e-2, 1e-3])
    assert found["impostors"] == 3000 and 0 < found["tar_at_far_0.01"] < 1
    assert found["false_accepts_at_far_0.01"] in range(20, 31)
    assert np.isnan([found["tar_at_far_0.001"], found["threshold_at_far_0.001"]]).all()
    assert found["false_accepts_at_far_0.001"] <= 3
