"""How fast are the layers of a MobileFaceNet in training, in which form?

    python -m benchmarks.depthwise

Forward and backward of a 3x3 depthwise layer and of a 1x1 layer of MobileFaceNet's middle, each in
the form the network uses and as the library's convolution: milliseconds, medians of runs in turns,
and their ratio.
"""

import argparse
import functools
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.race import race
from ddl_jax.models.depthwise import depthwise_convolution, grouped_convolution


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {vars(options)}")
    rng = np.random.default_rng(0)
    b, size, c = options.batch, options.size, options.channels
    x = jnp.asarray(rng.normal(size=(b, size, size, c)), jnp.float32)
    taps = jnp.asarray(rng.normal(size=(3, 3, c)), jnp.float32)
    matrix = jnp.asarray(rng.normal(size=(c, options.features)), jnp.float32)
    for layer, kernel, ours, library in (
        ("depthwise 3x3", taps, lambda x, k: depthwise_convolution(x, k, 1, 1), _grouped),
        ("1x1", matrix, _product, _pointwise),
    ):
        forms = {"used": ours, "library": library}
        forms = {n: functools.partial(_both_ways(form), x, kernel) for n, form in forms.items()}
        used, convolution = map(statistics.median, race(forms, options.rounds).values())
        print(
            f"{layer}: as used {used:.1f} ms, the library's convolution {convolution:.1f} ms, "
            f"{convolution / used:.1f} times as long"
        )


_grouped = functools.partial(grouped_convolution, stride=1, pads=((1, 1), (1, 1)))


def _product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def _pointwise(x: jax.Array, matrix: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, matrix[None, None], (1, 1), "VALID", dimension_numbers=numbers
    )


def _both_ways(layer: Callable) -> Callable:
    def run(x, kernel):
        y, back = jax.vjp(layer, x, kernel)
        return y, back(y)

    return jax.jit(run)


if __name__ == "__main__":
    main()
