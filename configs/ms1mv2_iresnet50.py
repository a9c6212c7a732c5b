"""ArcFace pretraining of iresnet50 on MS1MV2: 85,742 people, 5,822,653 images.

    python train.py --config=configs/ms1mv2_iresnet50.py --workdir=runs/ms1mv2_iresnet50 \
        --config.data.path=faces_emore \
        --config.evaluation.protocols=lfw=faces_emore/lfw.bin
"""

from configs import _pretraining
from ddl_jax.config import Config, variant


def get_config(name: str = "") -> Config:
    config = _pretraining.arcface("iresnet50", images=5_822_653, batch_size=1024, epochs=20)
    return variant(config, name)
