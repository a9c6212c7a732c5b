"""Margin training from scratch on the easy views of synthetic_faces: where DDL starts.

python train.py --config=configs/synthetic_pretrain.py --workdir=runs/pretrain
"""

from ddl_jax.config import Batch, Checkpoint, Config, Model, Optimizer, variant


def get_config(name: str = "") -> Config:
    config = Config(
        steps=500,
        batch_size=64,
        log_every=50,
        model=Model(name="iresnet_tiny", embedding_size=128, input_size=(56, 56)),
        batch=Batch(domains=("easy",)),
        optimizer=Optimizer(learning_rate=0.1, warmup_steps=50, drop_steps=(350, 450)),
        checkpoint=Checkpoint(every=100),
    )
    config.loss.scale = 32.0  # few identities: 64 makes the softmax hard before it has learned much
    return variant(config, name)
