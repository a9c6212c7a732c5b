"""Every test runs on CPU with eight forced devices and strict rank promotion."""

import os

# Before jax is imported anywhere: the platform cannot change afterwards.
os.environ["JAX_PLATFORMS"] = "cpu"
# Not the user's own compiled programs, neither here nor in the programs that tests start.
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""

import jax  # noqa: E402
from absl import flags  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# grain's worker processes read absl flags, which only a program's main parses.
flags.FLAGS.mark_as_parsed()
