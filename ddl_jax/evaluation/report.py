"""Results as files: `results.json`, Markdown tables, and a page that works offline."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from etils import epath

from ddl_jax.evaluation import html_page
from ddl_jax.evaluation.hardest import FacePair
from ddl_jax.files import write_atomically

Results = Mapping[str, Mapping[str, float]]  # {protocol: {metric: value}}

_SHARES = (
    "rank_",
    "accuracy",
    "tar_at_far_",
    "tar_at_nearest_far_",
    "tpir_at_",
    "eer",
    "auc",
    "overlap",
)  # 0..1, shown in per cent
_ABBREVIATIONS = ("tar", "far", "eer", "auc", "tpir", "fpir")
_BOUNDS = ("_low", "_high")  # the interval of the metric of that name
_INSUFFICIENT = "insufficient data"


def write_results(directory: epath.PathLike, results: Results) -> epath.Path:
    """Writes `results.json` in one step, NaN and infinities as null -> its path.

    The file is strict JSON: `{protocol: {metric: value}}`, arrays as lists.
    """
    path = epath.Path(directory) / "results.json"
    write_atomically(path, strict_json(results))
    return path


def markdown_table(runs: Mapping[str, Results], *, metrics: Sequence[str] | None = None) -> str:
    """Markdown with a row for each metric of each protocol and a column for each run.

    Args:
        runs: `{run: {protocol: {metric: value}}}`; a run may lack a protocol or a metric.
        metrics: the metrics to show; None shows all.

    Shares are shown in per cent, the bounds NAME_low and NAME_high in brackets behind NAME, NaN and
    None as "insufficient data", what is missing as "-".
    """
    lines = [
        "| protocol | metric | " + " | ".join(map(_cell, runs)) + " |",
        "|---|---|" + "---:|" * len(runs),
    ]
    for protocol in _keys(runs.values()):
        for metric, values in _rows(runs, protocol, metrics):
            lines.append(f"| {_cell(protocol)} | {_cell(metric)} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def write_report(
    path: epath.PathLike,
    *,
    title: str,
    runs: Mapping[str, Results],
    pictures: Mapping[str, epath.PathLike] | None = None,
    of_group: Mapping[str, Mapping[str, epath.PathLike]] | None = None,
    card: Mapping[str, object] | None = None,
    rests_on: Mapping[str, str] | None = None,
    faces: Mapping[str, Sequence[FacePair]] | None = None,
) -> None:
    """Writes one self-contained HTML page: no script, nothing to fetch.

    Args:
        path: of the page.
        title: of the page.
        runs: `{run: {protocol: {metric: value}}}`; one run is fine.
        pictures: `{caption: PNG file}` of training, put into the page itself.
        of_group: the same for groups of results: `group/part`, or `group` alone.
        card: what a reader must know to compare the numbers: data, protocol, checkpoint, ...; its
            `protocols`, `{protocol: card}`, stand below the tables of `protocol` and its parts.
        rests_on: what the intervals of a protocol rest on.
        faces: the hardest pairs of each protocol, if the page may show faces; None: nothing is
            said about them.
    """
    own = dict(card or {})
    cards = own.pop("protocols", {})
    groups = _groups(runs)
    sections = [
        html_page.section(group, _group(group, runs, names, of_group, cards, rests_on, faces))
        for group, names in groups.items()
    ]
    titles = list(groups)
    if pictures:
        sections.append(html_page.section("Training", [html_page.figures(pictures)]))
        titles.append("Training")
    if own:
        sections.append(html_page.section("Protocol card", [html_page.items(own)]))
        titles.append("Protocol card")
    contents = [html_page.contents(titles)] if len(titles) > 1 else []
    footer = f"<footer>{''.join(f'<p>{line}</p>' for line in _footer(faces))}</footer>"
    write_atomically(path, html_page.page(title, [*contents, *sections, footer]))


def group_of(protocol: str) -> str:
    """The group of a result: that of `group/part`, or itself."""
    return protocol.split("/")[0]


def _groups(runs: Mapping[str, Results]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for protocol in _keys(runs.values()):
        groups.setdefault(group_of(protocol), []).append(protocol)
    return groups


def _footer(faces: Mapping[str, Sequence[FacePair]] | None) -> list[str]:
    lines = [
        "Thresholds, means and separations are cosines. Small, below a number: 95 % over bootstrap "
        "samples, of people where it is known who is who.",
        f"“{_INSUFFICIENT}”: so few comparisons that a rate would rest on less than 30 errors, or "
        "none of a kind.",
    ]
    if faces is not None and not faces:
        lines.append(
            "The hardest errors are not shown, as they are faces of people; "
            "--config.evaluation.faces=6 shows six of either kind."
        )
    return lines


def _group(
    group: str,
    runs: Mapping[str, Results],
    names: Sequence[str],
    of_group: Mapping[str, Mapping[str, epath.PathLike]] | None,
    cards: Mapping[str, Mapping[str, object]],
    rests_on: Mapping[str, str] | None,
    faces: Mapping[str, Sequence[FacePair]] | None,
) -> list[str]:
    pictures = (of_group or {}).get(group, {})
    parts = [html_page.figures(pictures)] if pictures else []
    parts += _tables(group, runs, names)
    told = {name: (rests_on or {})[name] for name in names if name in (rests_on or {})}
    parts += [intervals_note(told)] if told else []
    parts += card_items(names, cards)
    for name in names:
        if pairs := (faces or {}).get(name):
            parts.append(_faces(name, pairs))
    return parts


def _card_of(protocol: str, cards: Mapping[str, object]) -> str:
    """The name of the card that a result is told about in; IJB's 1:N is in that of its 1:1."""
    group = group_of(protocol)
    return next((c for c in (protocol, group, group.removesuffix("_1n")) if c in cards), "")


