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
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from ddl_jax.errors import UserError
from ddl_jax.evaluation.bootstrap import PairSamples, identity_samples, share_samples
from ddl_jax.evaluation.evidence import Evidence, pair_evidence, people_or_pairs
from ddl_jax.evaluation.hardest import HardPair, hardest_pairs
from ddl_jax.evaluation.identification import identification_ranks
from ddl_jax.evaluation.impostors import ImpostorPairs
from ddl_jax.evaluation.resampled import accuracy_samples, moments
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

_SPREAD_PAIRS = 20_000  # impostor pairs whose variance bootstrap samples are of


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
        max_similarities: the most similarities of either kind given back for pictures.

    Raises:
        UserError: no image of the easy domain, one identity only, an identity without an easy
            image, or no identity with two.
        ValueError: shapes that do not agree, or embeddings that are not finite.
    """
    domains = np.asarray(domains).astype(str)
    unit = unit_rows(embeddings)
    if not len(unit) == len(labels) == len(domains):
        raise ValueError(
            f"{len(unit)} embeddings, {len(labels)} labels and {len(domains)} domains: "
            "give one of each for every image"
        )
    people = _People.of(np.asarray(labels), domains, easy)
    counts = identity_samples(len(people.count), samples)
    easy_sums = _sums(people, people.easy_rows, unit[people.easy_rows])
    results: dict[str, ProtocolResult] = {}
    for name in map(str, [easy, *np.setdiff1d(domains, easy)]):
        images = people.easy_rows if name == easy else np.flatnonzero(domains == name)
        results[name] = _of_domain(
            unit,
            people,
            images,
            easy_sums,
            results.get(easy),
            np.random.default_rng([seed, zlib.crc32(name.encode())]),
            counts,
            fars,
            max_pairs,
            max_similarities,
        )
    return results


def _of_domain(
    unit: np.ndarray,
    people: _People,
    images: np.ndarray,
    easy_sums: np.ndarray,
    easy: ProtocolResult | None,
    rng: np.random.Generator,
    counts: np.ndarray,
    fars: Sequence[float],
    max_pairs: int,
    max_similarities: int,
) -> ProtocolResult:
    """The result of a domain's images; `easy` is that of the easy domain, which has none."""
    probes = np.setdiff1d(images, people.gallery)
    pairs = _genuine_pairs(people, images, unordered=easy is None)
    positive = pair_cosines(unit, *pairs)
    sums = _sums(people, images, unit[images]), easy_sums
    impostors = _some_impostors(people, images, rng, max_similarities)
    similarities = _similarities(
        unit, people, images, positive, impostors, sums, rng, max_similarities
    )
    roc, evidence, hardest = _gallery_roc(unit, people, probes, counts, fars)
    separations = _separations(people, images, pairs[0], positive, sums, counts)
    spreads = _spreads(people, pairs[0], positive, impostors, similarities, counts)
    evidence.drawn["separation"] = separations
    evidence.drawn["d_prime"] = _quotient(separations, spreads)
    metrics = {
        "images": len(images),
        "identities": len(np.unique(people.identity[images])),
        "probes": len(probes),
        **_ranks(unit, people, probes, counts, evidence),
        **_verification(unit, people, pairs, rng, max_pairs, counts, evidence),
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


def _ranks(
    unit: np.ndarray,
    people: _People,
    probes: np.ndarray,
    counts: np.ndarray,
    evidence: Evidence,
) -> dict[str, float]:
    ids, gallery = people.identity, people.gallery
    ranks = identification_ranks(unit[probes], ids[probes], unit[gallery], ids[gallery])
    for k in (1, 5):
        evidence.drawn[f"rank_{k}"] = share_samples(ranks <= k, ids[probes], counts)
        evidence.right[f"rank_{k}"] = ranks <= k
    return {f"rank_{k}": float(evidence.drawn[f"rank_{k}"][0]) for k in (1, 5)}


def _gallery_roc(
    unit: np.ndarray,
    people: _People,
    probes: np.ndarray,
    counts: np.ndarray,
    fars: Sequence[float],
) -> tuple[RocCurve, Evidence, list[HardPair]]:
    """Of all cosines of a probe and the gallery's image of anybody."""
    gallery = people.gallery  # row i is identity i
    identity = people.identity[probes]
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
        PairSamples(counts, identity[rows], others, repeats),
        fars,
        rests_on=people_or_pairs(len(gallery), len(scores)),
    )
    for name in ("separation", "d_prime"):  # which are over more pairs
        del evidence.drawn[name]
    hardest = hardest_pairs(scores, identity[rows] == others, probes[rows], gallery[others])
    return roc, evidence, hardest


