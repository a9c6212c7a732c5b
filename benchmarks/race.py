"""Several functions timed in turns: a busy machine slows all alike."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax

_TURN = 0.2  # seconds a turn lasts at least


def race(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of a call of each function in each round, after a first call that compiles.

    A turn repeats its function for a while: another library's threads still spin after the turn
    before, and would be in the way of a function of a few hundred microseconds.
    """
    calls = {name: math.ceil(_TURN / _seconds(function, 2)) for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(1000 * _seconds(function, calls[name]))
    return times


def _seconds(function: Callable[[], Any], calls: int) -> float:
    """The mean time of some calls after a first one."""
    jax.block_until_ready(function())
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(function())
    return (time.perf_counter() - start) / calls
