"""Errors of callers, told in one line at trace time: which argument, what it is, what was expected.

chex has the same assertions, but its messages number the arguments instead of naming them.
"""

import itertools
import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp


def check_shapes(**arrays: tuple[jax.Array, str]) -> None:
    """Refuses arrays that do not have the dimensions said, e.g. `labels=(labels, "B")`.

    A letter stands for the same size wherever it appears.
    """
    sizes: dict[str, int] = {}
    for name, (array, dimensions) in arrays.items():
        if not hasattr(array, "shape"):
            raise AssertionError(f"{name} is of type {type(array).__name__}; expected an array")
        letters, shape = dimensions.split(), jnp.shape(array)
        known = [f"{letter}={sizes[letter]}" if letter in sizes else letter for letter in letters]
        fits = len(shape) == len(letters) and all(
            sizes.setdefault(letter, size) == size
            for letter, size in zip(letters, shape, strict=True)
        )
        if not fits:
            raise AssertionError(f"{name} has shape {shape}; expected [{', '.join(known)}]")


def check_integers(**arrays: jax.Array) -> None:
    """Refuses arrays that are not of an integer type."""
    for name, array in arrays.items():
        dtype = jnp.asarray(array).dtype
        if not jnp.issubdtype(dtype, jnp.integer):
            raise AssertionError(f"{name} is of type {dtype}; expected integers")


def check_floats(**arrays: jax.Array) -> None:
    """Refuses arrays that are not of a floating point type."""
    for name, array in arrays.items():
        dtype = jnp.asarray(array).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise AssertionError(f"{name} is of type {dtype}; expected floating point numbers")


def check_booleans(**arrays: jax.Array) -> None:
    """Refuses masks that are not of type bool."""
    for name, array in arrays.items():
        dtype = jnp.asarray(array).dtype
        if not jnp.issubdtype(dtype, jnp.bool_):
            raise AssertionError(f"{name} is of type {dtype}; expected bool")


def check_option(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuses a name that is not known."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(known)}")


def check_type(name: str, value: Any, wanted: type, hint: str = "") -> None:
    """Refuses what is not of our own type; the hint says how to get one."""
    if not isinstance(value, wanted):
        raise AssertionError(
            f"{name} is of type {type(value).__name__}; expected {wanted.__name__}{hint}"
        )


def check_list(name: str, values: Any, of: type) -> None:
    """Refuses one of our own where there should be one for each domain."""
    if isinstance(values, of):
        raise AssertionError(f"{name} is one {of.__name__}; give a list, one for each domain")


def check_whole(name: str, value: Any, low: int, high: float = math.inf, why: str = "") -> None:
    """Refuses what is no whole number of [low, high]; `why` says where a bound comes from."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if is_whole and low <= value <= high:
        return
    bounds = f"from {low}" if high == math.inf else f"from {low} to {high}"
    raise ValueError(f"{name} is {value}; expected a whole number {bounds}{why and ', ' + why}")


def check_range(name: str, value: Any, low: float, high: float = math.inf, unit: str = "") -> None:
    """Refuses a number outside [low, high], and infinity; what is traced cannot be looked at."""
    if any(isinstance(number, jax.core.Tracer) for number in (value, low, high)):
        return
    if low <= value <= high and math.isfinite(value):
        return
    bounds = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    raise ValueError(f"{name} is {value}; expected {bounds}{unit and ', ' + unit}")


def check_rising(name: str, values: jax.Array) -> None:
    """Refuses numbers that do not rise strictly; traced ones cannot be looked at and pass."""
    if isinstance(values, jax.core.Tracer):
        return
    # Python's numbers: jax.numpy's would be traced under jit, and then could not be looked at.
    if not all(low < high for low, high in itertools.pairwise(values.tolist())):
        raise ValueError(f"{name} does not rise; give numbers from the lowest to the highest")
