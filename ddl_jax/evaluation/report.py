"""Results as files: `results.json`, Markdown tables, and a page that works offline."""

from __future__ import annotations

import base64
import html
import json
import math
import numbers
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

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

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.none { color: #767676; font-style: italic; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption, footer { color: #555; font-size: .9rem; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; overflow-wrap: anywhere; }
"""


def write_results(directory: epath.PathLike, results: Results) -> epath.Path:
    """Writes `results.json` in one step, NaN and infinities as null -> its path.

    The file is strict JSON: `{protocol: {metric: value}}`, arrays as lists.
    """
    path = epath.Path(directory) / "results.json"
    text = json.dumps(_plain(results), indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())
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
    card: Mapping[str, object] | None = None,
) -> None:
    """Writes one self-contained HTML page: no script, nothing to fetch.

    Args:
        path: of the page.
        title: of the page.
        runs: `{run: {protocol: {metric: value}}}`; one run is fine.
        pictures: `{caption: PNG file}`, put into the page itself.
        card: what a reader must know to compare the numbers: data, protocol, checkpoint, ...; its
            `protocols`, `{protocol: card}`, stand below the tables of `protocol` and its parts.
    """
    own = dict(card or {})
    cards = own.pop("protocols", {})
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [_figure(caption, picture) for caption, picture in (pictures or {}).items()]
    for protocol in _keys(runs.values()):
        parts.append(_table(runs, protocol))
        if of_this := cards.get(protocol, cards.get(protocol.split("/")[0])):
            parts.append(f"<details><summary>Rule and data</summary>{_items(of_this)}</details>")
    if own:
        parts.append(f"<h2>Protocol card</h2>{_items(own)}")
    parts.append(
        "<footer>Thresholds, means and separations are cosines. "
        "In brackets: 95 % over bootstrap samples of identities. "
        f"“{_INSUFFICIENT}”: so few comparisons that a rate would rest on less than 30 errors, or "
        "none of a kind.</footer>"
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    write_atomically(path, page.encode())


def _table(runs: Mapping[str, Results], protocol: str) -> str:
    head = "".join(f"<th>{_text(run)}</th>" for run in runs)
    body = []
    for metric, values in _rows(runs, protocol, None):
        cells = (
            f"<td{' class=none' if value == _INSUFFICIENT else ''}>{value}</td>" for value in values
        )
        body.append(f"<tr><td>{_text(_label(metric))}</td>{''.join(cells)}</tr>")
    return (
        f'<h2>{_text(protocol)}</h2><div class="wide"><table><thead><tr><th></th>{head}</tr>'
        f"</thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _items(card: Mapping[str, object]) -> str:
    items = (f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in card.items())
    return f"<dl>{''.join(items)}</dl>"


def _figure(caption: str, picture: epath.PathLike) -> str:
    content = base64.b64encode(epath.Path(picture).read_bytes()).decode()
    return (
        f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


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
    text = _number(metric, values[metric])
    bounds = [_number(metric, values.get(f"{metric}{end}")) for end in _BOUNDS]
    if _INSUFFICIENT in (text, *bounds):
        return text
    return f"{text} [{', '.join(bound.removesuffix(' %') for bound in bounds)}]"


def _number(metric: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return _INSUFFICIENT
    if isinstance(value, numbers.Integral):
        return f"{value:,}"
    return f"{100 * value:.2f} %" if metric.startswith(_SHARES) else f"{value:.3f}"


def _label(metric: str) -> str:
    """`tar_at_far_0.01` -> "TAR at FAR 0.01"."""
    words = metric.replace("_", " ").split()
    return " ".join(word.upper() if word in _ABBREVIATIONS else word for word in words)


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


def _text(value: object) -> str:
    return html.escape(str(value))
