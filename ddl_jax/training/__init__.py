"""Training: the functional state, the one step, the one loop, checkpoints."""

from ddl_jax.training.checkpoint import load_checkpoint
from ddl_jax.training.fine_tuning import FineTuning, make_fine_tuning
from ddl_jax.training.loop import train_and_evaluate
from ddl_jax.training.state import TrainState
from ddl_jax.training.step import make_train_step

__all__ = [
    "FineTuning",
    "TrainState",
    "load_checkpoint",
    "make_fine_tuning",
    "make_train_step",
    "train_and_evaluate",
]