def _genuine_pairs(
    people: _People, images: np.ndarray, *, unordered: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of an image and an easy image of its identity -> (images[m], easy images[m]).

    With `unordered`, `images` are the easy images themselves, and a pair of two comes once.
    """
    first, second = same_identity_pairs(people.identity[images], people.identity[people.easy_rows])
    if unordered:
        once = first < second
        first, second = first[once], second[once]
    return images[first], people.easy_rows[second]


def _some_impostors(
    people: _People, images: np.ndarray, rng: np.random.Generator, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an image and an easy image of someone else: all, or those of `most` pairs."""
    drawn = _sample(rng, len(images) * len(people.easy_rows), most)
    first, second = np.divmod(drawn, len(people.easy_rows))
    first, second = images[first], people.easy_rows[second]
    other = people.identity[first] != people.identity[second]
    return first[other], second[other]


def _similarities(
    unit: np.ndarray,
    people: _People,
    images: np.ndarray,
    positive: np.ndarray,
    impostors: tuple[np.ndarray, np.ndarray],
    sums: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
    most: int,
) -> Similarities:
    """Cosines of genuine pairs and of pairs of an image and an easy image of someone else."""
    negative_mean, negative_std = _negatives(unit, people, images, sums)
    return Similarities(
        positive=positive[_sample(rng, len(positive), most)],
        negative=pair_cosines(unit, *impostors),
        positive_mean=float(np.mean(positive)),
        negative_mean=negative_mean,
        positive_std=float(np.std(positive)),
        negative_std=negative_std,
    )


def _sums(people: _People, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of `values` of images over each identity."""
    sums = np.zeros((len(people.count), *values.shape[1:]))
    np.add.at(sums, people.identity[rows], values)
    return sums


def _negatives(
    unit: np.ndarray,
    people: _People,
    images: np.ndarray,
    sums: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float]:
    """E[S-] and its standard deviation over all pairs without forming one of two people.

    A sum of cosines is the dot product of two sums, a sum of their squares that of two Gram
    matrices; what one identity adds to either is taken away. `sums` are the images' own and the
    easy ones' over each identity.
    """
    easy_rows, (ours, easy) = people.easy_rows, sums
    total = ours.sum(axis=0) @ easy.sum(axis=0) - np.sum(ours * easy)
    squares = np.sum((unit[images].T @ unit[images]) * (unit[easy_rows].T @ unit[easy_rows]))
    squares -= np.sum(pair_cosines(unit, *_genuine_pairs(people, images, unordered=False)) ** 2)
    count = len(images) * len(easy_rows) - np.sum(people.count[people.identity[images]])
    mean = total / count
    return float(mean), float(np.sqrt(max(0, squares / count - mean**2)))


def _separations(
    people: _People,
    images: np.ndarray,
    first: np.ndarray,
    positive: np.ndarray,
    sums: tuple[np.ndarray, np.ndarray],
    counts: np.ndarray,
) -> np.ndarray:
    """E[S+] - E[S-] of every bootstrap sample `[S + 1]`; `first` are the images of `positive`."""
    weights, (ours, easy) = counts.astype(np.float64), sums
    sizes = np.bincount(people.identity[images], minlength=len(people.count))
    # Pairs of i and j count w_i w_j times: all of them, less those of one identity.
    total = np.einsum("sd,sd->s", weights @ ours, weights @ easy)
    total -= np.square(weights) @ np.sum(ours * easy, axis=1)
    count = (weights @ sizes) * (weights @ people.count)
    count -= np.square(weights) @ (sizes * people.count)
    genuine = np.bincount(people.identity[first], minlength=len(people.count))
    own = _quotient(weights @ _sums(people, first, positive), weights @ genuine)
    return own - _quotient(total, count)


def _spreads(
    people: _People,
    first: np.ndarray,
    positive: np.ndarray,
    impostors: tuple[np.ndarray, np.ndarray],
    similarities: Similarities,
    counts: np.ndarray,
) -> np.ndarray:
    """The root mean variance of S+ and S- of every bootstrap sample `[S + 1]`.

    That of S+ is of all pairs `first`; that of S- is that of all, times what it is in a sample to
    what it is in the data as they are, both of some of the pairs `impostors`.
    """
    weights = counts.astype(np.float64)
    size = weights @ np.bincount(people.identity[first], minlength=len(people.count))
    centred = positive - np.mean(positive)
    mean, square = (
        _quotient(weights @ _sums(people, first, each), size) for each in (centred, centred**2)
    )
    some = slice(None, None, -(-len(impostors[0]) // _SPREAD_PAIRS))
    units = (people.identity[side[some]] for side in impostors)
    blocks = PairSamples(counts, *units).blocks()
    with np.errstate(invalid="ignore"):  # a sample without any
        other = np.concatenate([moments(similarities.negative[some], w)[1] for w in blocks])
    other = _quotient(other * similarities.negative_std**2, np.full(len(other), other[0]))
    return np.sqrt((np.maximum(square - mean**2, 0) + other) / 2)


def _quotient(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means; NaN, whatever rounding left of the sum, of a sample without a pair."""
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _verification(
    unit: np.ndarray,
    people: _People,
    pairs: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
    most: int,
    counts: np.ndarray,
    evidence: Evidence,
) -> dict[str, float]:
    """Accuracy over genuine pairs and as many impostors, in folds which share no identity.

    The identities are dealt to 10 folds, or to as many as leave each two identities; fewer than
    two folds give NaN. Each genuine pair has one impostor pair: its image with an easy image
    drawn from the other identities of its fold.
    """
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
    distances, same = pair_distances(unit, first, second), np.repeat([True, False], len(drawn))
    accuracy = distance_accuracy(distances, same, folds=fold)
    samples = PairSamples(counts, people.identity[first], people.identity[second])
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
