"""IJB-B and IJB-C: verification (1:1) and identification (1:N) of templates.

Papers report different variants of one number. They are named here as insightface's own scripts
do, by three flags: N1 keeps the length of an image's embedding (N0: length 1), D1 multiplies it by
the detector's score, F1 adds the mirror image's.
"""

from __future__ import annotations

import itertools

import numpy as np
from etils import epath

from ddl_jax.config import ProtocolEntry
from ddl_jax.data.linked_groups import linked_groups
from ddl_jax.errors import UserError
from ddl_jax.evaluation.bootstrap import PairSamples, identity_samples
from ddl_jax.evaluation.evidence import Evidence, pair_evidence, people_or_pairs
from ddl_jax.evaluation.gallery_search import search_gallery
from ddl_jax.evaluation.hardest import hardest_pairs
from ddl_jax.evaluation.identification import (
    identification_evidence,
    identification_metrics,
    joined_gallery_rates,
)
from ddl_jax.evaluation.impostors import ImpostorPairs
from ddl_jax.evaluation.protocols.ijb_files import LISTS_1N, IjbFiles, read_ijb
from ddl_jax.evaluation.protocols.images import ImageFiles, fingerprint, missing
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol, check_rows
from ddl_jax.evaluation.result import (
    ProtocolResult,
    roc_metrics,
    separation_metrics,
    with_bounds,
)
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities, pair_cosines, thinned
from ddl_jax.evaluation.verification import tar_at_far, template_features

FPIRS = (1e-2, 1e-1)
FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_AT_ONCE = 2_000_000  # impostor pairs
_FLAGS = [f"N{n}D{d}F{f}" for n, d, f in itertools.product((1, 0), repeat=3)]
PRESETS = {"insightface": "N1D1F1", "adaface": "N1D0F1", "tface": "N0D0F0"}


def open_ijb(entry: ProtocolEntry) -> Protocol:
    """Reads `meta` and `loose_crop`; the images are aligned by their five points.

    The variant is a preset, flags such as N1D0F1, or `all` eight; insightface's and TFace's
    defaults unless it is given.
    """
    if entry.second:
        raise UserError(f"write {entry.kind}=FOLDER, the one that has meta and loose_crop")
    variants = _variants(entry)
    files = read_ijb(entry.path, entry.kind)
    crops = f"{entry.path}/loose_crop"
    if not epath.Path(crops).is_dir():
        raise UserError(f"no folder {crops!r}; give the one that has meta and loose_crop")
    there = {path.name for path in epath.Path(crops).iterdir()}
    missing([name for name in files.names if name not in there], "the image", crops)
    images = ImageFiles(crops, files.names, files.landmarks)
    name, people = entry.kind, _people(files)

    def evaluate(embeddings: np.ndarray) -> dict[str, ProtocolResult]:
        check_rows(embeddings, images)
        results: dict[str, ProtocolResult] = {}
        for variant in variants:
            features, templates = template_features(
                image_features(embeddings, files.detector, variant), files.templates, files.medias
            )
            results[f"{name}/{variant}"] = _verification(features, templates, files, people)
            results |= _identification(f"{name}_1n/{variant}", features, templates, files)
        return results

    card = {
        "data": f"{fingerprint(crops, files.names, *files.hashes)} (meta files; names and sizes "
        "of the images)",
        "templates": f"{len(np.unique(files.templates))} of {len(images)} images",
        "pairs": f"{len(files.same)}, {files.same.sum()} of them genuine",
        "alignment": "five points of the meta file, to ArcFace's 112x112",
        "embedding": "N1 keeps its length, N0 makes it 1; D1 multiplies it by the detector's "
        "score; F1 adds the mirror image's. "
        + ", ".join(f"{flags}: {who}" for who, flags in PRESETS.items()),
        "template": "mean over each media, sum over medias, length 1",
        "error bars": "over pairs, as genuine and impostor pairs contradict each other"
        if people is None
        else f"over {people.max() + 1} people: templates that genuine pairs connect",
        "FAR": "tar_at_far: FAR <= target; tar_at_nearest_far: where FAR is nearest to the target, "
        "be it above, as insightface, TFace and AdaFace do",
        "1:N": _card_1n(files, entry.kind),
    }
    return Protocol(name, images, evaluate, _pairs(files), card, apart=True)


def image_features(embeddings: np.ndarray, detector: np.ndarray, variant: str) -> np.ndarray:
    """What a variant makes of embeddings `[n, 2, D]` (image, mirror image) -> `[n, D]` float32."""
    _, keep, _, score, _, flip = variant
    features = embeddings[:, 0] + embeddings[:, 1] if flip == "1" else embeddings[:, 0]
    if keep == "0":
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        features = features / np.where(norms == 0, 1, norms)
    return features * detector[:, None] if score == "1" else features


def _variants(entry: ProtocolEntry) -> list[str]:
    if not entry.variant:
        return [PRESETS["insightface"], PRESETS["tface"]]
    if entry.variant == "all":
        return _FLAGS
    flags = PRESETS.get(entry.variant, entry.variant)
    if flags not in _FLAGS:
        raise UserError(
            f"no variant {entry.variant!r}; choose {', '.join(PRESETS)}, all, or flags as in N1D0F1"
        )
    return [flags]


