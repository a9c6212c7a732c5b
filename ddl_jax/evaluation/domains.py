"""The domain protocol: how far the hard domains of a data set are from the easy one.

For a data set whose images carry an identity and a domain, one of them easy:

* **gallery**: the first easy image of every identity, in the order given; **probes**: all other
  easy images for the easy domain, all its images for a hard domain.
* `rank_1`, `rank_5`: probes whose identity is among the 1 or 5 most similar gallery images.
* `tar_at_far_*`, `threshold_at_far_*`, `false_accepts_at_far_*`, `eer`, `auc`, `overlap`: over all
  probe-gallery cosines, `genuine` and `impostors` of them; a TAR is NaN where FAR * impostors < 30.
* `positive_mean` E[S+], `negative_mean` E[S-], `separation` E[S+] - E[S-]: over all pairs of a
  domain's image and an easy image (easy: all pairs of two easy images), as in Fig. 1 of the DDL
  paper; `d_prime`, the separation over the root mean variance of the two. `gap` =
  separation(easy) - separation(domain), for hard domains.
* `accuracy`, `accuracy_std`, `threshold`: 10-fold `verification_accuracy` over `pairs` pairs, half
  of them genuine (those of the separation, or a sample of `max_pairs`); see `_verification`.

All these but the accuracy are exact and do not depend on the seed. All rates, `separation`,
`d_prime` and `gap` have bounds `*_low` and `*_high`: 95 % over bootstrap samples of identities, for
ranks against the whole gallery, the same samples for every domain, seed and run
(`evaluation.bootstrap`).
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from ddl_jax.errors import UserError
from ddl_jax.evaluation.bootstrap import PairSamples, identity_samples, share_samples
from ddl_jax.evaluation.evidence import Evidence, pair_evidence, people_or_pairs
from ddl_jax.evaluation.hardest import HardPair, hardest_pairs
from ddl_jax.evaluation.identification import identification_ranks
from ddl_jax.evaluation.impostors import ImpostorPairs
from ddl_jax.evaluation.pair_moments import (
    Images,
    ImpostorMoments,
    genuine_moments,
    quotient,
)
from ddl_jax.evaluation.resampled import accuracy_samples
from ddl_jax.evaluation.result import (
    FARS,
    ProtocolResult,
    accuracy_metrics,
    roc_metrics,
    separation_metrics,
    with_bounds,
)
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import (
    MOST_SHOWN,
    Similarities,
    cosine_blocks,
    pair_cosines,
    pair_distances,
    same_identity_pairs,
    unit_rows,
)
from ddl_jax.evaluation.verification import decided_rightly, distance_accuracy


def domain_protocol(
    embeddings: np.ndarray,
    labels: np.ndarray,
    domains: np.ndarray,
    *,
    easy: str,
    seed: int = 0,
    fars: Sequence[float] = FARS,
    samples: int = 1000,
    max_pairs: int = 20_000,
    max_similarities: int = MOST_SHOWN,
) -> dict[str, ProtocolResult]:
    """Rank, verification, TAR@FAR and separation of every domain -> {domain: result}, easy first.

    Args:
        embeddings: `[n, D]`, normalised here.
        labels: `[n]` identities.
        domains: `[n]` names of domains; hard domains come back in alphabetical order.
        easy: the name of the easy domain.
        seed: draws the impostor pairs and folds of the accuracy, and samples. A domain draws
            its own numbers: adding one does not change the others.
        fars: targets of TAR@FAR.
        samples: of the bootstrap.
        max_pairs: the most genuine pairs of the accuracy, drawn with the seed if there are more.
        max_similarities: the most similarities of either kind given back for pictures, 1 or more.

    Raises:
        UserError: no image of the easy domain, one identity only, an identity without an easy
            image, or no identity with two.
        ValueError: shapes that do not agree, embeddings that are not finite, or no similarities.
    """
    if max_similarities < 1:
        raise ValueError(f"max_similarities={max_similarities}: give 1 or more")
    domains = np.asarray(domains).astype(str)
    unit = unit_rows(embeddings)
    if not len(unit) == len(labels) == len(domains):
        raise ValueError(
            f"{len(unit)} embeddings, {len(labels)} labels and {len(domains)} domains: "
            "give one of each for every image"
        )
    people = _People.of(np.asarray(labels), domains, easy)
    counts = identity_samples(len(people.count), samples)
    results: dict[str, ProtocolResult] = {}
    for name in map(str, [easy, *np.setdiff1d(domains, easy)]):
        domain = _Domain(
            unit,
            people,
            people.easy_rows if name == easy else np.flatnonzero(domains == name),
            is_easy=name == easy,
            counts=counts,
            rng=np.random.default_rng([seed, zlib.crc32(name.encode())]),
        )
        results[name] = _of_domain(domain, results.get(easy), fars, max_pairs, max_similarities)
    return results


def _of_domain(
    domain: _Domain,
    easy: ProtocolResult | None,
    fars: Sequence[float],
    max_pairs: int,
    max_similarities: int,
) -> ProtocolResult:
    """The result of a domain; `easy` is that of the easy domain, which has none."""
    pairs = domain.genuine_pairs(once=True)
    positive = pair_cosines(domain.unit, *pairs)
    impostors = _impostor_moments(domain)
    similarities = _similarities(domain, positive, impostors, max_similarities)
    roc, evidence, hardest = _gallery_roc(domain, fars)
    evidence.drawn.update(_separations(domain, pairs[0], positive, impostors))
    identity = domain.people.identity
    metrics = {
        "images": len(domain.images),
        "identities": len(np.unique(identity[domain.images])),
        "probes": len(domain.probes),
        **_ranks(domain, evidence),
        **_verification(domain, pairs, max_pairs, evidence),
        **roc_metrics(roc, fars),
        **separation_metrics(similarities),
    }
    if easy is not None:
        metrics["gap"] = easy.metrics["separation"] - metrics["separation"]
        easy_drawn = easy.evidence.drawn["separation"]
        evidence.drawn["gap"] = easy_drawn - evidence.drawn["separation"]
    metrics = with_bounds(metrics, evidence.drawn)
    return ProtocolResult(metrics, similarities, roc, evidence, hardest)


def check_domains(labels: np.ndarray, domains: np.ndarray, *, easy: str) -> None:
    """Raises the UserError of `domain_protocol` for data on which it cannot be run."""
    _People.of(np.asarray(labels), np.asarray(domains).astype(str), easy)


@dataclasses.dataclass(frozen=True)
class _People:
    """Easy images by identity: `easy_rows[start[i]:][:count[i]]` are those of identity i."""

    identity: np.ndarray  # [n], 0..I-1
    easy_rows: np.ndarray
    start: np.ndarray  # [I]
    count: np.ndarray  # [I]

    @property
    def gallery(self) -> np.ndarray:
        """The first easy image of every identity `[I]`."""
        return self.easy_rows[self.start]

    @classmethod
    def of(cls, labels: np.ndarray, domains: np.ndarray, easy: str) -> _People:
        names, identity = np.unique(labels, return_inverse=True)
        rows = np.flatnonzero(domains == easy)
        rows = rows[np.argsort(identity[rows], kind="stable")]
        count = np.bincount(identity[rows], minlength=len(names))
        if len(rows) == 0:
            raise UserError(
                f"no image of the easy domain {easy!r}: name one of "
                + (", ".join(map(repr, map(str, np.unique(domains)))) or "(there is no image)")
            )
        if len(names) == 1:
            raise UserError(
                f"all images are of identity {names[0]}: give at least 2 identities; of a folder, "
                "the one whose sub-folders they are"
            )
        if not count.all():
            name = names[np.argmin(count)]
            other = domains[labels == name][0]
            raise UserError(
                f"identity {name} has images of domain {str(other)!r} and none of the easy domain "
                f"{easy!r} ({np.sum(count == 0)} such identities): add one or leave it out"
            )
        if count.max() == 1:
            raise UserError(
                f"no identity has two images of the easy domain {easy!r}: one is the gallery, "
                "give at least one identity another"
            )
        return cls(identity, rows, np.cumsum(count) - count, count)


@dataclasses.dataclass(frozen=True)
class _Domain:
    """A domain's images, by number, among all; its own numbers to draw, and everyone's samples."""

    unit: np.ndarray
    people: _People
    images: np.ndarray
    is_easy: bool
    counts: np.ndarray  # [S + 1, I]
    rng: np.random.Generator

    @functools.cached_property
    def probes(self) -> np.ndarray:
        return np.setdiff1d(self.images, self.people.gallery)

    def genuine_pairs(self, *, once: bool) -> tuple[np.ndarray, np.ndarray]:
        """Every pair of an image and an easy image of its identity -> (images[m], easy images[m]).

        With `once` a pair of two easy images comes once in the easy domain, and none with itself.
        """
        identity, easy_rows = self.people.identity, self.people.easy_rows
        first, second = same_identity_pairs(identity[self.images], identity[easy_rows])
        if once and self.is_easy:  # whose images are the easy ones, in the same order
            ahead = first < second
            first, second = first[ahead], second[ahead]
        return self.images[first], easy_rows[second]


def _ranks(domain: _Domain, evidence: Evidence) -> dict[str, float]:
    unit, probes = domain.unit, domain.probes
    ids, gallery = domain.people.identity, domain.people.gallery
    ranks = identification_ranks(unit[probes], ids[probes], unit[gallery], ids[gallery])
    for k in (1, 5):
        evidence.drawn[f"rank_{k}"] = share_samples(ranks <= k, ids[probes], domain.counts)
        evidence.right[f"rank_{k}"] = ranks <= k
    return {f"rank_{k}": float(evidence.drawn[f"rank_{k}"][0]) for k in (1, 5)}


def _gallery_roc(
    domain: _Domain, fars: Sequence[float]
) -> tuple[RocCurve, Evidence, list[HardPair]]:
    """Of all cosines of a probe and the gallery's image of anybody."""
    unit, probes = domain.unit, domain.probes
    gallery = domain.people.gallery  # row i is identity i
    identity = domain.people.identity[probes]
    kept = ImpostorPairs()  # of a row of `probes` and an identity

    def impostors() -> Iterator[np.ndarray]:
        for part, cosines in cosine_blocks(unit[probes], unit[gallery]):
            row, other = np.nonzero(identity[part, None] != np.arange(len(gallery)))
            scores = cosines[row, other]
            kept.add(scores, part.start + row, other)
            yield scores

    genuine = pair_cosines(unit, probes, gallery[identity])
    roc = RocCurve.from_scores(genuine, impostors())
    scores, rows, others, repeats = kept.with_genuine(genuine, np.arange(len(probes)), identity)
    evidence = pair_evidence(
        scores,
        identity[rows] == others,
        PairSamples(domain.counts, identity[rows], others, repeats),
        fars,
        rests_on=people_or_pairs(len(gallery), len(scores)),
    )
    for name in ("separation", "d_prime"):  # which are over more pairs
        del evidence.drawn[name]
    hardest = hardest_pairs(scores, identity[rows] == others, probes[rows], gallery[others])
    return roc, evidence, hardest


