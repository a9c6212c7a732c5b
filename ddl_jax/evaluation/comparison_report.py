"""A comparison of runs as Markdown, as JSON, and as a page."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

from etils import epath

from ddl_jax.evaluation import html_page
from ddl_jax.evaluation.compare import LEVEL, ComparedRuns, Comparison
from ddl_jax.evaluation.kept_files import read_card
from ddl_jax.evaluation.pictures import distribution_pictures, roc_pictures
from ddl_jax.evaluation.report import (
    bounds_text,
    card_items,
    group_of,
    intervals_note,
    label,
    number_text,
    strict_json,
)
from ddl_jax.files import write_atomically

PAGE, FILE = "compare.html", "compare.json"
_LEGEND = (
    "Below a value: 95 % over bootstrap samples. Then the difference to the first run and its "
    "interval on the same samples, and p: of the paired bootstrap, for accuracies and ranks the "
    "larger one of that and of McNemar's exact test. “better” and “worse” are said where p counts "
    "after the correction; elsewhere chance may be all there is. Distances between groups (the gap "
    "between domains, the deviation over races) are neither: they also fall where the easy group "
    "loses more than the hard one."
)


def comparison_table(compared: ComparedRuns) -> str:
    """Markdown: a row for each metric, a column for each run; what counts is bold."""
    cells = _cells(compared)
    lines = [
        "| protocol | metric | " + " | ".join(compared.results) + " |",
        "|---|---|" + "---:|" * len(compared.results),
    ]
    for (protocol, metric), of_runs in cells.items():
        texts = [_markdown(*of_runs[run], metric) for run in compared.results]
        lines.append(f"| {protocol} | {metric} | " + " | ".join(texts) + " |")
    return "\n".join([*lines, "", f"{compared.summary}.", ""])


def write_comparison(directory: epath.Path, compared: ComparedRuns) -> epath.Path:
    """Writes compare.html, which holds its pictures, and compare.json -> the page's path."""
    write_atomically(directory / FILE, strict_json(_plain(compared)))
    figures = _figures(compared)
    first = next(iter(compared.directories))
    card = read_card(compared.directories[first])
    rests_on = {name: e.rests_on for name, e in compared.evidence[first].items()}
    sections = {}
    for protocol, metric in (cells := _cells(compared)):
        sections.setdefault(group_of(protocol), {}).setdefault(protocol, []).append(metric)
    parts = [
        f"<p>{html_page.text(compared.summary)}.</p>",
        f'<p class="note">{html_page.text(_LEGEND)}</p>',
        html_page.contents(list(sections)),
    ]
    for group, metrics in sections.items():
        found = [figures[group]] if group in figures else []
        for protocol, names in metrics.items():
            found.append(f"<h3>{html_page.text(protocol)}</h3>" if protocol != group else "")
            found.append(_table(protocol, names, cells, list(compared.results)))
        told = {name: rests_on[name] for name in metrics}
        found += [intervals_note(told), *card_items(metrics, card.get("protocols", {}))]
        parts.append(html_page.section(group, found))
    title = "Comparison of " + ", ".join(compared.results)
    write_atomically(directory / PAGE, html_page.page(title, parts))
    return directory / PAGE


def _figures(compared: ComparedRuns) -> dict[str, str]:
    """HTML of every group's pictures, whose files have the names of an evaluation's own."""
    with tempfile.TemporaryDirectory() as name:
        directory = epath.Path(name)
        pictures = distribution_pictures(directory, compared.directories)
        for group, drawn in roc_pictures(directory, compared.evidence).items():
            pictures.setdefault(group, {}).update(drawn)
        return {group: html_page.figures(drawn) for group, drawn in pictures.items()}


def _cells(
    compared: ComparedRuns,
) -> dict[tuple[str, str], dict[str, tuple[Mapping[str, float], Comparison | None]]]:
    """`{(protocol, metric): {run: (metrics of the protocol, comparison with the first)}}`."""
    first = next(iter(compared.results))
    found = {(each.protocol, each.metric, each.run): each for each in compared.comparisons}
    cells = {}
    for protocol, metric in dict.fromkeys(key[:2] for key in found):
        cells[protocol, metric] = {
            run: (results[protocol], found.get((protocol, metric, run)))
            for run, results in compared.results.items()
            if run == first or (protocol, metric, run) in found
        }
    return cells


def _change(each: Comparison) -> str:
    """ "+0.41 [-0.10, 0.95], p 0.12" and the verdict, if any."""
    low, high = (number_text(each.metric, v) for v in (each.difference.low, each.difference.high))
    value = number_text(each.metric, each.difference.value, signed=True).removesuffix(" %")
    interval = f"[{low.removesuffix(' %')}, {high.removesuffix(' %')}]"
    return f"{value} {interval}, p {each.p_value:.2g}"


def _markdown(values: Mapping[str, float], each: Comparison | None, metric: str) -> str:
    bounds = bounds_text(metric, values)
    text = number_text(metric, values[metric]) + (f" [{bounds}]" if bounds else "")
    if each is None:
        return text
    change = _change(each)
    return f"{text}; " + (f"**{change}: {each.verdict}**" if each.verdict else change)


def _table(protocol: str, metrics: list[str], cells, runs: list[str]) -> str:
    rows = []
    for metric in metrics:
        of_runs = cells[protocol, metric]
        row = [_cell(*of_runs[run], metric) if run in of_runs else "<td>–</td>" for run in runs]
        rows.append((label(metric), row))
    return html_page.table(["", *runs], rows, protocol)


def _cell(values: Mapping[str, float], each: Comparison | None, metric: str) -> str:
    bounds = bounds_text(metric, values)
    text = number_text(metric, values[metric])
    text += f"<small>{bounds.replace(', ', ' – ')}</small>" if bounds else ""
    if each is not None:
        told = f": {each.verdict}" if each.verdict else ""
        text += f'<small class="{each.verdict or "same"}">{_change(each)}{told}</small>'
    return f"<td>{text}</td>"


def _plain(compared: ComparedRuns) -> dict[str, object]:
    return {
        "runs": {run: str(path) for run, path in compared.directories.items()},
        "against": next(iter(compared.directories)),
        "comparisons": len(compared.comparisons),
        "false_discovery_rate": LEVEL,
        "results": [
            {
                "protocol": each.protocol,
                "metric": each.metric,
                "run": each.run,
                "difference": each.difference.value,
                "low": each.difference.low,
                "high": each.difference.high,
                "p_value": each.p_value,
                "p_bootstrap": each.difference.p_value,
                "mcnemar": each.mcnemar._asdict() if each.mcnemar else None,
                "p_adjusted": each.adjusted,
                "verdict": each.verdict,
            }
            for each in compared.comparisons
        ],
    }
