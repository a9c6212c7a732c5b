"""Easy and hard sets of a data set, and whether a network finds them different."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from etils import epath

from ddl_jax import config as config_lib
from ddl_jax.data import pairs as pairs_lib
from ddl_jax.data.index_file import index_table
from ddl_jax.data.open_source import open_source
from ddl_jax.data.scores import NETWORK_SCORES, check_scores, read_scores, table_columns
from ddl_jax.data.source import RecordIndex, Source, chosen_identities
from ddl_jax.data.split_rules import Rule, scores_of, split_domains
from ddl_jax.errors import UserError
from ddl_jax.evaluation.centers import own_similarities
from ddl_jax.evaluation.domain_gap import DomainGap, domain_gap
from ddl_jax.evaluation.domains import check_domains, domain_protocol
from ddl_jax.evaluation.embedding_cache import EmbeddingCache
from ddl_jax.evaluation.evaluate import HEADLINE
from ddl_jax.evaluation.plots import plot_distributions
from ddl_jax.evaluation.report import markdown_table, write_report
from ddl_jax.evaluation.result import results_of
from ddl_jax.evaluation.similarity import pair_cosines, unit_rows
from ddl_jax.files import write_atomically
from ddl_jax.training.recognizer import Choice, load_recognizer, trained_on_warning

_NOT_TRAINED = ""
_MOST_JUDGED = 20_000  # images: pairs and error bars take 6 s of a core, at 128 numbers each
INDEX, PAIRS, PICTURE, REPORT = "split.csv", "pairs.csv", "distributions.png", "report.html"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
      data: the images; a rule that fits none of them leaves an image the domain it has here.
      rules: of `read_rules`.
      scores: more scores to write into the index, beside those of the rules.
      landmarks, table: files that scores come from.
      domains: of training, teacher first; empty for easy and then all others by name.
      train_identities: of whom pairs are made, the others being for tests; all when empty.
      pairs: "same_domain" or "easy_hard", as `config.batch.pairs`.
      pairs_per_identity: at most, in each domain.
      minimum_similarity: pairs below it are outliers; None keeps all.
      seed: of the choice of pairs, and of what the accuracies draw.
    """

    data: config_lib.Data
    rules: tuple[Rule, ...] = ()
    scores: tuple[str, ...] = ()
    landmarks: str = ""
    table: str = ""
    domains: tuple[str, ...] = ()
    train_identities: str = ""
    pairs: str = "same_domain"
    pairs_per_identity: int = 16
    minimum_similarity: float | None = None
    seed: int = 0

    @property
    def score_names(self) -> list[str]:
        """All scores of the index, those of the rules first."""
        return list(dict.fromkeys([*scores_of(self.rules), *self.scores]))


def split_data(
    plan: Plan,
    out: epath.PathLike,
    choice: Choice | None = None,
    cache: EmbeddingCache | None = None,
) -> str:
    """Writes index, pairs and, with a network, picture and report into `out` -> what to tell.

    Args:
      plan: what to do.
      out: a folder for the files; none of them may be there, since people edit them.
      choice: the network whose similarities are looked at; None for none.
      cache: of embeddings; None keeps none.

    Raises:
      UserError: something is missing or wrong; nothing has been written.
    """
    out = epath.Path(out)
    _check(plan, out, choice)
    recognizer = None if choice is None else load_recognizer(choice)
    source = open_source(plan.data, config_lib.Synthetic(), "")
    names = plan.score_names
    scores = read_scores(source, names, landmarks=plan.landmarks, table=plan.table)
    of_network = [name for name in names if name in NETWORK_SCORES and name not in scores]
    embeddings = None
    if of_network:
        embeddings = recognizer.embed(source, cache=cache)
        scores |= _network_scores(embeddings, source.index, of_network)
    index = _split(source, plan, scores)
    batch, training = _batch(plan, index), _training(plan, index)
    pairs = pairs_lib.make_pairs(training, batch, plan.seed)
    if recognizer is None:
        told = [_counts(training, batch, pairs), _quantiles(scores)]
    else:
        _measured_rows(index, batch)  # refuses what cannot be measured before the long part
        if embeddings is None:
            embeddings = recognizer.embed(source, cache=cache)
        pairs, dropped = _without_outliers(embeddings, training, batch, plan)
        told = [
            _counts(training, batch, pairs) + dropped,
            _quantiles(scores),
            _compare(embeddings, index, batch, plan, out, recognizer.card.to_json()),
            trained_on_warning(choice, plan.data, index),
        ]
    pairs_lib.write_pairs(_made(out) / PAIRS, index, pairs)
    write_atomically(out / INDEX, index_table(index, index.domains, scores).encode())
    return "\n\n".join(filter(None, [*told, _settings(plan, batch, out)]))


