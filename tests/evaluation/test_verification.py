"""Verification against insightface's numbers, and against answers worked out by hand."""

import pathlib

import numpy as np
import pytest

from ddl_jax.evaluation import tar_at_far, template_features, verification_accuracy

GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "golden" / "evaluation.npz")
FARS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]


def pairs_at(cosines):
    """Embeddings of pairs with the given cosines, each pair turned by an angle of its own."""
    turn = np.arange(len(cosines)) * 0.7
    angles = np.stack([turn, turn + np.arccos(cosines)], axis=1).ravel()
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_accuracy_is_insightfaces():
    result = verification_accuracy(GOLDEN["embeddings"], GOLDEN["issame"])
    np.testing.assert_array_equal(result["fold_accuracies"], GOLDEN["accuracy_folds"])
    assert result["accuracy"] == GOLDEN["accuracy_mean"]
    assert result["accuracy_std"] == GOLDEN["accuracy_std"]


def test_accuracy_ignores_scale_and_takes_given_folds():
    scale = np.exp(np.random.default_rng(0).normal(size=(1200, 1)))
    fold = np.repeat(np.arange(10)[::-1], 60)
    result = verification_accuracy(scale * GOLDEN["embeddings"], GOLDEN["issame"], folds=fold)
    np.testing.assert_array_equal(result["fold_accuracies"], GOLDEN["accuracy_folds"][::-1])


def test_accuracy_does_not_depend_on_the_order_of_pairs_inside_folds():
    fold = np.arange(600) % 7
    order = np.random.default_rng(1).permutation(600)
    pairs = GOLDEN["embeddings"].reshape(600, 2, -1)
    expected = verification_accuracy(GOLDEN["embeddings"], GOLDEN["issame"], folds=fold)
    result = verification_accuracy(
        pairs[order].reshape(1200, -1), GOLDEN["issame"][order], folds=fold[order]
    )
    for name, value in expected.items():
        np.testing.assert_array_equal(result[name], value, err_msg=name)


def test_threshold_is_chosen_on_the_other_fold():
    # Fold 0 splits between cosines .9025 and .7, fold 1 between .5025 and .3. With the other fold's
    # threshold, fold 0 accepts its impostor and fold 1 rejects its genuine pair.
    result = verification_accuracy(
        pairs_at([0.9025, 0.7, 0.5025, 0.3]), [True, False, True, False], folds=2
    )
    np.testing.assert_array_equal(result["fold_accuracies"], [0.5, 0.5])
    # The first of equals: the next grid point above the genuine distances .995 and .195.
    np.testing.assert_allclose(result["thresholds"], [1 - 1.0 / 2, 1 - 0.2 / 2], atol=1e-12)


def test_identical_embeddings_are_right_for_one_kind_only():
    result = verification_accuracy(np.ones((40, 3)), np.arange(20) % 2 == 0, folds=5)
    assert result["accuracy"] == 0.5


@pytest.mark.parametrize(
    "rows, pairs, folds, message",
    [
        (5, 2, 2, "5 embeddings for 2 pairs"),
        (4, 2, 3, "folds=3 of 2 pairs"),
        (4, 2, [1, 1], "in one fold"),
        (4, 2, [1, 2, 3], "one for each pair"),
    ],
)
def test_accuracy_refuses(rows, pairs, folds, message):
    with pytest.raises(ValueError, match=message):
        verification_accuracy(np.ones((rows, 2)), [True] * pairs, folds=folds)


def test_accuracy_refuses_nan_by_row():
    with pytest.raises(ValueError, match="row 1 is not finite"):
        verification_accuracy([[1.0, 0], [np.nan, 0]] * 2, [True, False], folds=2)


def test_nearest_rule_is_insightfaces():
    result = tar_at_far(GOLDEN["ijb_scores"], GOLDEN["ijb_label"], FARS, rule="nearest")
    np.testing.assert_array_equal(result, GOLDEN["ijb_tpr"])


def test_rules_differ_where_a_far_cannot_be_met():
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    genuine = [True, False, True, False, True, False]
    # FAR 0 has TAR 1/3, FAR 1/3 has 2/3: a target of .3 is nearer to 1/3, and not met by it.
    assert tar_at_far(scores, genuine, [0.3], rule="at_most") == pytest.approx(1 / 3)
    assert tar_at_far(scores, genuine, [0.3], rule="nearest") == pytest.approx(2 / 3)
    assert tar_at_far(scores, genuine, [1 / 3]) == pytest.approx(2 / 3)
    np.testing.assert_allclose(tar_at_far(scores, genuine, [0, 1]), [1 / 3, 1])


def test_a_target_that_is_a_share_of_impostors_is_met_exactly():
    impostors = np.arange(100) / 100
    for count in range(1, 100):
        # One genuine score just above the impostor that must not be accepted.
        scores = np.append(impostors, 0.995 - count / 100)
        tar = tar_at_far(scores, np.arange(101) == 100, [count / 100, (count - 0.5) / 100])
        np.testing.assert_array_equal(tar, [1, 0])


