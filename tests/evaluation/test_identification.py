"""Ranks worked out by hand on directions in the plane."""

import numpy as np
import pytest

from ddl_jax.evaluation import (
    Search,
    cumulative_matches,
    identification_metrics,
    identification_rank,
    joined_gallery_rates,
    search_gallery,
    tpir_at_fpir,
)


def directions(*degrees):
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


GALLERY = directions(0, 40, 80)
IDS = np.array(["a", "b", "c"])


def test_ranks_by_angle():
    # 10 degrees is nearest to a; 30 is nearest to b, then a, then c.
    probe, ids = directions(10, 30, 30, 30), np.array(["a", "b", "a", "c"])
    shares = [identification_rank(probe, ids, GALLERY, IDS, k=k) for k in (1, 2, 3, 9)]
    assert shares == [0.5, 0.75, 1.0, 1.0]


def test_two_gallery_rows_of_the_identity_count_as_its_best():
    gallery, ids = directions(0, 90, 40), np.array(["a", "a", "b"])
    assert identification_rank(directions(80), ["a"], gallery, ids) == 1.0
    # Nearest to b; a's best row is second, whatever its other row does.
    assert identification_rank(directions(50), ["a"], gallery, ids) == 0.0
    assert identification_rank(directions(50), ["a"], gallery, ids, k=2) == 1.0


def test_a_tie_counts_against_the_probe():
    rng = np.random.default_rng(0)
    point = np.tile(rng.normal(size=512), (300, 1))
    ids = np.arange(300)
    assert identification_rank(point, ids, point, ids) == 0.0
    assert identification_rank(point, ids, point, ids, k=300) == 1.0
    assert identification_rank(np.zeros((2, 2)), ["a", "b"], GALLERY, IDS) == 0.0


def test_order_and_scale_do_not_matter():
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(50, 8))
    ids = rng.integers(0, 20, 50)
    probe_ids = rng.choice(ids, 200)
    probe = rng.normal(size=(200, 8)) + gallery[np.argmax(probe_ids[:, None] == ids, axis=1)]
    shares = [identification_rank(probe, probe_ids, gallery, ids, k=k) for k in range(1, 51)]
    assert 0 < shares[0] < shares[-1] == 1 and np.all(np.diff(shares) >= 0)
    order = rng.permutation(50)
    scale = np.exp(rng.normal(size=(50, 1)))
    assert identification_rank(probe, probe_ids, (scale * gallery)[order], ids[order]) == shares[0]


@pytest.mark.parametrize(
    "probe_ids, k, message",
    [(["z"], 1, "identity z has no gallery entry"), (["a"], 0, "k=0"), (["a", "b"], 1, "one id")],
)
def test_refuses(probe_ids, k, message):
    with pytest.raises(ValueError, match=message):
        identification_rank(directions(1), probe_ids, GALLERY, IDS, k=k)


def found_of(own, other, ranks):
    return Search(*(np.array(part, float) for part in (own, other)), np.array(ranks))


def test_cumulative_matches_by_hand():
    found = found_of([0.9, 0.8, 0.7, np.nan], [0.1, 0.9, 0.9, 0.5], [1, 2, 4, 0])
    np.testing.assert_allclose(cumulative_matches(found, 5), [1 / 3, 2 / 3, 2 / 3, 1, 1])
    # Two galleries: the mean of either's shares, however many probes each has.
    other = found_of([0.9, np.nan], [0.1, 0.2], [1, 0])
    np.testing.assert_allclose(cumulative_matches([found, other], 2), [(1 / 3 + 1) / 2, 5 / 6])
    with pytest.raises(ValueError, match="none of 1 probes"):
        cumulative_matches(found_of([np.nan], [0.1], [0]), 1)


def test_open_set_rates_by_hand():
    # Mated: .9 and .6 at rank 1, .8 at rank 2, .3 at rank 1. Non-mated: .7, .5, .2, .1.
    nan = np.nan
    found = found_of(
        [0.9, 0.6, 0.8, 0.3, nan, nan, nan, nan],
        [0.0, 0.0, 0.9, 0.0, 0.7, 0.5, 0.2, 0.1],
        [1, 1, 2, 1, 0, 0, 0, 0],
    )
    fpirs = [0, 0.2, 0.25, 0.5, 1]
    np.testing.assert_allclose(tpir_at_fpir(found, fpirs), [0.25, 0.25, 0.5, 0.75, 0.75])
    np.testing.assert_allclose(tpir_at_fpir(found, fpirs, k=2), [0.5, 0.5, 0.75, 1, 1])
    lost = found_of([0.9, nan], [0.95, 0.1], [2, 0])
    np.testing.assert_allclose(
        tpir_at_fpir([found, lost], fpirs), [0.125, 0.125, 0.25, 0.375, 0.375]
    )


