"""What the DDL experiments of the paper share: a pretrained iresnet50, fine-tuned."""

from ddl_jax.config import Batch, Checkpoint, Config, Data, InitFrom, Model, Optimizer


def fine_tuning(*, steps: int, batch_size: int, domains: tuple[str, ...]) -> Config:
    """SGD with rate 1e-3, a tenth of it from half of the steps on; ArcFace and DDL, weight 1.

    Args:
      steps: updates.
      batch_size: rows, of which each has three images for each domain: b of the paper, a GPU's
        there and of all devices here.
      domains: the teacher's, then the students'.
    """
    return Config(
        steps=steps,
        batch_size=batch_size,
        log_every=20,
        model=Model(name="iresnet50"),
        data=Data(source="image_folder"),
        batch=Batch(kind="ddl", domains=domains),
        init_from=InitFrom(head="class_means"),
        optimizer=Optimizer(learning_rate=1e-3, drop_steps=(steps // 2,)),
        checkpoint=Checkpoint(every=max(steps // 10, 1)),
    )
