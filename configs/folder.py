"""Margin training from scratch on a folder of faces: identity/.../image.

    python train.py --config=configs/folder.py --workdir=runs/folder --config.data.path=FACES \
        --config.data.identities=001..150 --config.evaluation.data.identities=151..200

The network is the small one for a laptop. On an accelerator take a big one:
`--config.model.name=iresnet50 --config.model.embedding_size=512 --config.batch_size=512`.
"""

from ddl_jax.config import Checkpoint, Config, Data, Model, Optimizer, variant


def get_config(name: str = "") -> Config:
    config = Config(
        steps=800,
        batch_size=64,
        model=Model(name="iresnet_tiny", embedding_size=128),
        data=Data(source="image_folder"),
        optimizer=Optimizer(learning_rate=0.05, warmup_steps=100, drop_steps=(550, 700)),
        checkpoint=Checkpoint(every=250),
    )
    config.loss.scale = 32.0  # small data: 64 makes the softmax hard before it has learned much
    return variant(config, name)
