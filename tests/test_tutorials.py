"""The tutorials run, as their readers would run them, and teach something that works."""

import runpy
from pathlib import Path

import pytest

_TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"


def _main(name: str):
    return runpy.run_path(str(_TUTORIALS / name))["main"]()


def test_plain_jax_learns_noisy_people_and_keeps_clear_ones():
    before, after = _main("plain_jax.py")
    assert before["hard"] < 0.7 and after["hard"] > 0.9
    assert after["easy"] > 0.98


@pytest.mark.long  # the same losses as in plain_jax.py
def test_flax_nnx_learns():
    before, after = _main("flax_nnx.py")
    assert before < 0.5 and after > 0.8


def test_many_devices_take_the_step_of_one():
    devices, difference, size = _main("many_devices.py")
    assert devices == 8 and difference < 1e-5 and size > 0.1


@pytest.mark.parametrize("path", sorted(_TUTORIALS.glob("*.py")), ids=lambda path: path.stem)
def test_every_tutorial_is_named_in_the_docs(path: Path):
    assert path.name in (_TUTORIALS.parent / "losses.md").read_text()
