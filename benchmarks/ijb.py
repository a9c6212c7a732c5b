"""IJB-C's sizes: how long, and how much memory?

    python -m benchmarks.ijb verify
    python -m benchmarks.ijb identify

`verify`: 469,375 images in 23,124 templates, 15.7 million pairs, 512-d: template features, scores
of the pairs, TAR at FAR 1e-6 to 1e-1; ours beside the manner of insightface's script (a loop over
templates, pairs in batches of 100,000, scikit-learn's ROC over all pairs), one process each.

`identify`: 10,000 probes, one half of them in a gallery of a million, rank-k and TPIR@FPIR, beside
the float32 products alone; some probes are searched again in float64 and must come out the same.

Data are made up; seconds are without making them, peaks of memory are of the whole process.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
from sklearn import metrics, preprocessing

from ddl_jax import evaluation
from ddl_jax.evaluation.similarity import BLOCK

_FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_GALLERY, _PROBES, _IMAGES, _IMPOSTORS = 3_531, 19_593, 469_375, 798  # templates, impostors a probe
_SIZE = 512


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("verify", "identify", *_SIDES))
    parser.add_argument("--scale", type=float, default=1, help="of verify: share of all templates")
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--probes", type=int, default=10_000)
    options = parser.parse_args()
    if options.what in _SIDES:  # what `verify` starts
        print(json.dumps(_measured(options)))
    else:
        {"verify": _verify, "identify": _identify}[options.what](options)


class Made(NamedTuple):
    """What a reader of IJB's lists would give."""

    features: np.ndarray
    templates: np.ndarray
    medias: np.ndarray
    first: np.ndarray
    second: np.ndarray
    genuine: np.ndarray


