"""Benchmarks, read as the field distributes them; docs/evaluation.md has their files and rules."""

from ddl_jax.evaluation.protocols.open_protocols import open_protocols
from ddl_jax.evaluation.protocols.protocol import Protocol
from ddl_jax.evaluation.protocols.run import run_protocols

__all__ = ["Protocol", "open_protocols", "run_protocols"]
