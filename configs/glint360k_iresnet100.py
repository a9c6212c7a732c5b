"""CosFace pretraining of iresnet100 on Glint360K: 360,232 people, 17,091,657 images.

    python train.py --config=configs/glint360k_iresnet100.py --workdir=runs/glint360k_iresnet100 \
        --config.data.path=glint360k \
        --config.evaluation.protocols=lfw=glint360k/lfw.bin
"""

from configs import _pretraining
from ddl_jax.config import Config, variant


def get_config(name: str = "") -> Config:
    config = _pretraining.arcface("iresnet100", images=17_091_657, batch_size=1024, epochs=20)
    config.loss.margin = "cosface"
    config.loss.class_chunk = 8192  # the logits of all classes would not leave much memory
    config.optimizer.weight_decay = 1e-4
    return variant(config, name)
