"""Every test runs on CPU with eight forced devices and strict rank promotion."""

import gc
import os
import shutil
import tempfile

# Before jax is imported anywhere: the platform cannot change afterwards.
os.environ["JAX_PLATFORMS"] = "cpu"
# Compiled programs and what else is kept are shared by the workers and by the programs that tests
# start, for this run of the tests alone. The first process of it makes the place and removes it.
_FIRST = "PYTEST_XDIST_WORKER" not in os.environ
if _FIRST:
    _PLACE = tempfile.mkdtemp(prefix="ddl_jax-tests-")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": _PLACE,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",  # small steps are under its 1 s
        "XDG_CACHE_HOME": f"{_PLACE}/home",
    }

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# grain's worker processes read absl flags, which only a program's main parses.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope="module")
def quick_compilation(request):
    """For whole runs, steps and networks: XLA leaves out what makes programs fast.

    That halves their time. Not so in `make test-all`, which has no expression of marks: it compiles
    as users do. What does not ask for this always does: losses, PyTorch's ten steps, killed runs.
    """
    quick = request.config.option.markexpr != ""
    with pytest.MonkeyPatch.context() as patch:
        # The programs that tests start are compared with what runs here.
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(quick)))
        jax.config.update("jax_disable_most_optimizations", quick)
        yield
    jax.config.update("jax_disable_most_optimizations", False)


def pytest_collection_finish() -> None:
    """Thousands of tests and the libraries stay to the end: not to be looked through again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Removes what was kept."""
    if _FIRST:
        shutil.rmtree(_PLACE, ignore_errors=True)