def _check(plan: Plan, out: epath.Path, choice: Choice | None) -> None:
    if plan.data.source == "synthetic_faces":
        raise UserError(
            "--source=synthetic_faces has its own domains; for others give --source=tfds and as "
            "--path the folder with its dataset_info.json"
        )
    check_scores(
        plan.score_names, landmarks=plan.landmarks, table=plan.table, network=choice is not None
    )
    if plan.minimum_similarity is not None and choice is None:
        raise UserError("--minimum_similarity needs --checkpoint, a network")
    for name in (INDEX, PAIRS):
        if (out / name).exists():
            raise UserError(f"{out / name} exists already; remove it or give another --out")


def _made(folder: epath.Path) -> epath.Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {folder} cannot be made: {error.strerror or error}") from error
    return folder


def _network_scores(
    embeddings: np.ndarray, index: RecordIndex, names: list[str]
) -> dict[str, np.ndarray]:
    """norm: half the length of the sum of an image's embedding and its mirror image's, which is the
    length of one where the two agree. similarity: to the centre of the identity's other images."""
    scores = {}
    if "norm" in names:
        scores["norm"] = np.linalg.norm(embeddings, axis=1) / 2
    if "similarity" in names:
        scores["similarity"] = own_similarities(unit_rows(embeddings), index.labels)
    return {name: scores[name] for name in names}


def _split(source: Source, plan: Plan, scores: Mapping[str, np.ndarray]) -> RecordIndex:
    domains = split_domains(plan.rules, scores, source.index.domains)
    return dataclasses.replace(source.index, domains=domains)


def _training(plan: Plan, index: RecordIndex) -> RecordIndex:
    """The index in which the images of people who do not train are of no domain."""
    chosen = chosen_identities(
        index.identities.tolist(), plan.train_identities, "--train_identities"
    )
    trains = np.isin(index.identities, list(chosen))
    return dataclasses.replace(index, domains=np.where(trains, index.domains, _NOT_TRAINED))


def _batch(plan: Plan, index: RecordIndex) -> config_lib.Batch:
    """The batch settings that training gets."""
    there = sorted(set(index.domains.tolist()))
    wanted = plan.domains or tuple(sorted(there, key=lambda name: (name != "easy", name)))
    for name in wanted:
        if name not in there:
            raise UserError(f"--domains names {name!r}; the split has {', '.join(there)}")
    if len(wanted) < 2:
        raise UserError(
            f"all {len(index)} images are of domain {there[0]!r}: give --rules that make another"
        )
    return config_lib.Batch(
        kind="ddl",
        domains=tuple(wanted),
        pairs=plan.pairs,
        pairs_per_identity=plan.pairs_per_identity,
    )