def card_items(protocols: Iterable[str], cards: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The cards of these results, each once and folded."""
    names = dict.fromkeys(card for each in protocols if (card := _card_of(each, cards)))
    return [
        f"<details><summary>{html_page.text(name)}: rule and data</summary>"
        f"{html_page.items(cards[name])}</details>"
        for name in names
    ]


def intervals_note(told: Mapping[str, str]) -> str:
    """`intervals_text` as a paragraph."""
    return f'<p class="note">{html_page.text(intervals_text(told))}</p>'


def intervals_text(rests_on: Mapping[str, str]) -> str:
    """One sentence on what the intervals of `{protocol: what}` rest on."""
    protocols: dict[str, list[str]] = {}
    for name, what in rests_on.items():
        protocols.setdefault(what, []).append(name)
    told = "; ".join(
        what if len(protocols) == 1 else f"{what} ({', '.join(names)})"
        for what, names in protocols.items()
    )
    return f"Intervals: 95 % over bootstrap samples of {told}."


def _tables(group: str, runs: Mapping[str, Results], names: Sequence[str]) -> list[str]:
    """Of one run a column for each result of the group; of several runs a table for each result."""
    if len(runs) > 1:
        parts = []
        for name in names:
            columns = {run: results.get(name, {}) for run, results in runs.items()}
            parts += [f"<h3>{html_page.text(name)}</h3>"] if name != group else []
            parts.append(_table(name, columns))
        return parts
    (results,) = runs.values()
    # The summary of a group has metrics of its own.
    alike = [[name for name in names if (name == group) == summary] for summary in (True, False)]
    return [
        _table(group, {name.removeprefix(f"{group}/"): results[name] for name in some})
        for some in alike
        if some
    ]


def _table(name: str, columns: Mapping[str, Mapping[str, float]]) -> str:
    metrics = [metric for metric in _keys(columns.values()) if not _is_bound(metric, columns)]
    rows = [
        (label(metric), [_cell_of(metric, values) for values in columns.values()])
        for metric in metrics
    ]
    return html_page.table(["", *columns], rows, name)


def _is_bound(metric: str, columns: Mapping[str, Mapping[str, float]]) -> bool:
    known = _keys(columns.values())
    return any(metric.endswith(end) and metric.removesuffix(end) in known for end in _BOUNDS)


def _cell_of(metric: str, values: Mapping[str, float]) -> str:
    if metric not in values:
        return "<td>–</td>"
    value, bounds = number_text(metric, values[metric]), bounds_text(metric, values)
    small = f"<small>{bounds.replace(', ', ' – ')}</small>" if bounds else ""
    missing = ' class="none"' if value == _INSUFFICIENT else ""
    return f"<td{missing}>{value}{small}</td>"


def _faces(name: str, pairs: Sequence[FacePair]) -> str:
    parts = []
    for kind, told in ((True, "same person, least alike"), (False, "different people, most alike")):
        if not any(pair.genuine == kind for pair in pairs):
            continue
        shown = "".join(
            f'<li><img alt="{html_page.text(pair.names[0])}" src="{pair.pictures[0]}"> '
            f'<img alt="{html_page.text(pair.names[1])}" src="{pair.pictures[1]}">'
            f"<br><small>cosine {pair.score:.3f}</small></li>"
            for pair in pairs
            if pair.genuine == kind
        )
        parts.append(f'<h3>{html_page.text(name)}: {told}</h3><ul class="faces">{shown}</ul>')
    return "".join(parts)


def _rows(
    runs: Mapping[str, Results], protocol: str, metrics: Sequence[str] | None
) -> list[tuple[str, list[str]]]:
    """(metric, its value in every run as text) for the metrics some run has."""
    results = [run.get(protocol, {}) for run in runs.values()]
    names = _keys(results)
    bounds = {f"{name}{end}" for name in names for end in _BOUNDS}
    return [
        (name, [_show(name, values) if name in values else "-" for values in results])
        for name in names
        if name not in bounds and (metrics is None or name in metrics)
    ]


def _show(metric: str, values: Mapping[str, float | None]) -> str:
    """The value, with its bounds in brackets where it has them."""
    bounds = bounds_text(metric, values)
    return number_text(metric, values[metric]) + (f" [{bounds}]" if bounds else "")


def bounds_text(metric: str, values: Mapping[str, float | None]) -> str:
    """ "1.10, 3.49", the bounds of a metric; empty where it has none."""
    bounds = [number_text(metric, values.get(f"{metric}{end}")) for end in _BOUNDS]
    if _INSUFFICIENT in (number_text(metric, values[metric]), *bounds):
        return ""
    return ", ".join(bound.removesuffix(" %") for bound in bounds)


def number_text(metric: str, value: float | None, *, signed: bool = False) -> str:
    """A value as a reader wants it: shares in per cent, counts whole, cosines to .001."""
    if value is None or not math.isfinite(value):
        return _INSUFFICIENT
    if isinstance(value, numbers.Integral):
        return f"{value:,}"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f} %" if metric.startswith(_SHARES) else f"{value:{sign}.3f}"


def label(metric: str) -> str:
    """`tar_at_far_0.01` -> "TAR at FAR 0.01"."""
    words = metric.replace("_", " ").split()
    return " ".join(word.upper() if word in _ABBREVIATIONS else word for word in words)


def strict_json(value: object) -> bytes:
    """JSON of anything that results hold: NaN and infinities as null, arrays as lists."""
    return f"{json.dumps(_plain(value), indent=2, allow_nan=False)}\n".encode()


def _plain(value: object) -> object:
    """Python's own types; what JSON cannot say becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return value


def _keys(mappings) -> list[str]:
    """Every key once, in the order of first appearance."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|")
