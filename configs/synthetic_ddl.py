"""DDL fine-tuning on synthetic_faces: one teacher, and a student for each hard domain.

    python train.py --config=configs/synthetic_ddl.py --workdir=runs/ddl \
        --config.init_from.path=runs/pretrain

The margin softmax alone, on the same batches: `--config.loss.distillation.weight=0`.
"""

from configs import synthetic_pretrain
from ddl_jax.config import Batch, Config, Optimizer, variant


def get_config(name: str = "") -> Config:
    config = synthetic_pretrain.get_config()
    config.steps = 100
    config.batch_size = 16
    config.log_every = 20
    config.batch = Batch(
        kind="ddl", domains=("easy", "low_resolution", "large_pose", "occlusion", "dark")
    )
    config.optimizer = Optimizer(learning_rate=0.02, drop_steps=(70,))
    config.checkpoint.every = 20
    return variant(config, name)
