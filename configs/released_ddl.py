"""DDL as its authors' released code trains it, where that is not what the paper says.

    python train.py --config=configs/released_ddl.py --workdir=runs/released \
        --config.init_from.path=runs/vggface2_iresnet50 --config.data.path=VGGFACE2 \
        --config.data.metadata=pose.csv --config.data.domain_column=domain

One CurricularFace head a domain, on the singles; the hardest negatives of a strict upper triangle,
with those of the same identity; histograms from 0 to 1; DDL's gradient times the number of devices,
on which BatchNorm's statistics are each one's own. It launched on 8 GPUs with 32 rows on each.
"""

from configs import vggface2_pose_ddl
from ddl_jax.config import CurricularFace, Distillation, variant


def get_config(name: str = ""):
    config = vggface2_pose_ddl.get_config()
    config.batch_size = 8 * 32
    config.batch.pairs = "same_domain"
    config.model.name, config.model.batch_norm, config.model.dropout = "ir_50", "per_device", 0.4
    config.loss.margin, config.loss.heads = "curricularface", "per_domain"
    config.loss.curricularface = CurricularFace(update_rate=0.1)
    config.loss.distillation = Distillation(
        mining="tface",
        lowest_node=0.0,
        highest_node=0.999,
        nodes=1000,
        mask_labels=False,
        gradient_times_devices=True,
    )
    return variant(config, name)
