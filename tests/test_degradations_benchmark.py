"""The jitted degradation that is timed beside the workers' does the same to a picture."""

import cv2
import jax
import numpy as np
import pytest

from benchmarks import degradations
from ddl_jax.data.degradations import camera

_KERNELS = {
    degradations.NEAREST: cv2.INTER_NEAREST,
    degradations.LINEAR: cv2.INTER_LINEAR,
    degradations.CUBIC: cv2.INTER_CUBIC,
    degradations.AREA: cv2.INTER_AREA,
}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2) * 2


@pytest.mark.parametrize("sigma, side", [(0.5, 32), (1.0, 20), (2.0, 13)])
def test_jitted_pixels_are_opencvs_but_for_rounding(image, sigma, side):
    program = jax.jit(degradations.degrade)
    rng = np.random.default_rng(1)
    for down in _KERNELS:
        for up in list(_KERNELS)[:3]:
            errors = np.zeros((32, 32, 3), np.float32)
            errors[:side, :side] = rng.normal(0, 4, (side, side, 3)).round()
            blurred = camera.blur(image, sigma, rng)
            small = cv2.resize(blurred, (side, side), interpolation=_KERNELS[down])
            small = cv2.add(small, errors[:side, :side], dtype=cv2.CV_8U)
            expected = cv2.resize(small, (112, 112), interpolation=_KERNELS[up]).astype(int)
            found = np.asarray(program(image, sigma, float(side), down, up, errors)).astype(int)
            assert np.abs(found - expected).mean() < 0.5 and np.abs(found - expected).max() <= 4


@pytest.mark.long
def test_the_script_runs_small(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", "--batch=4", "--rounds=1", "--batches=30"])
    degradations.main(None)
    assert "images a second by the clock: OpenCV " in capsys.readouterr().out
