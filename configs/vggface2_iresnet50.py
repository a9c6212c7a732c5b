"""ArcFace pretraining of iresnet50 on VGGFace2: 8,631 people, 3,141,890 images.

    python train.py --config=configs/vggface2_iresnet50.py --workdir=runs/vggface2_iresnet50 \
        --config.data.path=faces_vgg_112x112 \
        --config.evaluation.protocols=lfw=faces_vgg_112x112/lfw.bin
"""

from configs import _pretraining
from ddl_jax.config import Config, variant


def get_config(name: str = "") -> Config:
    config = _pretraining.arcface("iresnet50", images=3_141_890, batch_size=512, epochs=20)
    return variant(config, name)