def _measured_rows(index: RecordIndex, batch: config_lib.Batch) -> np.ndarray:
    """The images that the similarities are taken from: those of the batch's domains, of identities
    with an easy one."""
    with_easy = np.unique(index.labels[index.rows_of(batch.domains[0])])
    measured = np.isin(index.domains, batch.domains) & np.isin(index.labels, with_easy)
    rows = np.flatnonzero(measured)
    check_domains(index.labels[rows], index.domains[rows], easy=batch.domains[0])
    for domain in batch.domains[1:]:
        if domain not in index.domains[rows]:
            raise UserError(
                f"no identity has images both of domain {batch.domains[0]!r} and of {domain!r} to "
                f"compare: change their --rules, or give --domains without {domain!r}"
            )
    return rows


def _judged_rows(
    rows: np.ndarray, index: RecordIndex, batch: config_lib.Batch, seed: int
) -> np.ndarray:
    """At most some thousands of the images, all of an identity or none: all pairs are compared.

    Identities are drawn at random, in turn one with an image of each domain, so that a domain of
    few is judged by as many as one of all.
    """
    if len(rows) <= _MOST_JUDGED:
        return rows
    labels, domains = index.labels[rows], index.domains[rows]
    images = np.bincount(labels, minlength=index.classes)
    drawn = np.random.default_rng(seed).permutation(index.classes)
    turn = np.full(index.classes, np.inf)
    for domain in batch.domains:
        has = drawn[np.isin(drawn, labels[domains == domain])]
        turn[has] = np.minimum(turn[has], np.arange(len(has)))
    order = drawn[np.argsort(turn[drawn], kind="stable")]
    chosen = order[np.cumsum(images[order]) <= _MOST_JUDGED]
    return rows[np.isin(labels, chosen)]


def _without_outliers(
    embeddings: np.ndarray, index: RecordIndex, batch: config_lib.Batch, plan: Plan
) -> tuple[pairs_lib.Pairs, str]:
    """Pairs of a similarity that is high enough, and what to tell of the others."""
    if plan.minimum_similarity is None:
        return pairs_lib.make_pairs(index, batch, plan.seed), ""
    unit, seen, dropped = unit_rows(embeddings), 0, 0

    def accept(rows: np.ndarray) -> np.ndarray:
        nonlocal seen, dropped
        accepted = pair_cosines(unit, rows[:, 0], rows[:, 1]) >= plan.minimum_similarity
        seen, dropped = seen + len(rows), dropped + int(np.sum(~accepted))
        return accepted

    pairs = pairs_lib.make_pairs(index, batch, plan.seed, accept)
    return pairs, (
        f"\n{dropped} of {seen} possible pairs are below the similarity "
        f"{plan.minimum_similarity:g} and left out as outliers"
    )


def _counts(index: RecordIndex, batch: config_lib.Batch, pairs: pairs_lib.Pairs) -> str:
    """How much there is of every domain, and the largest batch that it makes."""
    lines, largest = [], []
    for domain, count in zip(*np.unique(index.domains, return_counts=True)):
        if domain == _NOT_TRAINED:
            continue
        people = _people(index, index.rows_of(domain))
        line = f"{domain}: {count} images of {len(people)} identities"
        if domain in pairs:
            owners = _people(index, pairs[domain][:, 0])
            largest.append(len(owners))
            line += f", {len(pairs[domain])} positive pairs of {len(owners)}"
        else:
            line += ", not trained on"
        lines.append(line)
    size = min(*largest, *(len(_people(index, index.rows_of(d))) for d in batch.domains))
    return "\n".join([*lines, f"a DDL batch may have up to {size} rows (config.batch_size)"])


def _people(index: RecordIndex, rows: np.ndarray) -> np.ndarray:
    return np.unique(index.labels[rows])


def _quantiles(scores: Mapping[str, np.ndarray]) -> str:
    """A line a score, to choose thresholds by."""
    shares = (1, 5, 25, 50, 75, 95, 99)
    lines = []
    for name, values in scores.items():
        known = values[np.isfinite(values)]
        found = np.percentile(known, shares) if len(known) else []
        told = ", ".join(f"{share}% {value:.4g}" for share, value in zip(shares, found))
        without = len(values) - len(known)
        lines.append(f"{name}: {told}" + (f"; {without} images have none" if without else ""))
    return "\n".join(lines)


