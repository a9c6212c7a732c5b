"""Most of these tests compile more than they compute."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def _compile_quickly():
    """Leaves out LLVM's expensive passes; what XLA does to the program itself stays."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
