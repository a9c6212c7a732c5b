"""DDL fine-tuning on a folder without hard images: they are made of the easy ones on the fly.

    python train.py --config=configs/folder_degraded_ddl.py --workdir=runs/ddl \
        --config.data.path=FACES --config.init_from.path=runs/folder \
        --config.data.identities=001..150 --config.evaluation.data.identities=151..200

A student for each line of `degradations`; docs/data.md lists what can be done to an image. For the
margin softmax alone on the same batches: `--config.loss.distillation.weight=0`.
"""

from configs import folder_ddl
from ddl_jax.config import Batch, Config, variant


def get_config(name: str = "") -> Config:
    config = folder_ddl.get_config()
    config.data.domain_rules = ()  # all images are easy
    config.batch = Batch(
        kind="ddl",
        domains=("easy", "surveillance", "masked", "night"),
        degradations=("surveillance=cctv", "masked=masked", "night=night"),
    )
    return variant(config, name)