def _compare(
    embeddings: np.ndarray,
    index: RecordIndex,
    batch: config_lib.Batch,
    plan: Plan,
    out: epath.Path,
    card: Mapping[str, object],
) -> str:
    """Draws the similarities of the domains and says whether they differ -> table and verdicts."""
    measured, easy = _measured_rows(index, batch), batch.domains[0]
    rows = _judged_rows(measured, index, batch, plan.seed)
    embeddings, labels, domains = embeddings[rows], index.labels[rows], index.domains[rows]
    results = domain_protocol(embeddings, labels, domains, easy=easy, seed=plan.seed)
    results = {name: results[name] for name in batch.domains}
    gaps = {
        hard: domain_gap(results, labels, domains, easy=easy, hard=hard)
        for hard in batch.domains[1:]
    }
    picture = _made(out) / PICTURE
    plot_distributions({"split": {n: r.similarities for n, r in results.items()}}, picture)
    verdicts = [f"{name}: {gap.verdict()}" for name, gap in gaps.items()]
    if len(rows) < len(measured):
        verdicts.append(
            f"judged on {len(np.unique(labels))} of {len(_people(index, measured))} identities, "
            f"drawn at random: {len(rows)} of {len(measured)} images"
        )
    verdicts += _circular(plan)
    runs = {"split": _tables(results_of("domains", results), gaps)}
    write_report(
        out / REPORT,
        title=f"Easy and hard images of {plan.data.path}",
        runs=runs,
        of_group={
            "domains": {"Similarities of genuine and impostor pairs, easy domain first": picture}
        },
        card={
            **{f"verdict {number}": verdict for number, verdict in enumerate(verdicts, 1)},
            "images": f"{len(rows)} of {len(index)}: of the domains compared, of identities with "
            f"an image of domain {easy!r}",
            "fingerprint": index.fingerprint(),
            **{f"model {key}": value for key, value in card.items()},
        },
    )
    return "\n".join([markdown_table(runs, metrics=HEADLINE), *verdicts])


def _tables(
    results: Mapping[str, Mapping[str, float]], gaps: Mapping[str, DomainGap]
) -> dict[str, dict[str, float]]:
    """The results with the divergences."""
    found = {protocol: dict(metrics) for protocol, metrics in results.items()}
    for name, gap in gaps.items():
        found[f"domains/{name}"] |= {
            "positive_divergence": gap.positive_divergence,
            "negative_divergence": gap.negative_divergence,
        }
    return found


def _circular(plan: Plan) -> list[str]:
    used = [name for name in scores_of(plan.rules) if name in NETWORK_SCORES]
    if not used:
        return []
    if all(name in table_columns(plan.table) for name in used):
        origin = "as --table has it. If that is of this very network, it makes"
    else:
        origin = "under this very network, which makes"
    return [
        f"ATTENTION: the rules look at {' and '.join(used)} {origin} a gap by itself: mistakes and "
        "chance are hard there too; judge the split by another network"
    ]


def _settings(plan: Plan, batch: config_lib.Batch, out: epath.Path) -> str:
    """What trains on the split."""
    data = dataclasses.replace(
        plan.data,
        identities=plan.train_identities or plan.data.identities,
        domain_rules=(),
        metadata=str(out / INDEX),
        domain_column="domain",
    )
    default = vars(config_lib.Data())
    given = {f"data.{name}": value for name, value in vars(data).items() if value != default[name]}
    given |= {
        "data.domain_rules": (),  # of a config that has some: the index file says it all
        "batch.kind": "ddl",
        "batch.domains": batch.domains,
        "batch.pairs": batch.pairs,
        "batch.pairs_file": out / PAIRS,
    }
    return " \\\n".join(config_lib.as_flags(given))
