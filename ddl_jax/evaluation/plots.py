"""Pictures of an evaluation as PNG, without pyplot and so without any global state.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; what matters is said a
second time by place, outline or text.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator
from PIL import Image

from ddl_jax.evaluation.evidence import RocBand
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities
from ddl_jax.files import write_atomically

_POSITIVE, _NEGATIVE, _INK = "#0072B2", "#D55E00", "#333333"
_LINES = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STYLES = ("-", "--", "-.", ":")
_DPI = 160  # a picture 10 inches wide shows at 800 px in a README with two dots a pixel
_BOOKKEEPING = (
    *("step", "learning_rate", "images_per_second", "data_wait"),
    *("evaluation_seconds", "evaluation_share"),
)


def plot_distributions(
    runs: Mapping[str, Mapping[str, Similarities]],
    path: epath.PathLike,
    *,
    first: str = "teacher",
) -> None:
    """Similarity distributions: a row for each domain, a column for each run.

    Filled: the domain's genuine (positive) and impostor (negative) cosines. Outlined in each
    hard panel: those of the easy domain of the same run, the teacher. The bars above span
    E[S-]..E[S+]; the gap is what the hard one lacks of the easy one.

    Args:
        runs: `{run: {domain: similarities}}`; the first domain is the easy one, and every run
            has the same domains.
        path: of the PNG.
        first: what the first domain is, written below its name.
    """
    domains = list(next(iter(runs.values())))
    width = 10 if len(runs) > 1 else 7  # what a phone shows, too
    figure = Figure(figsize=(width, 1.1 + 2.1 * len(domains)), dpi=_DPI, layout="constrained")
    axes = figure.subplots(len(domains), len(runs), sharex=True, sharey=True, squeeze=False)
    grid = np.linspace(*_range(runs), 401)
    top = max(
        _density(values, grid).max()
        for domain in (domain for run in runs.values() for domain in run.values())
        for values in (domain.positive, domain.negative)
    )
    for column, (run, similarities) in enumerate(runs.items()):
        axes[0, column].set_title(run, fontsize=13, fontweight="bold", color=_INK)
        for row, name in enumerate(domains):
            easy = similarities[domains[0]] if row else None
            _distribution_panel(axes[row, column], similarities[name], easy, grid, top)
    for row, name in enumerate(domains):
        label = f"{name}\n({first})" if first and not row else name
        axes[row, 0].set_ylabel(label, fontsize=12, color=_INK)
    for axis in axes[-1]:
        axis.set_xlabel("cosine similarity", fontsize=11, color=_INK)
    _distribution_legend(figure, hard=len(domains) > 1)
    _save(figure, path)


def plot_roc(curves: Mapping[str, RocCurve], path: epath.PathLike) -> None:
    """TAR against FAR on a logarithmic axis, a line for each name (a domain, or a run).

    A line begins at the FAR of one false accept: left of that nothing was measured.
    """
    figure, axis = _curves_figure()
    for number, (name, curve) in enumerate(curves.items()):
        axis.plot(*_measured(curve), label=name, **_line(number))
    axis.set(xscale="log", xlim=(None, 1), ylim=(0, 1.01))
    axis.set_xlabel("false accept rate (FAR)", fontsize=12)
    axis.set_ylabel("true accept rate (TAR)", fontsize=12)
    axis.legend(fontsize=11, frameon=False, loc="lower right")
    _save(figure, path)


def plot_roc_bands(curves: Mapping[str, RocBand], path: epath.PathLike) -> None:
    """`plot_roc` with the 95 % of bootstrap samples around each line; 6 lines can be told apart."""
    figure, axis = _curves_figure()
    lowest = 1.0
    for number, (name, curve) in enumerate(curves.items()):
        color = _LINES[(number + 1) % len(_LINES)]
        style = _STYLES[number % len(_STYLES)]
        axis.plot(curve.far, curve.tar, style, color=color, lw=2, label=name)
        axis.fill_between(curve.far, curve.low, curve.high, color=color, alpha=0.16, lw=0)
        lowest = min(lowest, float(np.nanmin([curve.tar[0], curve.low[0]])))
    floor = max(0.0, lowest - 0.05)
    axis.set(xscale="log", xlim=(None, 1), ylim=(floor, 1 + 0.01 * (1 - floor)))
    axis.set_xlabel("false accept rate (FAR)", fontsize=12)
    axis.set_ylabel("true accept rate (TAR)", fontsize=12)
    axis.tick_params(labelsize=11)
    figure.legend(loc="outside lower center", ncols=2, fontsize=11, frameon=False)
    _save(figure, path)


def plot_det(curves: Mapping[str, RocCurve], path: epath.PathLike) -> None:
    """The same as errors: 1 - TAR against FAR, both logarithmic, where `plot_roc` is all at 1.

    A line ends on the right where no genuine pair is rejected.
    """
    figure, axis = _curves_figure()
    for number, (name, curve) in enumerate(curves.items()):
        far, tar = _measured(curve)
        axis.plot(far, np.where(tar < 1, 1 - tar, np.nan), label=name, **_line(number))
    axis.set(xscale="log", yscale="log", xlim=(None, 1), ylim=(None, 1))
    axis.set_xlabel("false accept rate (FAR)", fontsize=12)
    axis.set_ylabel("false reject rate (1 - TAR)", fontsize=12)
    axis.legend(fontsize=11, frameon=False, loc="lower left")
    _save(figure, path)


def plot_cmc(curves: Mapping[str, np.ndarray], path: epath.PathLike) -> None:
    """Shares of probes found within the first ranks (`cumulative_matches`), a line for a name."""
    figure, axis = _curves_figure()
    for number, (name, shares) in enumerate(curves.items()):
        axis.plot(np.arange(1, len(shares) + 1), shares, label=name, **_line(number))
    axis.set(xlim=(1, None), ylim=(None, 1.01))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("rank", fontsize=12)
    axis.set_ylabel("probes found", fontsize=12)
    axis.legend(fontsize=11, frameon=False, loc="lower right")
    _save(figure, path)


def _curves_figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.6), dpi=_DPI, layout="constrained")
    axis = figure.subplots()
    axis.grid(alpha=0.3)
    return figure, axis


def _line(number: int) -> dict[str, object]:
    return {"color": _LINES[number % len(_LINES)], "lw": 2, "drawstyle": "steps-post"}


def _measured(curve: RocCurve) -> tuple[np.ndarray, np.ndarray]:
    """FAR and TAR from the FAR of one false accept on."""
    first = 1 / curve.impostor_count
    measured = curve.far > first
    far = np.concatenate([[first], curve.far[measured]])
    return far, np.concatenate([curve.tar_at_far([first]), curve.tar[measured]])


def plot_training_curves(rows: Sequence[Mapping[str, object]], path: epath.PathLike) -> None:
    """Loss and loss terms against the step, from the rows of `metrics.jsonl`.

    One panel for each number that is no bookkeeping; names with a common part before "/" share
    one. A value that is missing, null or not finite leaves a hole in its line.
    """
    panels: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for row in rows for key in row if _is_number(row[key])):
        if key not in _BOOKKEEPING:
            panels.setdefault(key.split("/")[0], []).append(key)
    if not panels:
        raise ValueError(f"{len(rows)} rows without a loss: nothing to draw")
    # A domain keeps its colour from panel to panel, e.g. from positive_mean to negative_mean.
    labels = list(dict.fromkeys(key.split("/", 1)[-1] for keys in panels.values() for key in keys))
    parts = [label for label in labels if label not in panels]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(10, 0.4 + 2.3 * lines), dpi=_DPI, layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    for axis, (title, keys) in zip(axes, panels.items()):
        for key in keys:
            steps, values = _series(rows, key)
            label = key.removeprefix(f"{title}/")
            number = parts.index(label) if label in parts else 0
            style = _STYLES[number % len(_STYLES)]
            color = _LINES[(number + 1) % len(_LINES)]
            axis.plot(steps, values, style, color=color, lw=1.6, label=label)
        axis.set_title(title.replace("_", " "), fontsize=12, loc="left", color=_INK)
        axis.grid(alpha=0.3)
        axis.tick_params(labelbottom=True)
        if len(keys) > 1:
            axis.legend(fontsize=10, frameon=False)
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis in axes[max(0, len(panels) - columns) : len(panels)]:
        axis.set_xlabel("step", fontsize=11)
    _save(figure, path)


def _distribution_panel(
    axis: Axes, own: Similarities, easy: Similarities | None, grid: np.ndarray, top: float
) -> None:
    for kind, color in (("positive", _POSITIVE), ("negative", _NEGATIVE)):
        axis.fill_between(grid, _density(getattr(own, kind), grid), color=color, alpha=0.45, lw=0)
        if easy is not None:
            axis.plot(grid, _density(getattr(easy, kind), grid), color=color, lw=1.6)
    axis.set(xlim=(grid[0], grid[-1]), ylim=(0, 1.45 * top), yticks=[])
    axis.xaxis.set_major_locator(MultipleLocator(0.4))
    axis.spines[["top", "left", "right"]].set_visible(False)
    axis.tick_params(labelbottom=True, labelsize=10)
    _span(axis, own, 1.2 * top, "black")
    text = f"separation {own.separation:.3f}"
    if easy is not None:
        _span(axis, easy, 1.09 * top, "#888888")
        text += f"   gap {easy.separation - own.separation:.3f}"
    axis.text(
        0.99, 0.99, text, transform=axis.transAxes, ha="right", va="top", fontsize=11, color=_INK
    )


def _span(axis: Axes, similarities: Similarities, height: float, color: str) -> None:
    """A bar from E[S-] to E[S+] with a tick at each."""
    ends = [similarities.negative_mean, similarities.positive_mean]
    axis.plot(ends, [height, height], color=color, lw=2, solid_capstyle="butt")
    for end, tick in zip(ends, (_NEGATIVE, _POSITIVE)):
        axis.plot([end], [height], "|", color=tick, ms=9, mew=2.5)


def _distribution_legend(figure: Figure, *, hard: bool) -> None:
    handles = [
        figure.axes[0].fill_between([], [], color=_POSITIVE, alpha=0.45, lw=0),
        figure.axes[0].fill_between([], [], color=_NEGATIVE, alpha=0.45, lw=0),
        figure.axes[0].plot([], [], color="black", lw=2)[0],
    ]
    labels = ["same person", "different people", "separation: E[S⁻] to E[S⁺]"]
    if hard:
        handles.append(figure.axes[0].plot([], [], color="#888888", lw=1.6)[0])
        labels.append("the easy domain (outline, grey bar)")
    columns = 4 if figure.get_figwidth() > 8 else 2
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=11
    )


def _range(runs: Mapping[str, Mapping[str, Similarities]]) -> tuple[float, float]:
    """The cosines worth an axis: all but a thousandth at either end, and a tenth around."""
    values = np.concatenate(
        [
            np.quantile(kind, [0.001, 0.999])
            for run in runs.values()
            for domain in run.values()
            for kind in (domain.positive, domain.negative)
        ]
    )
    return max(-1.0, values.min() - 0.1), min(1.0, values.max() + 0.1)


def _density(values: np.ndarray, grid: np.ndarray, width: float = 0.025) -> np.ndarray:
    """Density on the grid: a fine histogram, smoothed by a Gaussian of `width` (cosine)."""
    step = 0.005
    edges = np.arange(-1.25, 1.25 + step, step)
    counts = np.histogram(values, edges)[0] / (len(values) * step)
    offsets = np.arange(-4 * width, 4 * width + step, step)
    kernel = np.exp(-0.5 * np.square(offsets / width))
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same")
    return np.interp(grid, (edges[:-1] + edges[1:]) / 2, smooth)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _series(rows: Sequence[Mapping[str, object]], key: str) -> tuple[list[float], list[float]]:
    rows = [row for row in rows if key in row]
    numbers = [row[key] if _is_number(row[key]) else np.nan for row in rows]
    values = [value if np.isfinite(value) else np.nan for value in numbers]
    return [row["step"] for row in rows], values


def _save(figure: Figure, path: epath.PathLike) -> None:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    content = io.BytesIO()
    # Flat colours: a palette makes the file three times smaller and cannot be told apart.
    picture.quantize(128).save(content, "PNG", optimize=True, dpi=(_DPI, _DPI))
    write_atomically(path, content.getvalue())
