"""The mesh: rows of a batch stay with the process that made them."""

import dataclasses

import jax
import pytest

from ddl_jax import parallel
from ddl_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Device:
    """As much of a device as its place needs."""

    id: int
    process_index: int


def test_the_processes_follow_each_other_whatever_the_wires(monkeypatch):
    # A slice of a TPU pod whose numbering goes to and fro between its four hosts.
    devices = [
        Device(id, process) for id, process in enumerate([0, 0, 1, 1, 1, 1, 0, 2, 0, 2, 2, 2])
    ]
    found = []
    monkeypatch.setattr(parallel, "Mesh", lambda array, *_, **__: found.extend(array))
    parallel.mesh_of(devices)
    assert [device.process_index for device in found] == [0] * 4 + [1] * 4 + [2] * 4
    assert [device.id for device in found] == [0, 1, 6, 8, 2, 3, 4, 5, 7, 9, 10, 11]


def test_the_first_devices_are_taken():
    assert list(parallel.make_mesh(3).devices) == jax.devices()[:3]
    assert parallel.make_mesh().size == 8
    with pytest.raises(UserError, match="config.devices is 9 but this machine has 8"):
        parallel.make_mesh(9)


def test_three_devices_are_told_what_helps():
    with pytest.raises(UserError, match="set config.devices to a power of two"):
        parallel.check_divides(parallel.make_mesh(3), rows=9, classes=1024)
    with pytest.raises(UserError, match="take a multiple of 4"):
        parallel.check_divides(parallel.make_mesh(4), rows=9, classes=1024)
    parallel.check_divides(parallel.make_mesh(4), rows=8, classes=1024)