def _impostor_moments(domain: _Domain) -> ImpostorMoments:
    """Of all pairs of an image and an easy image of someone else."""
    unit, people = domain.unit, domain.people
    ours, easy = (
        Images(unit[rows], people.identity[rows]) for rows in (domain.images, people.easy_rows)
    )
    pairs = domain.genuine_pairs(once=False)
    own = pair_cosines(unit, *pairs)
    return ImpostorMoments.of(ours, easy, len(people.count), own, people.identity[pairs[0]])


def _separations(
    domain: _Domain, first: np.ndarray, positive: np.ndarray, impostors: ImpostorMoments
) -> dict[str, np.ndarray]:
    """`separation` and `d_prime` of bootstrap samples; `first` are the images of `positive`."""
    genuine = genuine_moments(positive, domain.people.identity[first], domain.counts)
    other = impostors.samples(domain.counts)
    separation = genuine.mean - other.mean
    spread = np.sqrt((genuine.variance + other.variance) / 2)
    return {"separation": separation, "d_prime": quotient(separation, spread)}


def _similarities(
    domain: _Domain, positive: np.ndarray, impostors: ImpostorMoments, most: int
) -> Similarities:
    """Cosines of genuine pairs and of pairs of an image and an easy image of someone else."""
    negative = pair_cosines(domain.unit, *_some_impostors(domain, most))
    return Similarities(
        positive=positive[_sample(domain.rng, len(positive), most)],
        negative=negative,
        positive_mean=float(np.mean(positive)),
        negative_mean=impostors.mean,
        positive_std=float(np.std(positive)),
        negative_std=float(np.sqrt(impostors.variance)),
    )


