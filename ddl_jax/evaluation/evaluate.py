"""From a network and a data set to the files of an evaluation, and to a report of several runs."""

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from etils import epath
from jax.sharding import Mesh

import ddl_jax
from ddl_jax import config as config_lib
from ddl_jax.data.open_source import open_source
from ddl_jax.data.source import Source
from ddl_jax.errors import UserError
from ddl_jax.evaluation.domains import check_domains, domain_protocol
from ddl_jax.evaluation.embedding import check_finite, embed
from ddl_jax.evaluation.embedding_cache import EmbeddingCache
from ddl_jax.evaluation.evidence import read_evidence, write_evidence
from ddl_jax.evaluation.faces import read_faces, with_faces, write_faces
from ddl_jax.evaluation.kept_files import read_card, read_object, reading
from ddl_jax.evaluation.pairs_protocol import pairs_protocol, read_pairs
from ddl_jax.evaluation.pictures import distribution_pictures, roc_pictures
from ddl_jax.evaluation.plots import plot_training_curves
from ddl_jax.evaluation.protocols import Protocol, open_protocols, run_protocols
from ddl_jax.evaluation.protocols.run import ProtocolRun, protocol_cards
from ddl_jax.evaluation.report import (
    Results,
    intervals_text,
    markdown_table,
    write_report,
    write_results,
)
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.files import write_atomically
from ddl_jax.models import ModelCard

# What a reader compares first; everything else is in results.json and the report.
HEADLINE = (
    *("rank_1", "accuracy", "tar_at_far_0.01", "separation", "gap"),
    *("accuracy_mean_of_races", "accuracy_std_of_races"),
    *("tar_at_far_0.0001", "tpir_at_fpir_0.01"),
)

SEEN = "people seen in training"  # in a card, where there is a data set


class EvaluationData(NamedTuple):
    """What there is to evaluate on: a data set, or None, and benchmarks."""

    source: Source | None
    protocols: Sequence[Protocol]


def open_evaluation(config: config_lib.Config) -> EvaluationData:
    """Opens and checks everything that a config's `evaluation` names.

    Raises:
      UserError: the first thing that is wrong with any of it.
    """
    data, source = config_lib.evaluation_data(config), None
    if data.source != "none":
        source = open_source(data, config.synthetic, "config.evaluation.data")
        _check_own(source, config.evaluation)
    elif not config.evaluation.protocols:
        raise UserError(
            "config.evaluation.data.source=none leaves nothing to evaluate on; give "
            "config.evaluation.protocols, or to training config.evaluation.every=-1"
        )
    return EvaluationData(source, open_protocols(config.evaluation.protocols))


def _check_own(source: Source, settings: config_lib.Evaluation) -> None:
    """Refuses data on which the protocols cannot be run, before any embedding is computed."""
    index = source.index
    check_domains(index.identities, index.domains, easy=settings.easy)
    names = [_pairs_name(path) for path in settings.pairs]
    for name, path in zip(names, settings.pairs):
        if names.count(name) > 1:
            raise UserError(
                f"config.evaluation.pairs has two files of the name {name!r}, which names their "
                "results; rename one"
            )
        read_pairs(path).rows(index.paths)


def _pairs_name(path: str) -> str:
    return epath.Path(path).stem


def evaluate(
    module: nn.Module,
    variables: Any,
    card: ModelCard,
    data: EvaluationData,
    settings: config_lib.Evaluation,
    mesh: Mesh,
    cache: EmbeddingCache | None = None,
) -> ProtocolRun:
    """Runs everything that the settings name; `cache` is that of `embed`.

    Returns:
      `results` by name, "domains/NAME" or "pairs/FILE" for the data set and the names of the
      benchmarks, and `attention`, lines that a reader must see.
    """
    network = (module, variables, card)
    own = {} if data.source is None else _own(*network, data.source, settings, mesh, cache)
    run = run_protocols(*network, data.protocols, settings, mesh, cache)
    return ProtocolRun(own | run.results, run.attention)


