"""DDL on VGGFace2 by pose: frontal faces teach profiles. Paper: 20K steps.

    python train.py --config=configs/vggface2_pose_ddl.py --workdir=runs/vggface2_pose \
        --config.init_from.path=runs/vggface2_iresnet50 --config.data.path=VGGFACE2 \
        --config.data.metadata=pose.csv --config.data.domain_column=domain

pose.csv has a line `path,domain` an image, domain being frontal or profile. The paper's threshold
of yaw is not known.
"""

from configs import _ddl_paper
from ddl_jax.config import Config, variant


def get_config(name: str = "") -> Config:
    domains = ("frontal", "profile")
    config = _ddl_paper.fine_tuning(steps=20_000, batch_size=32, domains=domains)
    config.batch.pairs = "easy_hard"  # the paper's positive pairs of the student: frontal-profile
    config.evaluation.easy = "frontal"
    return variant(config, name)
