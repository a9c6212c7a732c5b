"""What `benchmarks.frontal_profile` measures of a run, and how it prints it."""

import pathlib
from typing import NamedTuple

import numpy as np

import ddl_jax
from ddl_jax import parallel
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.evaluation.all_pairs import AllPairs
from ddl_jax.evaluation.bootstrap import PairSamples, identity_samples, interval, share_samples
from ddl_jax.evaluation.embedding import embed
from ddl_jax.evaluation.identification import identification_ranks
from ddl_jax.evaluation.resampled import verification_samples
from ddl_jax.evaluation.similarity import Similarities

_RULES = ("*/frontal/*=easy", "*/profile/*=hard")
_FARS = (0.01, 0.001)
_MEASURES = ("separation", "eer", *(f"tar_at_far_{far:g}" for far in _FARS))
_SAMPLES = 2000

# For each measure its value for the data as they are, and for every bootstrap sample.
Values = dict[str, np.ndarray]


class People(NamedTuple):
    """The images of some identities, and how they are paired."""

    source: ImageFolderSource
    identities: np.ndarray
    frontal: np.ndarray
    profile: np.ndarray
    gallery: np.ndarray


class Measured(NamedTuple):
    """A run: its measures, and the similarities of frontal-frontal and frontal-profile pairs."""

    values: Values
    similarities: dict[str, Similarities]


def people_of(faces: str, identities: str) -> People:
    """The people of FACES with these names, all their images."""
    source = ImageFolderSource(faces, identities=identities, domain_rules=_RULES)
    index = source.index
    frontal, profile = index.rows_of("easy"), index.rows_of("hard")
    _, first = np.unique(index.labels[frontal], return_index=True)
    return People(source, index.labels, frontal, profile, frontal[first])


def measure(workdir: pathlib.Path, people: People) -> Measured:
    """Measures the newest checkpoint of a run."""
    module, variables, card = ddl_jax.load_checkpoint(workdir)
    embeddings = embed(module, variables, card, people.source, mesh=parallel.make_mesh())
    found, similarities = {}, {}
    for kind, others in (("frontal", None), ("profile", people.profile)):
        pairs = AllPairs.of(embeddings, people.identities, people.frontal, others)
        genuine = pairs.genuine
        similarities[kind] = Similarities(pairs.scores[genuine], pairs.scores[~genuine])
        # The same seed: the same samples of the same people, for every kind and every run.
        samples = PairSamples.of_identities(pairs.first, pairs.second, samples=_SAMPLES)
        measured = verification_samples(pairs.scores, genuine, samples, _FARS)
        found |= {f"{kind} {name}": measured[name] for name in _MEASURES}
    probes, gallery = people.profile, people.gallery
    ids = people.identities
    ranks = identification_ranks(embeddings[probes], ids[probes], embeddings[gallery], ids[gallery])
    counts = identity_samples(len(gallery), _SAMPLES)
    found["profile rank_1"] = share_samples(ranks <= 1, ids[probes], counts)
    return Measured(found, similarities)


def print_table(rows: dict[str, list[Values]], *, head: str = "", intervals: bool = False) -> None:
    """A Markdown row for each row, values of its seeds averaged; % but for the separation."""
    names = list(next(iter(rows.values()))[0])
    print(f"| {head} | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for row, seeds in rows.items():
        cells = []
        for name in names:
            factor, digits = (1, 3) if "separation" in name else (100, 1)
            values = factor * np.mean([one[name] for one in seeds], axis=0)
            value, low, high = interval(values)
            cell = f"{value:.{digits}f}"
            cells.append(f"{cell} [{low:.{digits}f}, {high:.{digits}f}]" if intervals else cell)
        print(f"| {row} | " + " | ".join(cells) + " |")


def print_spread(kind: str, rows: dict[str, Similarities]) -> None:
    """Means and spreads of the two distributions, and the impostors' high quantiles."""
    names = ["E[S+]", "spread of S+", "E[S-]", "spread of S-"]
    names += [f"threshold at FAR {far:g}" for far in _FARS]
    print(f"| {kind} | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for row, found in rows.items():
        genuine, impostor = found.positive, found.negative
        numbers = [np.mean(genuine), np.std(genuine), np.mean(impostor), np.std(impostor)]
        numbers += list(np.quantile(impostor, [1 - far for far in _FARS]))
        print(f"| {row} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |")
