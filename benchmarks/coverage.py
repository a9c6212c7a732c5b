"""How often do bootstrap intervals hold the truth?

    python -m benchmarks.coverage --people=60 --gap=1

Scores of all pairs of images of people with two images each, made with an effect of each person, so
that pairs which share one are alike and the truth of every measure is known. For each measure: the
share of tries whose 95 % interval holds it, resampling identities, and resampling pairs.

`domain_protocol` has samples of its own, of embeddings: what its intervals of a hard domain hold is
in lines of their own. The truth is there that of 100,000 people.
"""

import argparse
import functools
from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy import stats

from ddl_jax.evaluation import PairSamples, domain_protocol, interval, verification_samples
from ddl_jax.evaluation.pair_moments import Images, ImpostorMoments

_IMAGES = 2
_PERSON, _NOISE = 0.5, 0.3  # standard deviations
_FAR = 0.1
_DIRECTIONS = 16  # of embeddings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--gap", type=float, default=1, help="E[S+] - E[S-]")
    parser.add_argument("--tries", type=int, default=150)
    parser.add_argument("--samples", type=int, default=200, help="of the bootstrap")
    options = parser.parse_args()
    found = {}
    for kinds in held(options.people, options.gap, options.tries, options.samples):
        for key, holds in kinds.items():
            found[key] = found.get(key, 0) + holds
    for name, truth in truths(options.gap).items():
        shares = (f"{kind} {found[kind, name] / options.tries:.2f}" for kind in _KINDS)
        print(f"{name} = {truth:.3f} held: " + ", ".join(shares))
    of_domain = Counter()
    for one in held_of_domain(options.people, options.tries, options.samples):
        of_domain.update(one)
    for name, truth in truths_of_domain().items():
        share = of_domain[name] / options.tries
        print(f"{name} of a hard domain = {truth:.3f} held: {share:.2f}")


def truths(gap: float) -> dict[str, float]:
    """What the measures of `_scores` are for infinitely many people."""
    genuine, impostor = np.hypot(_PERSON, _NOISE), np.hypot(np.sqrt(2) * _PERSON, _NOISE)
    return {
        "separation": gap,
        f"tar_at_far_{_FAR:g}": stats.norm.sf(stats.norm.isf(_FAR) * impostor, gap, genuine),
        "auc": stats.norm.cdf(gap / np.hypot(genuine, impostor)),
        "eer": stats.norm.sf(gap / (genuine + impostor)),
        "d_prime": gap / np.sqrt((genuine**2 + impostor**2) / 2),
    }


_KINDS = ("identities", "pairs")


def held(
    people: int, gap: float, tries: int, samples: int
) -> Iterator[dict[tuple[str, str], bool]]:
    """Try by try, {(what is resampled, measure): whether its interval holds the truth}."""
    rng = np.random.default_rng(0)
    for seed in range(tries):
        scores, first, second = _scores(rng, people, gap)
        drawn = (
            PairSamples.of_identities(first, second, samples=samples, seed=seed),
            PairSamples.of_pairs(len(first), samples=samples, seed=seed),
        )
        yield {
            (kind, name): _holds(values[name], truth)
            for kind, pairs in zip(_KINDS, drawn)
            for values in [verification_samples(scores, first == second, pairs, (_FAR,))]
            for name, truth in truths(gap).items()
        }


def _holds(values: np.ndarray, truth: float) -> bool:
    _, low, high = interval(values)
    return bool(low <= truth <= high)


def _scores(
    rng: np.random.Generator, people: int, gap: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scores, identities of the first, of the second) of all pairs of images."""
    effect, likeness = rng.normal(0, _PERSON, (2, people))
    identity = np.repeat(np.arange(people), _IMAGES)
    a, b = np.triu_indices(len(identity), 1)
    first, second = identity[a], identity[b]
    means = np.where(first == second, gap + likeness[first], effect[first] + effect[second])
    return means + rng.normal(0, _NOISE, len(first)), first, second


def held_of_domain(people: int, tries: int, samples: int) -> Iterator[dict[str, bool]]:
    """Try by try, {measure: whether its interval of a hard domain holds the truth}."""
    rng, truth = np.random.default_rng(1), truths_of_domain()
    for _ in range(tries):
        rows, domains = _embeddings(rng, people)
        labels = np.tile(np.arange(people), 2 * _IMAGES)
        results = domain_protocol(rows, labels, domains, easy="easy", samples=samples)
        found = results["hard"].metrics
        yield {
            name: bool(found[f"{name}_low"] <= value <= found[f"{name}_high"])
            for name, value in truth.items()
        }


@functools.cache
def truths_of_domain(people: int = 100_000) -> dict[str, float]:
    """What the measures of `_embeddings` are for very many people."""
    rows, domains = _embeddings(np.random.default_rng(2), people)
    identity = np.tile(np.arange(people), _IMAGES)
    hard, easy = (
        Images(part / np.linalg.norm(part, axis=1, keepdims=True), identity)
        for part in (rows[domains == "hard"], rows[domains == "easy"])
    )
    shifts = [people * shift for shift in range(_IMAGES)]  # to another image of the same person
    own = np.concatenate(
        [np.sum(hard.rows * np.roll(easy.rows, s, axis=0), axis=1) for s in shifts]
    )
    impostors = ImpostorMoments.of(hard, easy, people, own, np.tile(identity, _IMAGES))
    separation = np.mean(own) - impostors.mean
    spread = np.sqrt((np.var(own) + impostors.variance) / 2)
    return {"separation": float(separation), "d_prime": float(separation / spread)}


def _embeddings(rng: np.random.Generator, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and domains, image by image of all people.

    People are more or less like the common face, and their hard images more or less hard.
    """
    centers = rng.normal(size=(people, _DIRECTIONS)) + rng.normal(0.5, 0.5, (people, 1))
    hardness = np.exp(rng.normal(0, 0.4, (people, 1)))
    noises = rng.normal(size=(2 * _IMAGES, people, _DIRECTIONS))
    images = [
        centers + noise * (0.6 if number < _IMAGES else 1.5 * hardness)
        for number, noise in enumerate(noises)
    ]
    return np.concatenate(images), np.repeat(["easy", "hard"], _IMAGES * people)


if __name__ == "__main__":
    main()