def _own(
    module: nn.Module,
    variables: Any,
    card: ModelCard,
    source: Source,
    settings: config_lib.Evaluation,
    mesh: Mesh,
    cache: EmbeddingCache | None,
) -> dict[str, ProtocolResult]:
    embeddings = embed(
        module,
        variables,
        card,
        source,
        mesh=mesh,
        batch_size=settings.batch_size,
        flip=settings.flip,
        cache=cache,
    )
    check_finite(embeddings, source)
    index = source.index
    found = domain_protocol(
        embeddings, index.labels, index.domains, easy=settings.easy, seed=settings.seed
    )
    results = {f"domains/{name}": result for name, result in found.items()}
    for path in settings.pairs:
        pairs = read_pairs(path)
        first, second = pairs.rows(index.paths)
        results[f"pairs/{_pairs_name(path)}"] = pairs_protocol(
            embeddings,
            first,
            second,
            pairs.same,
            fold=pairs.fold,
            identities=_people(index.labels, first, second, pairs.same),
        )
    return with_faces(results, source, settings.faces)


def _people(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, same: np.ndarray
) -> np.ndarray | None:
    """The people to resample for error bars; none where a list knows them otherwise than labels."""
    return labels if np.array_equal(labels[first] == labels[second], same) else None


def protocol_card(
    card: ModelCard, data: EvaluationData, settings: config_lib.Evaluation, step: int, seen: int
) -> dict[str, Any]:
    """What a reader must know to compare the numbers; `seen` people were trained on."""
    own = {} if data.source is None else _own_card(data.source, settings) | {SEEN: seen}
    benchmarks = protocol_cards(data.protocols, settings)
    return {
        **own,
        **({"protocols": benchmarks} if benchmarks else {}),
        "checkpoint step": step,
        **{f"model {key}": value for key, value in dataclasses.asdict(card).items()},
        "ddl_jax": ddl_jax.__version__,
    }


def _own_card(source: Source, settings: config_lib.Evaluation) -> dict[str, Any]:
    index = source.index
    return {
        "data": f"{len(index)} images of {index.classes} identities, fingerprint "
        + index.fingerprint(),
        "gallery": f"the first image of domain {settings.easy!r} of every identity",
        "FAR": "TAR at FAR <= target",
        "embedding": "image + mirror image" if settings.flip else "image",
        "impostor seed": settings.seed,
        "pairs": {_pairs_name(path): _hash(path) for path in settings.pairs},
    }


def _hash(path: str) -> str:
    return hashlib.sha256(epath.Path(path).read_bytes()).hexdigest()[:16]