def test_one_point_for_every_face_identifies_nobody():
    point, ids = np.tile(np.random.default_rng(0).normal(size=64), (50, 1)), np.arange(50)
    found = search_gallery(point, ids, point[:30], ids[:30])
    np.testing.assert_array_equal(tpir_at_fpir(found, [0, 0.5, 1]), 0)
    np.testing.assert_array_equal(tpir_at_fpir(found, [0, 0.5, 1], k=30), [0, 0, 1])


@pytest.fixture(scope="module")
def two_galleries():
    """200 people, 100 in each gallery, 20 probes of each person: 2,000 non-mated in either."""
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(200, 32))
    ids = np.repeat(np.arange(200), 20)
    probe = centers[ids] + 1.4 * rng.normal(size=(4000, 32))
    gallery = centers + 0.5 * rng.normal(size=(200, 32))
    return probe, ids, gallery, np.arange(200)


def test_two_galleries(two_galleries):
    probe, ids, gallery, people = two_galleries
    halves = [slice(0, 100), slice(100, 200)]
    found = [search_gallery(probe, ids, gallery[half], people[half]) for half in halves]
    metrics = identification_metrics(found, fpirs=(0.1, 0.015, 0.014))
    assert (metrics["mated"], metrics["nonmated"]) == (4000, 4000)
    ranks = [
        identification_rank(
            probe[ids // 100 == i], ids[ids // 100 == i], gallery[half], people[half]
        )
        for i, half in enumerate(halves)
    ]
    assert metrics["rank_1"] == pytest.approx(np.mean(ranks))
    assert 0 < metrics["tpir_at_fpir_0.015"] < metrics["tpir_at_fpir_0.1"] < metrics["rank_1"] < 1
    assert np.isnan(metrics["tpir_at_fpir_0.014"])  # 28 of 2,000
    rates = tpir_at_fpir(found, np.linspace(0, 1, 21))
    assert np.all(np.diff(rates) >= 0) and rates[-1] == pytest.approx(metrics["rank_1"])


def test_a_closed_set_has_no_open_set_rate(two_galleries):
    probe, ids, gallery, people = two_galleries
    found = search_gallery(probe, ids, gallery, people)
    metrics = identification_metrics(found, ranks=(1, 3))
    assert metrics["nonmated"] == 0 and metrics["rank_3"] > metrics["rank_1"] > 0
    assert np.isnan(metrics["tpir_at_fpir_0.1"])
    with pytest.raises(ValueError, match="4000 of 4000 probes"):
        tpir_at_fpir(found, [0.1])


def test_joined_galleries_in_the_references_manner(two_galleries):
    probe, ids, gallery, people = two_galleries
    probe, ids = probe[::7], ids[::7]
    unit, others = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (probe, gallery))
    cosines = unit @ others.T
    own = cosines[np.arange(len(ids)), ids].copy()
    cosines[np.arange(len(ids)), ids] = -2
    ordered = np.sort(cosines, axis=None)[::-1]
    fpirs = [0.01, 0.1]
    wanted = [np.mean(own > ordered[int(np.ceil(len(ids) * fpir)) - 1]) for fpir in fpirs]
    found = joined_gallery_rates(probe, ids, gallery, people, fpirs)
    np.testing.assert_array_equal(found, wanted)
    assert found[0] < found[1]
    with pytest.raises(ValueError, match="identity 0 is not in the gallery exactly once"):
        joined_gallery_rates(probe, ids, gallery[1:], people[1:], fpirs)


@pytest.mark.parametrize("fpir", [-0.1, 1.1, np.nan])
def test_refuses_what_is_no_share(fpir):
    with pytest.raises(ValueError, match="FPIR"):
        tpir_at_fpir(found_of([0.9, np.nan], [0.1, 0.1], [1, 0]), [fpir])
