"""Ranks worked out by hand on directions in the plane."""

import numpy as np
import pytest

from ddl_jax.evaluation import identification_rank


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
