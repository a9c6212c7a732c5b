"""Face recognition that keeps working on hard faces: losses, backbones and a trainer for JAX."""

from typing import Any

__version__ = "0.1.0"


def load_checkpoint(workdir: Any, step: int | None = None) -> Any:
    """A trained backbone: see `ddl_jax.training.checkpoint.load_checkpoint`."""
    # Imported when called: `import ddl_jax.losses` must not bring the trainer's dependencies.
    try:
        from ddl_jax.training.checkpoint import load_checkpoint as load
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"load_checkpoint needs {error.name}; install it with pip install '.[train]'"
        ) from error
    return load(workdir, step)
