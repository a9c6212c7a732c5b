"""Thinned impostor pairs stand for all: same FARs, and nearly the same bootstrap samples."""

import numpy as np

from ddl_jax.evaluation.bootstrap import PairSamples, identity_samples, interval
from ddl_jax.evaluation.impostors import MOST, WHOLE, ImpostorPairs
from ddl_jax.evaluation.resampled import verification_samples


def _pairs(number: int, people: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with an effect of each person, and the people."""
    rng = np.random.default_rng(0)
    first, step = rng.integers(0, people, number), rng.integers(1, people, number)
    second = (first + step) % people
    effect = rng.normal(0, 0.05, people)
    return rng.normal(0, 0.1, number) + effect[first] + effect[second], first, second


def _kept(scores, first, second, block: int) -> ImpostorPairs:
    kept = ImpostorPairs()
    for start in range(0, len(scores), block):
        part = slice(start, start + block)
        kept.add(scores[part], first[part], second[part])
    return kept


def test_few_are_all_kept():
    pairs = _pairs(MOST)
    kept = _kept(*pairs, block=700)
    np.testing.assert_array_equal([kept.scores, kept.first, kept.second], pairs)
    assert (kept.repeats == 1).all()


def test_any_far_is_kept_within_its_share():
    scores, first, second = _pairs(400_000)
    for block in (17_000, 400_000):
        kept = _kept(scores, first, second, block)
        assert np.sum(kept.repeats) == len(scores) and len(kept.scores) < 2 * MOST
        best = np.sort(scores)[::-1]
        # The best are there, each for itself.
        ours = np.argsort(-kept.scores)[: WHOLE - 1]
        np.testing.assert_array_equal(kept.scores[ours], best[: WHOLE - 1])
        assert (kept.repeats[ours] == 1).all()
        for rank in (500, 5_000, 50_000, 300_000):
            accepted = np.sum(kept.repeats[kept.scores >= best[rank]])
            assert abs(accepted - rank) <= max(1, 0.002 * rank), (block, rank)


def test_intervals_are_those_of_all_pairs():
    people = 300
    scores, first, second = _pairs(60_000, people)
    kept = _kept(scores, first, second, 30_000)
    assert len(kept.scores) < len(scores) / 3
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(people), 5)
    genuine = rng.normal(0.4, 0.15, len(who)) + rng.normal(0, 0.05, people)[who]
    counts = identity_samples(people, 200)
    found = []
    for other, a, b, repeats in (
        (scores, first, second, np.ones(len(scores))),
        (kept.scores, kept.first, kept.second, kept.repeats),
    ):
        samples = PairSamples(
            counts,
            np.concatenate([who, a]),
            np.concatenate([who, b]),
            np.concatenate([np.ones(len(who)), repeats]),
        )
        both = np.concatenate([genuine, other])
        is_genuine = np.arange(len(both)) < len(who)
        found.append(verification_samples(both, is_genuine, samples, [1e-3, 1e-2]))
    for name in found[0]:
        whole, some = (interval(drawn[name]) for drawn in found)
        width = whole.high - whole.low
        np.testing.assert_allclose(some, whole, atol=0.12 * width, err_msg=name)