def _made(scale: float) -> Made:
    """Template 0..G-1 is the gallery, one a person; the probes follow, pairs are in no order."""
    rng = np.random.default_rng(0)
    gallery, probes = round(_GALLERY * scale), round(_PROBES * scale)
    person = np.concatenate([np.arange(gallery), rng.integers(0, gallery, probes)])
    templates = np.concatenate(
        [np.arange(len(person)), rng.integers(0, len(person), round(_IMAGES * scale) - len(person))]
    )
    features = rng.standard_normal((len(templates), _SIZE), np.float32)
    centers = rng.standard_normal((gallery, _SIZE), np.float32)
    quality = rng.uniform(0.03, 0.3, len(person)).astype(np.float32)  # of a template
    for start in range(0, len(features), BLOCK):
        own = templates[start : start + BLOCK]
        features[start : start + BLOCK] += quality[own, None] * centers[person[own]]
    medias = rng.integers(0, len(templates) // 3, len(templates))
    impostors = min(_IMPOSTORS, gallery - 1)
    begin = rng.integers(0, gallery - impostors, probes)
    steps = np.concatenate([[[0]] * probes, 1 + begin[:, None] + np.arange(impostors)], axis=1)
    first = ((person[gallery:, None] + steps) % gallery).ravel()
    second = np.repeat(gallery + np.arange(probes), 1 + impostors)
    order = rng.permutation(len(first))
    first, second = first[order], second[order]
    return Made(features, templates, medias, first, second, first == person[second])


def _ours(made: Made) -> np.ndarray:
    unit, ids = evaluation.template_features(made.features, made.templates, made.medias)
    first, second = (np.searchsorted(ids, part) for part in (made.first, made.second))
    scores = evaluation.pair_cosines(unit, first, second)
    return evaluation.tar_at_far(scores, made.genuine, _FARS, rule="at_most")


def _theirs(made: Made) -> np.ndarray:
    ids = np.unique(made.templates)
    sums = np.zeros((len(ids), _SIZE))
    for number, template in enumerate(ids):
        (rows,) = np.where(made.templates == template)
        own, medias = made.features[rows], made.medias[rows]
        sums[number] = sum(own[medias == media].mean(axis=0) for media in np.unique(medias))
    unit = preprocessing.normalize(sums)
    place = np.zeros(ids.max() + 1, int)
    place[ids] = np.arange(len(ids))
    scores = np.zeros(len(made.first))
    for start in range(0, len(scores), 100_000):
        part = slice(start, start + 100_000)
        a, b = unit[place[made.first[part]]], unit[place[made.second[part]]]
        scores[part] = np.sum(a * b, axis=-1)
    far, tar, _ = metrics.roc_curve(made.genuine, scores)
    # Their rule is the nearest FAR; ours here, so that the two must agree to the digit.
    return np.array([tar[far <= target].max() for target in _FARS])


_SIDES = {"ours": _ours, "theirs": _theirs}


def _measured(options: argparse.Namespace) -> dict[str, object]:
    made = _made(options.scale)
    before, start = _peak(), time.perf_counter()
    tars = _SIDES[options.what](made)
    spent = time.perf_counter() - start
    sizes = (len(made.features), len(np.unique(made.templates)), len(made.first))
    return {"seconds": spent, "data": before, "peak": _peak(), "tars": list(tars), "sizes": sizes}


def _verify(options: argparse.Namespace) -> None:
    found = {}
    for side in _SIDES:
        command = [sys.executable, "-m", "benchmarks.ijb", side, f"--scale={options.scale}"]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        found[side] = json.loads(run.stdout)
        if side == "ours":
            print("{:,} images, {:,} templates, {:,} pairs".format(*found[side]["sizes"]))
        print(
            f"{side}: {found[side]['seconds']:.1f} s, peak {found[side]['peak']:.2f} GiB "
            f"({found[side]['data']:.2f} with the data made)",
            flush=True,
        )
    ours, theirs = found["ours"], found["theirs"]
    for far, *tars in zip(_FARS, ours["tars"], theirs["tars"]):
        print(f"TAR@FAR {far:g}: {tars[0]:.6f} and {tars[1]:.6f}")
    np.testing.assert_allclose(ours["tars"], theirs["tars"], atol=1e-9)
    print(f"theirs takes {theirs['seconds'] / ours['seconds']:.1f} times as long")


def _identify(options: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((options.gallery, _SIZE), np.float32)
    ids = np.arange(len(gallery))
    # One half of the probes are of people who are not in the gallery.
    probe_ids = rng.choice(2 * len(ids), options.probes, replace=False)
    probe_ids[::2] = rng.choice(ids, len(probe_ids[::2]), replace=False)
    probe_ids[1::2] = len(ids) + np.arange(len(probe_ids[1::2]))
    probe = rng.standard_normal((len(probe_ids), _SIZE), np.float32)
    quality = rng.uniform(0.05, 0.5, (len(probe[::2]), 1)).astype(np.float32)
    probe[::2] += quality * gallery[probe_ids[::2]]
    print(f"{len(gallery):,} in the gallery, {len(probe):,} probes; {_peak():.2f} GiB of data")
    start = time.perf_counter()
    found = evaluation.search_gallery(probe, probe_ids, gallery, ids)
    values = evaluation.identification_metrics(found, fpirs=(1e-1, 1e-2))
    spent = time.perf_counter() - start
    print(f"{spent:.0f} s, peak {_peak():.2f} GiB", {k: round(v, 4) for k, v in values.items()})
    block = np.ascontiguousarray(gallery[:BLOCK].T)
    start = time.perf_counter()
    for first in range(0, len(probe), 1024):
        probe[first : first + 1024] @ block
    products = (time.perf_counter() - start) * len(gallery) / block.shape[1]
    print(f"the float32 products alone: about {products:.0f} s; {spent / products:.2f} times")
    _check(
        found, probe, probe_ids, gallery, rows=np.arange(0, len(probe), max(1, len(probe) // 64))
    )


def _check(
    found: evaluation.Search,
    probe: np.ndarray,
    probe_ids: np.ndarray,
    gallery: np.ndarray,
    rows: np.ndarray,
) -> None:
    """Every cosine of some probes in float64."""
    unit = evaluation.unit_rows(probe[rows])
    cosines = np.concatenate(
        [
            unit @ evaluation.unit_rows(gallery[start : start + BLOCK]).T
            for start in range(0, len(gallery), BLOCK)
        ],
        axis=1,
    )
    for row, own in zip(rows, cosines):
        others = own[np.arange(len(own)) != probe_ids[row]]
        np.testing.assert_allclose(found.other[row], others.max(), atol=1e-14)
        if found.mated[row]:
            assert found.ranks[row] == 1 + np.sum(others >= own[probe_ids[row]] - 1e-12)
    print(f"{len(rows)} probes in float64 throughout: the same ranks and best cosines")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
