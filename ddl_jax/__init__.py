"""Face recognition that keeps working on hard faces: losses, backbones and a trainer for JAX."""

__version__ = "0.1.0"
