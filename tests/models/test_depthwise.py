"""Depthwise convolution: both forms of it are the same function, gradients included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from ddl_jax.models import depthwise

# Height, width, kernel, stride, padding.
CASES = [
    (6, 5, (3, 3), 1, 1),
    (6, 5, (3, 3), 2, 1),
    (7, 8, (3, 3), 2, 1),
    (7, 8, (3, 3), 3, 0),
    (7, 6, (7, 6), 1, 0),
    (8, 9, (5, 3), 2, 2),
]


def arrays(height, width, size, dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = ((2, height, width, 3), (*size, 3))
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("height, width, size, stride, padding", CASES)
def test_shifts_are_the_librarys_convolution(height, width, size, stride, padding):
    with jax.enable_x64(True):
        x, kernel = arrays(height, width, size)
        pads = ((padding, padding), (padding, padding))
        library = functools.partial(depthwise.grouped_convolution, stride=stride, pads=pads)
        ours = functools.partial(depthwise.depthwise_convolution, stride=stride, padding=padding)
        wanted, back = jax.vjp(library, x, kernel)
        found, ours_back = jax.vjp(lambda x, k: ours(x, k), x, kernel)
        np.testing.assert_allclose(found, wanted, atol=1e-12)
        cotangent = jnp.asarray(np.random.default_rng(1).normal(size=wanted.shape))
        for a, b in zip(ours_back(cotangent), back(cotangent)):
            np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("height, width, size, stride, padding", CASES[:3])
def test_gradients(height, width, size, stride, padding):
    with jax.enable_x64(True):
        ours = functools.partial(depthwise.depthwise_convolution, stride=stride, padding=padding)
        arguments = arrays(height, width, size)
        check_grads(lambda x, k: ours(x, k), arguments, 1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_bfloat16_stays_bfloat16_and_adds_up_its_kernels_gradient_in_float32():
    rng = np.random.default_rng(0)
    # So many images that a sum kept in bfloat16 would stop growing.
    x = jnp.asarray(rng.uniform(0.5, 1.5, (600, 6, 6, 3)), jnp.bfloat16)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3)), jnp.bfloat16)

    def convolve(x, kernel):
        return depthwise.depthwise_convolution(x, kernel, 1, 1)

    y, back = jax.vjp(convolve, x, kernel)
    gradients = back(jnp.ones_like(y))
    assert {a.dtype for a in (y, *gradients)} == {jnp.dtype(jnp.bfloat16)}
    inside = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    wanted = [[inside[:, i : i + 6, j : j + 6].sum((0, 1, 2)) for j in range(3)] for i in range(3)]
    np.testing.assert_allclose(np.asarray(gradients[1], np.float64), wanted, rtol=2**-8)


def test_an_accelerator_gets_the_librarys_convolution():
    x, kernel = arrays(8, 8, (3, 3), np.float32)

    def loss(x, kernel):
        return jnp.sum(depthwise.depthwise_convolution(x, kernel, 1, 1))

    traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
    compiled = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "cuda")}
    assert "stablehlo.convolution" in compiled["cuda"]
    assert "stablehlo.convolution" not in compiled["cpu"]
