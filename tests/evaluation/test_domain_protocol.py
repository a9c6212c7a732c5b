"""The domain protocol by hand, by brute force, and by what must not change it."""

import itertools

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation import (
    AllPairs,
    PairSamples,
    domain_protocol,
    identity_samples,
    interval,
    results_of,
    verification_samples,
)


def faces(people=20, easy=3, hard=2, noise=(0.3, 1.0, 2.0), seed=0):
    """Embeddings around a centre per identity; a domain for each noise, the first is easy."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(people, 16))
    embeddings, labels, domains = [], [], []
    for name, level in zip(("easy", "hazy", "dark"), noise):
        for _ in range(easy if name == "easy" else hard):
            embeddings.append(centers + level * rng.normal(size=centers.shape))
            labels.append(np.arange(people) + 100)
            domains.append([name] * people)
    return np.concatenate(embeddings), np.concatenate(labels), np.concatenate(domains)


def test_by_hand():
    # Two people, at 0 and 90 degrees; a's hard image is 60 degrees off, nearer to b.
    degrees = np.deg2rad([0, 0, 90, 60])
    embeddings = 5 * np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    results = domain_protocol(
        embeddings, ["a", "a", "b", "a"], ["easy", "easy", "easy", "hard"], easy="easy", fars=[1.0]
    )
    easy, hard = results["easy"].metrics, results["hard"].metrics
    assert (easy["rank_1"], easy["positive_mean"]) == (1, 1)
    assert (easy["genuine"], easy["impostors"]) == (1, 1)
    assert easy["separation"] == pytest.approx(1.0)
    assert (hard["rank_1"], hard["rank_5"], hard["eer"]) == (0, 1, 1)
    assert hard["positive_mean"] == pytest.approx(0.5)
    assert hard["negative_mean"] == pytest.approx(3**0.5 / 2)
    assert hard["gap"] == pytest.approx(1 - (0.5 - 3**0.5 / 2))
    # Two identities cannot make two folds without a common one.
    assert np.isnan(easy["accuracy"]) and np.isnan(hard["accuracy"])


@pytest.mark.parametrize("domain", ["easy", "dark"])
def test_means_are_those_of_all_pairs(domain):
    embeddings, labels, domains = faces()
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    easy = np.flatnonzero(domains == "easy")
    if domain == "easy":
        pairs = np.array(list(itertools.combinations(easy, 2)))
    else:
        pairs = np.array(list(itertools.product(np.flatnonzero(domains == domain), easy)))
    cosines = np.sum(unit[pairs[:, 0]] * unit[pairs[:, 1]], axis=1)
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    for most in (200_000, 50):
        result = domain_protocol(embeddings, labels, domains, easy="easy", max_similarities=most)
        metrics, similarities = result[domain].metrics, result[domain].similarities
        assert metrics["positive_mean"] == pytest.approx(cosines[same].mean())
        assert metrics["negative_mean"] == pytest.approx(cosines[~same].mean())
        assert len(similarities.positive) == min(most, same.sum())
        assert len(similarities.negative) <= most


def test_harder_is_worse():
    results = domain_protocol(*faces(people=60), easy="easy", fars=[0.01])
    assert list(results) == ["easy", "dark", "hazy"]
    for metric in ("rank_1", "rank_5", "accuracy", "tar_at_far_0.01", "separation"):
        values = [results[name].metrics[metric] for name in ("easy", "hazy", "dark")]
        assert values[0] > values[1] > values[2], metric
    assert 0 < results["hazy"].metrics["gap"] < results["dark"].metrics["gap"]
    assert "gap" not in results["easy"].metrics


def test_same_seed_same_numbers_and_only_the_accuracy_depends_on_it():
    first, again, other = (domain_protocol(*faces(), easy="easy", seed=s) for s in (1, 1, 2))
    seeded = {"accuracy", "accuracy_std", "threshold", "accuracy_low", "accuracy_high"}
    for name, result in first.items():
        np.testing.assert_equal(dict(result.metrics), dict(again[name].metrics))
        for metric in set(result.metrics) - seeded:
            np.testing.assert_equal(result.metrics[metric], other[name].metrics[metric])
    assert first["dark"].metrics["accuracy"] != other["dark"].metrics["accuracy"]


def test_a_domain_does_not_change_another():
    embeddings, labels, domains = faces()
    kept = domains != "hazy"
    alone = domain_protocol(embeddings[kept], labels[kept], domains[kept], easy="easy")
    for name, result in alone.items():
        both = domain_protocol(embeddings, labels, domains, easy="easy")
        np.testing.assert_equal(dict(result.metrics), dict(both[name].metrics))


def test_scale_and_the_order_of_hard_images_do_not_matter():
    embeddings, labels, domains = faces()
    rng = np.random.default_rng(5)
    order = np.concatenate([np.arange(60), 60 + rng.permutation(80)])
    scale = np.exp(rng.normal(size=(140, 1)))
    expected = domain_protocol(embeddings, labels, domains, easy="easy")
    result = domain_protocol(
        (scale * embeddings)[order], labels[order], domains[order], easy="easy"
    )
    for name in expected:
        for metric in ("rank_1", "eer", "tar_at_far_0.01", "separation"):
            value = expected[name].metrics[metric]
            found = result[name].metrics[metric]
            assert found == pytest.approx(value, rel=1e-12, nan_ok=True), metric


def test_equal_embeddings_are_chance():
    embeddings, labels, domains = faces()
    results = domain_protocol(np.ones_like(embeddings), labels, domains, easy="easy", fars=[0.1])
    for result in results.values():
        metrics = result.metrics
        assert metrics["rank_1"] == 0 and metrics["accuracy"] == 0.5
        assert metrics["separation"] == pytest.approx(0, abs=1e-12)


def test_a_far_that_cannot_be_measured_is_nan():
    # 20 people: 40 easy probes with 19 impostors each, 760 in all: 30 false accepts are 3.9 %.
    metrics = domain_protocol(*faces(), easy="easy", fars=[0.04, 0.039])["easy"].metrics
    assert metrics["impostors"] == 760
    assert metrics["tar_at_far_0.04"] > 0 and np.isnan(metrics["tar_at_far_0.039"])
    assert metrics["false_accepts_at_far_0.04"] <= 30


def test_folds_share_no_identity_and_impostors_stay_inside(monkeypatch):
    from ddl_jax.evaluation import domains as module

    embeddings, labels, domains = faces(people=23)
    seen = {}

    def distances(unit, first, second):
        seen["pairs"] = first, second
        return np.zeros(len(first))

    def accuracy(distance, same, folds):
        seen["same"], seen["folds"] = same, folds
        return {"accuracy": 0.0, "accuracy_std": 0.0, "thresholds": [0.0]}

    monkeypatch.setattr(module, "pair_distances", distances)
    monkeypatch.setattr(module, "distance_accuracy", accuracy)
    domain_protocol(embeddings, labels, domains, easy="easy", max_pairs=80)  # ends with hazy
    first, second = (labels[rows] for rows in seen["pairs"])
    np.testing.assert_array_equal(first == second, seen["same"])
    assert seen["same"].sum() == 80 and len(first) == 160
    assert set(domains[seen["pairs"][0]]) == {"hazy"} and set(domains[seen["pairs"][1]]) == {"easy"}
    fold_of = {}
    for person, fold in zip(np.append(first, second), np.tile(seen["folds"], 2)):
        assert fold_of.setdefault(person, fold) == fold
    assert len(set(fold_of.values())) == 10


def test_results_by_protocol():
    results = results_of("domains", domain_protocol(*faces(), easy="easy"))
    assert list(results) == ["domains/easy", "domains/dark", "domains/hazy"]
    assert {"rank_1", "gap", "tar_at_far_0.01"} <= set(results["domains/dark"])


@pytest.mark.parametrize(
    "labels, domains, message",
    [
        ("aabb", "hhhh", "no image of the easy domain 'e': name one of 'h'"),
        ("aaaa", "eehh", "all images are of identity a"),
        ("aabb", "eehh", "identity b has images of domain 'h' and none of the easy domain 'e'"),
        ("abab", "eehh", "no identity has two images"),
    ],
)
def test_refuses_in_one_line(labels, domains, message):
    with pytest.raises(UserError, match=message) as error:
        domain_protocol(np.eye(4), list(labels), list(domains), easy="e")
    assert "\n" not in str(error.value)


def test_refuses_arrays_that_do_not_agree():
    with pytest.raises(ValueError, match="4 embeddings, 3 labels and 4 domains"):
        domain_protocol(np.eye(4), list("aab"), list("eeee"), easy="e")


def test_moments_of_all_pairs_without_forming_them():
    embeddings, labels, domains = faces()
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = unit @ unit[domains == "easy"].T
    results = domain_protocol(embeddings, labels, domains, easy="easy")
    genuine = labels[:, None] == labels[domains == "easy"]
    for name, result in results.items():
        rows = domains == name
        impostors = cosines[rows][~genuine[rows]]
        own = cosines[rows][genuine[rows] & (cosines[rows] < 1 - 1e-9)]  # not an image with itself
        spread = np.sqrt((own.var() + impostors.var()) / 2)
        expected = (own.mean() - impostors.mean()) / spread
        assert result.metrics["d_prime"] == pytest.approx(expected, rel=1e-9)


def test_bounds_are_those_of_copied_people():
    embeddings, labels, domains = faces(noise=(0.8, 1.5, 2.0))
    results = domain_protocol(embeddings, labels, domains, easy="easy", samples=300)
    counts = identity_samples(20, 300)
    easy, dark = (
        AllPairs.of(embeddings, labels, np.flatnonzero(domains == "easy")),
        AllPairs.of(
            embeddings, labels, np.flatnonzero(domains == "dark"), np.flatnonzero(domains == "easy")
        ),
    )
    drawn = []
    for pairs in (easy, dark):
        copies = PairSamples(counts, pairs.first - 100, pairs.second - 100)
        found = verification_samples(pairs.scores, pairs.genuine, copies, ())
        drawn.append(found["separation"])
    metrics = results["dark"].metrics
    for name, values in (("separation", drawn[1]), ("gap", drawn[0] - drawn[1])):
        expected = interval(values)
        assert metrics[name] == pytest.approx(expected.value)
        assert metrics[f"{name}_low"] == pytest.approx(expected.low)
        assert metrics[f"{name}_high"] == pytest.approx(expected.high)
    for k in (1, 5):
        low, value, high = (metrics[f"rank_{k}{end}"] for end in ("_low", "", "_high"))
        assert low < value < high


@pytest.mark.parametrize("level", [0.8, 3.0])
def test_bounds_of_d_prime_are_those_of_copied_people_nearly(level):
    # 115,200 impostor pairs, of which none is left out.
    data = embeddings, labels, domains = faces(people=60, easy=8, hard=4, noise=(0.6, level))
    results = domain_protocol(*data, easy="easy", samples=300, max_similarities=1000)
    pairs = AllPairs.of(
        embeddings, labels, *(np.flatnonzero(domains == d) for d in domains[[-1, 0]])
    )
    copies = PairSamples(identity_samples(60, 300), pairs.first - 100, pairs.second - 100)
    expected = interval(verification_samples(pairs.scores, pairs.genuine, copies, ())["d_prime"])
    metrics = results["hazy"].metrics
    width = expected.high - expected.low
    assert metrics["d_prime"] == pytest.approx(expected.value)
    assert metrics["d_prime_high"] - metrics["d_prime_low"] == pytest.approx(width, rel=0.06)
    for end in ("low", "high"):
        assert metrics[f"d_prime_{end}"] == pytest.approx(getattr(expected, end), abs=0.06 * width)


@pytest.mark.parametrize("most", [1, 2])
def test_a_picture_of_few_similarities_has_both_kinds(most):
    for seed in range(5):
        results = domain_protocol(
            *faces(people=3), easy="easy", seed=seed, samples=10, max_similarities=most
        )
        for result in results.values():
            assert 1 <= len(result.similarities.negative) <= most
            assert len(result.similarities.positive) == most
    with pytest.raises(ValueError, match="max_similarities=0: give 1 or more"):
        domain_protocol(*faces(people=3), easy="easy", max_similarities=0)


def test_two_people_have_values_and_no_bounds():
    # A half of all samples draws one of the two alone, and so no impostor pair.
    for seed in range(5):
        for result in domain_protocol(*faces(people=2, seed=seed), easy="easy").values():
            metrics = result.metrics
            assert np.isfinite(metrics["separation"])
            assert np.isnan([metrics["separation_low"], metrics["separation_high"]]).all()
