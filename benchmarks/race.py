"""Several functions timed in turns: a busy machine slows all alike."""

import time
from collections.abc import Callable
from typing import Any

import jax


def race(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each function in each round; two rounds before them compile and warm up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            if number > 1:
                times[name].append(1000 * (time.perf_counter() - start))
    return times
