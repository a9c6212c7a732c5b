"""DDL fine-tuning on a folder of faces with an easy and a hard domain.

    python train.py --config=configs/folder_ddl.py --workdir=runs/ddl --config.data.path=FACES \
        --config.init_from.path=runs/folder \
        --config.data.identities=001..150 --config.evaluation.data.identities=151..200

The rules tell the domains from the paths; the first that fits wins. For the margin softmax alone
on the same batches: `--config.loss.distillation.weight=0`.
"""

from configs import folder
from ddl_jax.config import Batch, Config, InitFrom, Optimizer, variant


def get_config(name: str = "") -> Config:
    config = folder.get_config()
    config.steps = 200
    config.batch_size = 16
    config.log_every = 20
    config.data.domain_rules = ("*/frontal/*=easy", "*/profile/*=hard")
    config.batch = Batch(kind="ddl", domains=("easy", "hard"))
    config.init_from = InitFrom(head="keep")
    config.optimizer = Optimizer(learning_rate=0.005, drop_steps=(100,))
    config.checkpoint.every = 100
    return variant(config, name)
