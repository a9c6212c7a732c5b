"""The blocked search against one matrix in float64, and against data made to mislead float32."""

import numpy as np
import pytest

from ddl_jax.evaluation import best_people, gallery_search, search_gallery
from ddl_jax.evaluation.similarity import unit_rows


def plainly(probe, probe_ids, gallery, gallery_ids):
    cosines = unit_rows(probe) @ unit_rows(gallery).T
    mine = np.asarray(probe_ids)[:, None] == np.asarray(gallery_ids)
    own = np.max(cosines, axis=1, where=mine, initial=-np.inf)
    other = np.max(cosines, axis=1, where=~mine, initial=-np.inf)
    ranks = 1 + np.sum(~mine & (cosines >= own[:, None] - gallery_search.TIE), axis=1)
    mated = mine.any(axis=1)
    return np.where(mated, own, np.nan), other, np.where(mated, ranks, 0)


def check(probe, probe_ids, gallery, gallery_ids):
    found = search_gallery(probe, probe_ids, gallery, gallery_ids)
    own, other, ranks = plainly(probe, probe_ids, gallery, gallery_ids)
    np.testing.assert_allclose(found.own, own, atol=1e-14)
    np.testing.assert_allclose(found.other, other, atol=1e-14)
    np.testing.assert_array_equal(found.ranks, ranks)
    return found


@pytest.mark.parametrize("block, probes", [(8192, 1024), (64, 1024), (7, 5), (1, 1)])
def test_blocks_do_not_matter(monkeypatch, block, probes):
    monkeypatch.setattr(gallery_search, "BLOCK", block)
    monkeypatch.setattr(gallery_search, "_PROBES", probes)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 60, 150)
    centers = rng.normal(size=(80, 8))
    probe_ids = rng.integers(0, 80, 40)  # some have no gallery row, some several
    gallery = centers[ids] + rng.normal(size=(150, 8))
    found = check(centers[probe_ids] + rng.normal(size=(40, 8)), probe_ids, gallery, ids)
    assert 0 < found.mated.sum() < 40


@pytest.mark.parametrize("block", [8192, 100])
def test_differences_below_float32_decide(monkeypatch, block):
    # Cosines of one probe that differ by 1e-9, in the order of the gallery and against it.
    monkeypatch.setattr(gallery_search, "BLOCK", block)
    angles = 0.5 + 2e-9 * np.arange(1000)
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for order in (np.arange(1000), np.arange(1000)[::-1]):
        found = check(np.array([[1.0, 0.0]]), ["300"], gallery[order], order.astype(str))
        assert found.ranks == [301]


def test_equal_vectors_tie_everywhere(monkeypatch):
    monkeypatch.setattr(gallery_search, "BLOCK", 64)
    point = np.tile(np.random.default_rng(1).normal(size=128), (300, 1))
    found = check(point, np.arange(300), point, np.arange(300))
    np.testing.assert_array_equal(found.ranks, 300)


def test_zero_rows_and_a_gallery_of_one_identity():
    found = check(np.zeros((2, 3)), ["a", "b"], np.eye(3), ["a", "a", "a"])
    np.testing.assert_array_equal(found.other, [-np.inf, 0])
    np.testing.assert_array_equal(found.ranks, [1, 0])


def test_float32_arguments_give_the_same_as_float64_ones():
    rng = np.random.default_rng(2)
    probe, gallery = (rng.normal(size=(n, 16)).astype(np.float32) for n in (30, 500))
    ids = np.arange(500)
    single, double = (
        search_gallery(probe.astype(t), ids[:30], gallery.astype(t), ids) for t in "fd"
    )
    np.testing.assert_array_equal(single.ranks, double.ranks)
    np.testing.assert_array_equal(single.other, double.other)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"gallery": np.where(np.arange(20)[:, None] == 17, np.nan, 1.0)}, "row 17 is not finite"),
        ({"probe": np.ones((3, 4))}, "D must be the same"),
        ({"probe": np.ones((0, 1)), "probe_ids": []}, "probe: 0 rows"),
        ({"gallery_ids": [1, 2]}, "gallery: 20 rows and ids of shape"),
    ],
)
def test_refuses(monkeypatch, changes, message):
    monkeypatch.setattr(gallery_search, "BLOCK", 8)
    arguments = {
        "probe": np.ones((3, 1)),
        "probe_ids": [50, 51, 52],
        "gallery": np.ones((20, 1)),
        "gallery_ids": np.arange(20),
    }
    with pytest.raises(ValueError, match=message):
        search_gallery(**arguments | changes)


