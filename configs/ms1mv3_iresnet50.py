"""ArcFace pretraining of iresnet50 on MS1MV3: 93,431 people, 5,179,510 images.

    python train.py --config=configs/ms1mv3_iresnet50.py --workdir=runs/ms1mv3_iresnet50 \
        --config.data.path=ms1m-retinaface-t1 \
        --config.evaluation.protocols=lfw=ms1m-retinaface-t1/lfw.bin
"""

from configs import _pretraining
from ddl_jax.config import Config, variant


def get_config(name: str = "") -> Config:
    config = _pretraining.arcface("iresnet50", images=5_179_510, batch_size=1024, epochs=20)
    return variant(config, name)