def _verification(
    features: np.ndarray, templates: np.ndarray, files: IjbFiles, people: np.ndarray | None
) -> ProtocolResult:
    first, second = (np.searchsorted(templates, each) for each in (files.first, files.second))
    scores = pair_cosines(features, first, second)
    genuine, impostors = scores[files.same], scores[~files.same]
    roc = RocCurve.from_scores(genuine, [impostors])
    similarities = Similarities(
        thinned(genuine),
        thinned(impostors),
        *(float(np.mean(each)) for each in (genuine, impostors)),
        *(float(np.std(each)) for each in (genuine, impostors)),
    )
    nearest = tar_at_far(scores, files.same, FARS, rule="nearest")
    metrics = {
        "templates": len(templates),
        "pairs": len(scores),
        **roc_metrics(roc, FARS),
        **{f"tar_at_nearest_far_{far:g}": float(tar) for far, tar in zip(FARS, nearest)},
        **separation_metrics(similarities),
    }
    evidence = _evidence(scores, files.same, people, first, second)
    _, image = np.unique(files.templates, return_index=True)  # the first of each template
    hardest = hardest_pairs(scores, files.same, image[first], image[second])
    metrics = with_bounds(metrics, evidence.drawn)
    return ProtocolResult(metrics, similarities, roc, evidence, hardest)


def _evidence(
    scores: np.ndarray,
    same: np.ndarray,
    people: np.ndarray | None,
    first: np.ndarray,
    second: np.ndarray,
) -> Evidence:
    """Of all genuine pairs of templates and of some impostors that stand for all."""
    if people is None:
        samples = PairSamples.of_pairs(len(scores))
        counts, first, second = samples.counts, samples.first, samples.second
    else:
        counts = identity_samples(people.max() + 1)
        first, second = people[first], people[second]
    genuine, impostors = np.flatnonzero(same), np.flatnonzero(~same)
    kept = ImpostorPairs()
    for start in range(0, len(impostors), _AT_ONCE):
        rows = impostors[start : start + _AT_ONCE]
        kept.add(scores[rows], first[rows], second[rows])
    scores, first, second, repeats = kept.with_genuine(
        scores[genuine], first[genuine], second[genuine]
    )
    return pair_evidence(
        scores,
        np.arange(len(scores)) < len(genuine),
        PairSamples(counts, first, second, repeats),
        FARS,
        rests_on=people_or_pairs(None if people is None else counts.shape[1], len(same)),
    )


def _people(files: IjbFiles) -> np.ndarray | None:
    """Who each template, ascending, is of: those that genuine pairs connect are of one person.

    None where the list contradicts that: an impostor pair is of one person then.
    """
    templates = np.unique(files.templates)
    first, second = (np.searchsorted(templates, each) for each in (files.first, files.second))
    people = linked_groups(len(templates), first[files.same], second[files.same])
    return people if np.array_equal(people[first] == people[second], files.same) else None


def _identification(
    name: str, features: np.ndarray, templates: np.ndarray, files: IjbFiles
) -> dict[str, ProtocolResult]:
    """Each gallery against the probes, the mean of both, and the older scripts' joined one."""
    if not files.lists_1n:
        return {}
    *galleries, (probes, ids) = files.lists_1n.values()
    probe = features[np.searchsorted(templates, probes)]
    sides = [(features[np.searchsorted(templates, rows)], people) for rows, people in galleries]
    found = [search_gallery(probe, ids, gallery, people) for gallery, people in sides]
    joined, everybody = (np.concatenate(parts) for parts in zip(*sides))
    whole = identification_metrics(search_gallery(probe, ids, joined, everybody), fpirs=())
    rates = joined_gallery_rates(probe, ids, joined, everybody, FPIRS)
    whole |= {f"tpir_at_joined_fpir_{fpir:g}": float(r) for fpir, r in zip(FPIRS, rates)}
    searches = {name: found, f"{name}/gallery_1": found[:1], f"{name}/gallery_2": found[1:]}
    results = {}
    for key, some in searches.items():
        evidence = identification_evidence(some, ids, fpirs=FPIRS)
        metrics = identification_metrics(some, fpirs=FPIRS)
        results[key] = ProtocolResult(with_bounds(metrics, evidence.drawn), evidence=evidence)
    # Another rule, for comparison with its numbers only.
    return results | {f"{name}/joined_gallery": ProtocolResult(whole)}


def _card_1n(files: IjbFiles, kind: str) -> str:
    if not files.lists_1n:
        return f"not evaluated: meta has none of {', '.join(LISTS_1N[kind])}"
    sizes = [
        f"{len(templates)} templates of {name}" for name, (templates, _) in files.lists_1n.items()
    ]
    return (
        f"{'; '.join(sizes)}. Mean of both galleries; TPIR: own template the best of all and at "
        "the threshold; FPIR <= target over probes whose subject is in the other gallery. "
        "joined_gallery: the rule of insightface's ijb_1n.py and of AdaFace"
    )


def _pairs(files: IjbFiles) -> PairRows:
    """The first images of each pair of templates."""
    templates, first = np.unique(files.templates, return_index=True)
    sample = PairRows(files.first, files.second, files.same).sample(1000)
    return PairRows(
        first[np.searchsorted(templates, sample.first)],
        first[np.searchsorted(templates, sample.second)],
        sample.same,
    )