@pytest.mark.parametrize("block, k", [(8192, 4), (9, 4), (1, 100)])
def test_the_best_people_are_those_of_a_plain_search(monkeypatch, block, k):
    monkeypatch.setattr(gallery_search, "BLOCK", block)
    rng = np.random.default_rng(3)
    names = np.array([f"person {number}" for number in rng.integers(0, 12, 60)])
    gallery, probe = rng.normal(size=(60, 6)), rng.normal(size=(15, 6))
    # Every third probe is one of 30 images, of which the gallery has two copies each.
    own = np.where(np.arange(15) % 3 == 0, rng.integers(0, 30, 15), 100)
    copies = rng.permutation(60) % 30
    found = best_people(probe, gallery, names, k=k, images=(own, copies))
    for number in range(15):
        cosines = unit_rows(probe)[number] @ unit_rows(gallery).T
        cosines[copies == own[number]] = -np.inf
        best = {name: cosines[names == name].max() for name in names}
        ranked = sorted(best, key=best.get, reverse=True)[:k]
        assert names[found.rows[number]].tolist() == ranked
        np.testing.assert_allclose(found.cosines[number], [best[name] for name in ranked])
        np.testing.assert_allclose(found.cosines[number], cosines[found.rows[number]])


def test_of_equals_the_first_comes_first():
    gallery = np.array([[1.0, 0], [2, 0], [1, 0], [0, 1]])
    found = best_people([[1.0, 0]], gallery, ["b", "a", "a", "c"], k=2)
    assert found.rows.tolist() == [[1, 0]]  # a before b; of a's the first


def test_who_has_nothing_but_the_probe_itself_is_not_found():
    found = best_people([[1.0, 0]], [[1.0, 0], [0, 1.0]], ["a", "b"], k=2, images=([7], [7, 8]))
    assert found.rows[0, 0] == 1 and found.cosines[0, 1] == -np.inf


@pytest.mark.parametrize("gallery, ids", [([[1.0, 0]], ["a", "b"]), ([[1.0]], ["a"]), ([], [])])
def test_best_people_of_what_does_not_agree(gallery, ids):
    with pytest.raises(ValueError, match="as many ids as rows"):
        best_people([[1.0, 0]], gallery, ids, k=1)


@pytest.mark.parametrize("block", [4, 7, 8192])
def test_people_over_several_blocks_are_found_once(monkeypatch, block):
    monkeypatch.setattr(gallery_search, "BLOCK", block)
    rng = np.random.default_rng(4)
    names = np.repeat(["a", "b", "c", "d"], [30, 1, 11, 2])
    for _ in range(20):
        gallery, probe = rng.normal(size=(44, 3)), rng.normal(size=(9, 3))
        cosines = unit_rows(probe) @ unit_rows(gallery).T
        found = best_people(probe, gallery, names, k=2)
        for number, mine in enumerate(cosines):
            best = sorted(((mine[names == n].max(), n) for n in "abcd"), reverse=True)[:2]
            assert names[found.rows[number]].tolist() == [name for _, name in best]
            np.testing.assert_allclose(found.cosines[number], [value for value, _ in best])


def test_a_gallery_is_normalised_once_whatever_the_number_of_probes(monkeypatch):
    monkeypatch.setattr(gallery_search, "BLOCK", 8)
    rows = []
    monkeypatch.setattr(
        gallery_search, "unit_rows", lambda x, **also: rows.append(len(x)) or unit_rows(x, **also)
    )
    rng = np.random.default_rng(5)
    best_people(rng.normal(size=(3000, 2)), rng.normal(size=(40, 2)), np.arange(40), k=3)
    assert sum(rows) == 3040


def test_the_row_that_is_not_finite_is_named():
    gallery = np.ones((20, 1))
    gallery[17] = np.nan
    with pytest.raises(ValueError, match="row 17 is not finite"):
        best_people([[1.0]], gallery, np.arange(20)[::-1], k=1)
