"""DDL fine-tuning of a pretrained MobileFaceNet on a folder of frontal and profile images.

python train.py --config=configs/mobilefacenet_ddl.py --workdir=runs/ddl \
    --config.data.path=FACES --config.init_from.path=mobilefacenet.pt

The experiment of docs/results.md. `config.loss.distillation.weight=0` is the margin softmax alone
on the same batches, `config.steps=0` the untouched weights.
"""

from configs import folder_ddl
from ddl_jax.config import Config, Model, variant


def get_config(name: str = "") -> Config:
    config = folder_ddl.get_config()
    # What the pretrained weights expect: ImageNet's mean and deviation.
    config.model = Model(
        name="mobilefacenet_relu6",
        embedding_size=128,
        colour="RGB",
        mean=(123.675, 116.28, 103.53),
        deviation=(58.395, 57.12, 57.375),
    )
    config.steps, config.batch_size, config.log_every = 200, 16, 10
    config.init_from.head = "class_means"
    config.loss.scale = 64.0
    config.optimizer.learning_rate = 1e-3
    config.optimizer.drop_steps = (100,)
    return variant(config, name)
