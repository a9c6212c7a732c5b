"""ArcFace pretraining of iresnet50 on CASIA-WebFace, 10,572 people, 490,623 images.

    python train.py --config=configs/casia_iresnet50.py --workdir=runs/casia_iresnet50 \
        --config.data.path=faces_webface_112x112 \
        --config.evaluation.protocols=lfw=faces_webface_112x112/lfw.bin

The recipe of the ArcFace paper: 32K steps of 512 images, the rate falls tenfold at 20K and 28K.
DDL's recognizers for SCface and COX start from such a one.
"""

from configs import _pretraining
from ddl_jax.config import Config, Optimizer, variant


def get_config(name: str = "") -> Config:
    config = _pretraining.arcface("iresnet50", images=490_623, batch_size=512, epochs=1)
    config.steps = 32_000
    config.optimizer = Optimizer(learning_rate=0.1, drop_steps=(20_000, 28_000))
    return variant(config, name)
