"""ArcFace pretraining of iresnet50 on WebFace4M: 205,990 people, 4,235,242 images.

    python train.py --config=configs/webface4m_iresnet50.py --workdir=runs/webface4m_iresnet50 \
        --config.data.path=WebFace4M \
        --config.evaluation.protocols=lfw=WebFace4M/lfw.bin
"""

from configs import _pretraining
from ddl_jax.config import Config, variant


def get_config(name: str = "") -> Config:
    config = _pretraining.arcface("iresnet50", images=4_235_242, batch_size=1024, epochs=20)
    return variant(config, name)