def test_at_most_is_the_best_of_all_thresholds():
    rng = np.random.default_rng(2)
    for _ in range(50):
        genuine = rng.random(60) < 0.4
        scores = np.round(rng.normal(size=60) + genuine, 1)  # rounded: many ties
        fars = rng.random(8)
        accepted = scores >= np.append(np.unique(scores), np.inf)[:, None]
        far, tar = accepted[:, ~genuine].mean(axis=1), accepted[:, genuine].mean(axis=1)
        expected = [tar[far <= target].max() for target in fars]
        np.testing.assert_allclose(tar_at_far(scores, genuine, fars), expected)


def test_tar_rises_with_far_and_ignores_order_and_monotone_maps():
    scores, genuine = GOLDEN["ijb_scores"], GOLDEN["ijb_label"].astype(bool)
    expected = tar_at_far(scores, genuine, FARS)
    assert np.all(np.diff(expected) >= 0)
    order = np.random.default_rng(3).permutation(len(scores))
    np.testing.assert_array_equal(tar_at_far(scores[order], genuine[order], FARS), expected)
    np.testing.assert_array_equal(tar_at_far(np.exp(3 * scores), genuine, FARS), expected)


def test_equal_scores_accept_all_or_none():
    np.testing.assert_array_equal(tar_at_far([0.5] * 4, [1, 1, 0, 0], [0.0, 0.99, 1.0]), [0, 0, 1])


@pytest.mark.parametrize(
    "scores, genuine, fars, options, message",
    [
        ([0.1, 0.2], [True, True], [0.1], {}, "2 genuine and 0 impostor"),
        ([0.1, 0.2], [False, False], [0.1], {}, "0 genuine and 2 impostor"),
        ([0.1, np.nan], [True, False], [0.1], {}, "not finite"),
        ([0.1, 0.2], [True, False], [1.5], {}, "FAR 1.5"),
        ([0.1, 0.2], [True], [0.1], {}, "must both be"),
        ([0.1, 0.2], [True, False], [0.1], {"rule": "best"}, "'best'"),
    ],
)
def test_tar_at_far_refuses(scores, genuine, fars, options, message):
    with pytest.raises(ValueError, match=message):
        tar_at_far(scores, genuine, fars, **options)


def test_template_features_are_insightfaces():
    features, ids = template_features(
        GOLDEN["ijb_features"], GOLDEN["ijb_templates"], GOLDEN["ijb_medias"]
    )
    np.testing.assert_array_equal(ids, GOLDEN["ijb_unique"])
    np.testing.assert_allclose(features, GOLDEN["ijb_template_features"], atol=1e-14)


def test_frames_of_one_video_weigh_as_one_photograph():
    # Template 7: a video of three frames (media 1) along x, a photograph (media 2) along y.
    features = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 3]])
    result, ids = template_features(features, np.array([7, 7, 7, 7, 3]), np.array([1, 1, 1, 2, 1]))
    np.testing.assert_array_equal(ids, [3, 7])
    np.testing.assert_allclose(result, [[0, 1], [0.5**0.5, 0.5**0.5]])


def loop(features, templates, medias):
    """Template features one template and one media after another, as the references do."""
    found = []
    for template in np.unique(templates):
        rows = templates == template
        means = [
            features[rows & (medias == media)].mean(axis=0) for media in np.unique(medias[rows])
        ]
        found.append(np.sum(means, axis=0))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [1, 5, 8192])
def test_template_features_do_not_depend_on_blocks_or_order(monkeypatch, block):
    monkeypatch.setattr("ddl_jax.evaluation.verification.BLOCK", block)
    rng = np.random.default_rng(6)
    features = rng.normal(size=(60, 5)).astype(np.float32)
    templates, medias = rng.integers(0, 9, 60) * 7, rng.integers(0, 6, 60)
    expected = loop(features.astype(np.float64), templates, medias)
    found, ids = template_features(features, templates, medias)
    np.testing.assert_array_equal(ids, np.unique(templates))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    order = rng.permutation(60)
    shuffled, _ = template_features(features[order], templates[order], medias[order])
    np.testing.assert_allclose(shuffled, expected, atol=1e-12)


@pytest.mark.parametrize(
    "features, message",
    [
        (np.where(np.arange(3)[:, None] == 1, np.nan, np.ones((3, 2))), "row 1 is not finite"),
        (np.ones(3), "features have shape"),
        (np.ones((2, 2)), "2 features, 3 templates"),
    ],
)
def test_template_features_refuse(features, message):
    with pytest.raises(ValueError, match=message):
        template_features(features, np.array([2, 1, 2]), np.array([0, 0, 1]))


def test_accuracy_refuses_pairs_of_one_kind_and_what_is_not_finite():
    with pytest.raises(ValueError, match="20 of 20 pairs are genuine"):
        verification_accuracy(np.ones((40, 2)), [True] * 20)
    embeddings = np.ones((40, 2))
    embeddings[7] = np.nan
    with pytest.raises(ValueError, match="row 7 is not finite"):
        verification_accuracy(embeddings, np.arange(20) % 2 == 0)
