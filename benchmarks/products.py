"""How many operations the products of a function take: its convolutions and matrix products."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def operations(function: Callable, *arguments: Any) -> int:
    """Multiplications and additions; arguments are arrays or their shapes."""
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of(jaxpr: core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        shapes = [variable.aval.shape for variable in equation.invars]
        if equation.primitive.name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            depth = math.prod(shapes[0][axis] for axis in contracted)
            total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
        elif equation.primitive.name == "conv_general_dilated":
            # Every number that comes out takes those of the kernel that belong to its feature.
            features = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
            depth = math.prod(shapes[1]) // features
            total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
        else:
            total += sum(map(_of, core.jaxprs_in_params(equation.params)))
    return total
