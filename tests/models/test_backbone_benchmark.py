"""`benchmarks/backbones.py`, where PyTorch is there but has not the network."""

import sys
import types

import pytest

from benchmarks import backbones


@pytest.mark.usefixtures("quick_compilation")
def test_a_network_without_a_side_in_torch_is_timed_alone(monkeypatch, capsys):
    def of_torch(name, **contents):
        module = types.ModuleType(f"benchmarks.{name}")
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    of_torch("torch_iresnet", DEPTHS={"iresnet18": (2, 2, 2, 2)}, TorchIResNet=None)
    of_torch("torch_mobilefacenet", TorchMobileFaceNet=None)
    monkeypatch.setattr(backbones, "_HAS_TORCH", True)
    arguments = "inference --networks iresnet_tiny --batches 2 --size 32 --rounds 1"
    monkeypatch.setattr(sys, "argv", ["backbones", *arguments.split()])
    backbones.main()
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("iresnet_tiny, batch 2: jax ") and line.endswith(" images/s")
