"""Training: the functional state, the one step, the one loop, checkpoints."""

from ddl_jax.training.checkpoint import load_checkpoint
from ddl_jax.training.loop import train_and_evaluate
from ddl_jax.training.state import TrainState
from ddl_jax.training.step import make_train_step

__all__ = ["TrainState", "load_checkpoint", "make_train_step", "train_and_evaluate"]
