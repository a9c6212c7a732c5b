"""DDL on COX by race: Caucasian faces teach Mongolian ones. Paper: 2K steps.

    python train.py --config=configs/cox_ddl.py --workdir=runs/cox \
        --config.init_from.path=runs/casia_iresnet50 --config.data.path=COX \
        --config.data.metadata=races.csv --config.data.domain_column=race

races.csv has a line `path,race` an image, race being caucasian or mongolian: the authors labelled
428 Mongolian and 572 Caucasian people by hand, and trained on half of each; their list is not
public.
"""

from configs import _ddl_paper
from ddl_jax.config import Config, variant


def get_config(name: str = "") -> Config:
    domains = ("caucasian", "mongolian")
    config = _ddl_paper.fine_tuning(steps=2000, batch_size=32, domains=domains)
    config.evaluation.easy = "caucasian"
    return variant(config, name)
