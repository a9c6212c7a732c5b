"""Pictures exist, are small, say the numbers, and leave no state behind."""

import sys

import cv2
import numpy as np
import pytest

from ddl_jax.evaluation import RocCurve, Similarities, plots


def similarities(shift, seed=0):
    rng = np.random.default_rng(seed)
    positive = np.clip(rng.normal(shift, 0.15, 3000), -1, 1)
    return Similarities(positive, np.clip(rng.normal(0, 0.1, 5000), -1, 1))


def test_distributions_of_three_runs_and_four_domains(tmp_path):
    domains = ("easy", "low_resolution", "pose", "occlusion")
    runs = {
        run: {name: similarities(0.6 - hard * i / 3) for i, name in enumerate(domains)}
        for run, hard in (("before", 0.4), ("margin only", 0.3), ("DDL", 0.1))
    }
    path = tmp_path / "pictures" / "distributions.png"
    plots.plot_distributions(runs, path)
    height, width, _ = cv2.imread(str(path)).shape
    assert width == 1600 and height > 1000
    assert path.stat().st_size < 200_000
    assert "matplotlib.pyplot" not in sys.modules


def test_distributions_write_separation_and_gap(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    easy = Similarities(np.array([0.7]), np.array([0.1]))
    hard = Similarities(np.array([0.4]), np.array([0.2]), positive_mean=0.5)
    plots.plot_distributions({"run": {"easy": easy, "hard": hard}}, tmp_path / "p.png")
    texts = [axis.texts[0].get_text() for axis in figures[0].axes]
    assert texts == ["separation 0.600", "separation 0.300   gap 0.300"]


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_degenerate_distributions(tmp_path, value):
    one = Similarities(np.full(3, value), np.full(1, value))
    plots.plot_distributions({"run": {"easy": one}}, tmp_path / "p.png")


def test_density_integrates_to_one():
    grid = np.linspace(-1.2, 1.2, 2401)
    density = plots._density(similarities(0.4).positive, grid)
    assert np.sum(density) * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)


def test_roc(tmp_path):
    rng = np.random.default_rng(0)
    curves = {
        f"domain {i}": RocCurve.from_scores(rng.normal(3 - i / 2, 1, 300), [rng.normal(size=9000)])
        for i in range(9)
    }
    curves["perfect"] = RocCurve.from_scores(np.array([1.0]), [np.array([0.0])])
    plots.plot_roc(curves, tmp_path / "roc.png")
    assert 0 < (tmp_path / "roc.png").stat().st_size < 200_000


def test_det_shows_the_errors_that_are_there(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    genuine, impostor = np.array([0.9, 0.8, 0.5, 0.3]), np.array([0.7, 0.4, 0.2, 0.1])
    perfect = RocCurve.from_scores(np.array([1.0]), [np.array([0.0])])
    plots.plot_det(
        {"a": RocCurve.from_scores(genuine, [impostor]), "b": perfect}, tmp_path / "det.png"
    )
    line, nothing = figures[0].axes[0].lines
    far, errors = line.get_data()
    # With one impostor of four accepted, and with two, the genuine .3 alone is still rejected.
    assert far[0] == 0.25 and errors[0] == 0.25 and errors[far == 0.5][0] == 0.25
    assert np.isnan(errors[-1])  # at FAR 1 nothing is rejected: no point on a logarithmic axis
    assert np.isnan(nothing.get_ydata()).all()


def test_curves_of_errors_and_ranks_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    curve = RocCurve.from_scores(rng.normal(2, 1, 300), [rng.normal(size=9000)])
    plots.plot_det({"run": curve}, tmp_path / "det.png")
    plots.plot_cmc({"run": np.array([0.5, 0.8, 0.9]), "one": np.array([1.0])}, tmp_path / "cmc.png")
    for name in ("det.png", "cmc.png"):
        assert 0 < (tmp_path / name).stat().st_size < 200_000


def test_training_curves_leave_holes(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    rows = [
        {"step": 1, "loss": 3.0, "order": None, "kl/pose": 1, "learning_rate": 0.1, "note": "x"},
        {"step": 2, "loss": float("nan"), "order": -0.5, "kl/blur": 2.0},
        {"step": 3, "loss": 1.0, "order": float("inf")},
    ]
    plots.plot_training_curves(rows, tmp_path / "t.png")
    axes = figures[0].axes
    assert [axis.get_title(loc="left") for axis in axes] == ["loss", "kl", "order"]
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), [3, np.nan, 1])
    np.testing.assert_array_equal(axes[2].lines[0].get_ydata(), [np.nan, -0.5, np.nan])
    assert [line.get_label() for line in axes[1].lines] == ["pose", "blur"]
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.plot_training_curves([{"step": 1}], tmp_path / "t.png")