def _some_impostors(domain: _Domain, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an image and an easy image of someone else: all, or those of `most` pairs."""
    identity, easy_rows = domain.people.identity, domain.people.easy_rows
    while True:  # until there is one: of few pairs all may be genuine
        drawn = _sample(domain.rng, len(domain.images) * len(easy_rows), most)
        first, second = np.divmod(drawn, len(easy_rows))
        first, second = domain.images[first], easy_rows[second]
        other = identity[first] != identity[second]
        if other.any():
            return first[other], second[other]


def _verification(
    domain: _Domain, pairs: tuple[np.ndarray, np.ndarray], most: int, evidence: Evidence
) -> dict[str, float]:
    """Accuracy over genuine pairs and as many impostors, in folds which share no identity.

    The identities are dealt to 10 folds, or to as many as leave each two identities; fewer than
    two folds give NaN. Each genuine pair has one impostor pair: its image with an easy image
    drawn from the other identities of its fold.
    """
    people, rng = domain.people, domain.rng
    drawn = _sample(rng, len(pairs[0]), most)
    first, second = pairs[0][drawn], pairs[1][drawn]
    members = rng.permutation(np.unique(people.identity[first]))
    folds = min(10, len(members) // 2)
    if folds < 2:
        return {"pairs": 0, "accuracy": np.nan, "accuracy_std": np.nan, "threshold": np.nan}
    fold_of = np.full(len(people.count), -1)
    for fold, part in enumerate(np.array_split(members, folds)):
        fold_of[part] = fold
    fold = fold_of[people.identity[first]]
    impostor = np.empty_like(second)
    for number in range(folds):
        here = fold == number
        impostor[here] = _impostors(people, people.identity[first[here]], fold_of == number, rng)
    first, second, fold = np.tile(first, 2), np.concatenate([second, impostor]), np.tile(fold, 2)
    distances, same = (
        pair_distances(domain.unit, first, second),
        np.repeat([True, False], len(drawn)),
    )
    accuracy = distance_accuracy(distances, same, folds=fold)
    samples = PairSamples(domain.counts, people.identity[first], people.identity[second])
    evidence.drawn["accuracy"] = accuracy_samples(distances, same, samples, folds=fold)
    evidence.right["accuracy"] = decided_rightly(distances, same, folds=fold)
    return {"pairs": len(first), **accuracy_metrics(accuracy)}


def _impostors(
    people: _People, identity: np.ndarray, fold: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """For every identity an easy image of another identity of the fold `[I] bool`."""
    pool = people.easy_rows[fold[people.identity[people.easy_rows]]]  # still by identity
    count = np.where(fold, people.count, 0)
    start = np.cumsum(count) - count
    drawn = rng.integers(0, len(pool) - count[identity])
    # The images of the identity itself are one run of the pool: step over it.
    return pool[drawn + np.where(drawn >= start[identity], count[identity], 0)]


def _sample(rng: np.random.Generator, total: int, most: int) -> np.ndarray:
    """`range(total)`, or `most` of it without repetition."""
    if total <= most:
        return np.arange(total)
    return rng.choice(total, most, replace=False)
