"""What holds for every loss: exact gradients, dtypes, jit, vmap, and the room's own manners."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from ddl_jax import losses

from .loss_table import (
    LOSSES,
    Loss,
    by_name,
    cast,
    random_inputs,
    structured_inputs,
    weighted_sum,
)

_MODULES = [f"ddl_jax.losses.{module.name}" for module in pkgutil.iter_modules(losses.__path__)]
_KINDS_OF_LOSS = (
    "_loss",
    "_logits",
    "_similarities",
    "_histogram",
    "_divergence",
    "_distance",
    "_cross_entropy",
    "_bias",
)


def test_every_public_loss_is_in_the_table():
    public = {name for name in losses.__all__ if name.endswith((*_KINDS_OF_LOSS, "_vectors"))}
    assert public == {loss.function for loss in LOSSES}


def _value_and_slopes(loss: Loss):
    """The value and its slopes along tangents by every mode: one program where four would be."""
    scalar = weighted_sum(loss)

    def value_and_slopes(arrays, tangents):
        value, transposed = jax.vjp(scalar, *arrays)
        pairs = zip(transposed(jnp.ones_like(value)), tangents, strict=True)
        slopes = {"rev": sum(jnp.vdot(gradient, tangent) for gradient, tangent in pairs)}
        if "fwd" in loss.modes:
            slopes["fwd"] = jax.jvp(scalar, arrays, tangents)[1]
        return value, slopes

    return jax.jit(value_and_slopes)


@pytest.mark.parametrize(**by_name)
def test_gradients_are_exact_in_float64(loss: Loss):
    step = 1e-6  # logits scaled by 64 bend too much for a longer one
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        value_and_slopes = _value_and_slopes(loss)
        for inputs in (random_inputs, structured_inputs):
            arrays = cast(inputs(loss), jnp.float64)
            for _ in range(2):
                tangents = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in arrays)
                ahead, behind = (
                    value_and_slopes(
                        tuple(x + way * t for x, t in zip(arrays, tangents, strict=True)), tangents
                    )[0]
                    for way in (step, -step)
                )
                wanted = (ahead - behind) / (2 * step)
                slopes = value_and_slopes(arrays, tangents)[1]
                assert set(slopes) == set(loss.modes)
                for mode, slope in slopes.items():
                    assert slope.dtype == jnp.float64
                    np.testing.assert_allclose(slope, wanted, rtol=1e-6, atol=1e-6, err_msg=mode)


@pytest.mark.long
@pytest.mark.parametrize(**by_name)
def test_jax_finds_the_gradients_exact_too(loss: Loss):
    scalar = jax.jit(weighted_sum(loss))
    with jax.enable_x64(True):
        for inputs in (random_inputs, structured_inputs):
            arrays = cast(inputs(loss), jnp.float64)
            check_grads(scalar, arrays, order=1, modes=loss.modes, eps=1e-6, atol=1e-6, rtol=1e-6)


@pytest.mark.long  # eager, every operation is a program of its own
@pytest.mark.parametrize(**by_name)
def test_jit_and_vmap_equal_eager_and_compile_once(loss: Loss):
    traces = []

    def counted(*arrays):
        traces.append(arrays)
        return loss.value(*arrays)

    draws = [cast(random_inputs(loss, seed), jnp.float32) for seed in range(2)]
    eager = np.stack([loss.value(*arrays) for arrays in draws])
    compiled = jax.jit(counted)
    np.testing.assert_allclose(
        np.stack([compiled(*arrays) for arrays in draws]), eager, rtol=1e-5, atol=1e-5
    )
    assert len(traces) == 1
    stacked = [jnp.stack(arrays) for arrays in zip(*draws, strict=True)]
    mapped = jax.jit(jax.vmap(loss.value))(*stacked)
    np.testing.assert_allclose(mapped, eager, rtol=1e-5, atol=1e-5)


def _value_and_gradients(loss: Loss):
    def value_and_gradients(*arrays):
        gradients = jax.grad(weighted_sum(loss), tuple(range(len(arrays))))(*arrays)
        return loss.value(*arrays), gradients

    return value_and_gradients


@pytest.mark.parametrize(
    ("dtype", "written"),
    [(jnp.bfloat16, "bf16"), pytest.param(jnp.float16, "f16", marks=pytest.mark.long)],
)
@pytest.mark.parametrize(**by_name)
def test_half_precision_is_widened_before_anything_else(loss: Loss, dtype, written: str):
    lowered = jax.jit(_value_and_gradients(loss)).lower(*cast(random_inputs(loss), dtype))
    value, gradients = lowered.out_info
    assert value.dtype == jnp.float32
    assert {gradient.dtype for gradient in gradients} == {jnp.dtype(dtype)}
    # In the program, the narrow type may only be moved, and converted from and to.
    narrow = [line for line in lowered.as_text().splitlines() if f"x{written}>" in line]
    assert any("stablehlo.convert" in line for line in narrow)
    moves = (
        "constant",
        "broadcast_in_dim",
        "slice",
        "gather",
        "select",
        "while",
        "call",
        "reshape",
    )
    allowed = ("stablehlo.convert", "func.func", "return", *moves)
    assert [line for line in narrow if not any(word in line for word in allowed)] == []


@pytest.mark.parametrize(**by_name)
def test_float32_and_float64_are_kept(loss: Loss):
    with jax.enable_x64(True):
        for dtype in (jnp.float32, jnp.float64):
            arrays = cast(random_inputs(loss), dtype)
            value, gradients = jax.eval_shape(_value_and_gradients(loss), *arrays)
            assert {x.dtype for x in (value, *gradients)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("name", _MODULES)
def test_docstring_examples_run(name: str):
    module = importlib.import_module(name)
    results = doctest.testmod(module)
    assert results.failed == 0
    # Every module with a public function shows how it is used.
    public = {value.__module__ for value in vars(losses).values() if hasattr(value, "__module__")}
    assert results.attempted > 0 or name not in public


def test_losses_need_only_jax_optax_and_chex():
    blocked = [
        "flax",
        "orbax",
        "grain",
        "tensorflow_datasets",
        "tensorflow",
        "torch",
        "cv2",
        "matplotlib",
        "sklearn",
        "ml_collections",
        "etils.epath",
        "tensorboardX",
        "tqdm",
    ]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); "
        "from ddl_jax import losses; losses.order_loss"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
