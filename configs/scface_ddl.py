"""DDL on SCface: faces at 1.0 m teach those at 2.6 m and at 4.2 m, two students. Paper: 1K steps.

    python train.py --config=configs/scface_ddl.py --workdir=runs/scface \
        --config.init_from.path=runs/casia_iresnet50 \
        --config.data.path=SCFACE --config.data.identities=001..050 \
        --config.evaluation.data.identities=051..130

SCFACE holds aligned faces as IDENTITY/IDENTITY_camX_D.jpg with D = 1 (4.2 m), 2 (2.6 m) or 3 (1.0
m), and the mug shot IDENTITY/IDENTITY_frontal.jpg. Which 50 people the paper trained on is not
known.
"""

from configs import _ddl_paper
from ddl_jax.config import Config, variant


def get_config(name: str = "") -> Config:
    config = _ddl_paper.fine_tuning(steps=1000, batch_size=16, domains=("d3", "d2", "d1"))
    config.data.domain_rules = ("*_1.*=d1", "*_2.*=d2", "*_3.*=d3", "*=mugshot")
    config.evaluation.easy = "mugshot"
    return variant(config, name)
