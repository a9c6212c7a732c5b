"""Ranks and cosines of a closed set, worked out by hand and against all pairs at once."""

import numpy as np
import pytest

from ddl_jax.evaluation import similarity
from ddl_jax.evaluation.protocols import closed_set as closed_set_module
from ddl_jax.evaluation.protocols.closed_set import closed_set
from ddl_jax.evaluation.similarity import Similarities

from .made_files import directions


def test_by_hand():
    # Gallery at 0, 40 and 80 degrees; a distractor at 20.
    gallery, ids = directions(0, 40, 80, 20), np.array([0, 1, 2, -1])
    # 5 is nearest to 0 (right); 35 to 40, then 20, then 0: rank 3 of identity 0.
    result = closed_set(directions(5, 35), np.array([0, 0]), gallery, ids, ks=(1, 2, 3))
    metrics = result.metrics
    assert [metrics[f"rank_{k}"] for k in (1, 2, 3)] == [0.5, 0.5, 1.0]
    assert (metrics["probes"], metrics["gallery"], metrics["identities"]) == (2, 4, 1)
    genuine = np.cos(np.deg2rad([5, 35]))
    impostors = np.cos(np.deg2rad([35, 75, 15, 5, 45, 15]))
    assert metrics["positive_mean"] == pytest.approx(genuine.mean())
    assert metrics["negative_mean"] == pytest.approx(impostors.mean())
    np.testing.assert_allclose(np.sort(result.similarities.negative), np.sort(impostors))
    assert (metrics["genuine"], metrics["impostors"]) == (2, 6)


def test_a_sample_is_for_pictures_only(monkeypatch):
    rng = np.random.default_rng(0)
    probe, gallery = rng.normal(size=(60, 8)), rng.normal(size=(50, 8))
    probe_ids, gallery_ids = rng.integers(0, 20, 60), np.arange(50) % 25
    whole = closed_set(probe, probe_ids, gallery, gallery_ids, ks=(1, 5))
    for module in (closed_set_module, similarity):
        monkeypatch.setattr(module, "MOST_SHOWN", 100)
    some = closed_set(probe, probe_ids, gallery, gallery_ids, ks=(1, 5))
    for name, value in whole.metrics.items():
        np.testing.assert_allclose(some.metrics[name], value, rtol=1e-12, err_msg=name)
    # Moments are those of all pairs, found without making them.
    assert whole.metrics["d_prime"] == pytest.approx(
        Similarities(whole.similarities.positive, whole.similarities.negative).d_prime
    )
    assert len(some.similarities.positive) <= 100 > len(some.similarities.negative) > 80
    for kind in ("positive", "negative"):
        known = np.round(getattr(whole.similarities, kind), 12)
        assert np.isin(np.round(getattr(some.similarities, kind), 12), known).all()