def write_evaluation(
    directory: epath.Path, results: Mapping[str, ProtocolResult], card: Mapping[str, Any]
) -> None:
    """Writes results.json, card.json, similarities.npz and evidence.npz of one evaluation.

    faces.json too, if its results may show faces.
    """
    arrays = {}
    for protocol, result in results.items():
        similarities = result.similarities
        if similarities is None:
            continue
        arrays[f"{protocol}|positive"] = similarities.positive.astype(np.float32)
        arrays[f"{protocol}|negative"] = similarities.negative.astype(np.float32)
        means = (similarities.positive_mean, similarities.negative_mean)
        arrays[f"{protocol}|means"] = np.array(means, np.float64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(directory / "similarities.npz", buffer.getvalue())
    write_evidence(directory, {n: r.evidence for n, r in results.items() if r.evidence})
    write_faces(directory, {n: r.faces for n, r in results.items() if r.faces})
    write_atomically(directory / "card.json", json.dumps(card, indent=2).encode())
    # Last: whoever finds it finds the others too.
    write_results(directory, {name: result.metrics for name, result in results.items()})


def read_results(directory: epath.Path) -> Results:
    """The results.json of an evaluation; null becomes NaN."""
    path = directory / "results.json"
    table = read_object(path)
    with reading(path):
        return {
            protocol: {key: np.nan if value is None else value for key, value in metrics.items()}
            for protocol, metrics in table.items()
        }


def evaluation_directory(workdir: epath.PathLike, step: int, name: str = "") -> epath.Path:
    """Where the evaluation of a step is kept; `name` tells one on other data from the run's own."""
    return epath.Path(workdir) / "evaluation" / (f"{step}-{name}" if name else str(step))


# What two evaluations must share to be compared: all of a protocol card that is not the model's.
_PROTOCOL = ("data", "gallery", "FAR", "embedding", "impostor seed", "pairs")


def check_same_protocol(directory: epath.Path, card: Mapping[str, Any], advice: str) -> None:
    """Refuses to overwrite, or to compare with, an evaluation on other images or in another way.

    Args:
      directory: of an evaluation that may exist.
      card: protocol card of the new one.
      advice: what to do, the end of the error's line.

    Raises:
      UserError: the two differ in more than the model.
    """
    if not (directory / "card.json").exists():
        return
    there = read_card(directory)
    benchmarks, now = there.get("protocols", {}), card.get("protocols", {})
    if sorted(benchmarks) != sorted(now):
        names = [", ".join(each) or "none" for each in (benchmarks, now)]
        different = f"protocols: {names[0]}; now {names[1]}"
        raise UserError(f"{directory} was evaluated otherwise ({different}); {advice}")
    flat = ({key: there.get(key) for key in _PROTOCOL}, {key: card.get(key) for key in _PROTOCOL})
    pairs = [("", *flat), *((f"{name} ", benchmarks[name], now[name]) for name in now)]
    for name, old, new in pairs:
        for key in new:
            if old.get(key) != new[key]:
                different = f"{name}{key}: {old.get(key)}; now {new[key]}"
                raise UserError(f"{directory} was evaluated otherwise ({different}); {advice}")


def latest_evaluation(workdir: epath.PathLike, name: str = "") -> epath.Path:
    """The directory of the newest evaluation, of this name, of a work directory.

    Raises:
      UserError: it has none.
    """
    folder = epath.Path(workdir) / "evaluation"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    steps = [int(n.split("-")[0]) for n in names if re.fullmatch(rf"\d+{_suffix(name)}", n)]
    done = [s for s in steps if _is_whole(evaluation_directory(workdir, s, name))]
    if not done:
        which, option = (f" {name!r}", f" --name={name}") if name else ("", "")
        raise UserError(
            f"{workdir} has no evaluation{which}; run eval.py --workdir={workdir}{option} first, "
            "with the same settings of config.evaluation"
        )
    return evaluation_directory(workdir, max(done), name)


def evaluations_of(workdir: epath.PathLike, step: int, name: str = "") -> list[epath.Path]:
    """The evaluations of a step, the run's own first; of one `name` if it is given."""
    directories = [evaluation_directory(workdir, step, name)]
    if not name:
        folder = epath.Path(workdir) / "evaluation"
        directories += sorted(folder.glob(f"{step}-*")) if folder.exists() else []
    return [directory for directory in directories if _is_whole(directory)]


def _is_whole(directory: epath.Path) -> bool:
    files = ("card.json", "similarities.npz", "results.json")
    return all((directory / file).exists() for file in files)


def _suffix(name: str) -> str:
    return re.escape(f"-{name}") if name else ""


def report(
    directory: epath.Path,
    runs: Mapping[str, epath.Path],
    *,
    metrics: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Writes report.html and its pictures into `directory` -> the headline table in Markdown.

    Args:
      directory: of the evaluation that the report is about.
      runs: evaluation directories by the name of their column, in order of time; the last one is
        `directory` itself.
      metrics: rows of metrics.jsonl, for the training curves.
    """
    tables = {name: read_results(path) for name, path in runs.items()}
    last = list(runs)[-1]
    pictures = {}
    if metrics:
        plot_training_curves(metrics, directory / "training.png")
        pictures[f"Training, {last}"] = directory / "training.png"
    evidence = read_evidence(directory)
    rests_on = {name: found.rests_on for name, found in evidence.items()}
    of_group = distribution_pictures(directory, runs)
    for group, drawn in roc_pictures(directory, {last: evidence}).items():
        of_group.setdefault(group, {}).update(drawn)
    write_report(
        directory / "report.html",
        title="Evaluation of " + ", ".join(runs),
        runs=tables,
        pictures=pictures,
        of_group=of_group,
        card=read_card(directory),
        rests_on=rests_on,
        faces=read_faces(directory),
    )
    table = markdown_table(tables, metrics=HEADLINE)
    return f"{table}\n{intervals_text(rests_on)}\n" if rests_on else table
