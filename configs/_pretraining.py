"""What the pretraining configs share: an ArcFace on aligned 112x112 faces, in bfloat16."""

from ddl_jax.config import Checkpoint, Config, Data, Evaluation, Model, Optimizer


def arcface(network: str, *, images: int, batch_size: int, epochs: int) -> Config:
    """The recipe of arcface_torch: its rate is for 1,024 images and falls to 0 in a straight line,
    the backbone's gradient is clipped at 5. BatchNorm is over all devices; theirs is of each GPU,
    `config.model.batch_norm=per_device`.

    `config.evaluation.protocols` has to name benchmarks: insightface's data sets have LFW's, CFP's
    and AgeDB's beside `train.rec`.

    Args:
      network: a backbone.
      images: of the training data; only the number of steps follows from it.
      batch_size: over all devices.
      epochs: times the data are seen.
    """
    return Config(
        steps=epochs * images // batch_size,
        batch_size=batch_size,
        model=Model(name=network, dtype="bfloat16"),
        data=Data(source="recordio", workers=8),
        optimizer=Optimizer(
            learning_rate=0.1,
            rate_for_batch=1024,
            schedule="polynomial",
            clip_norm=5.0,
            clip="backbone",
        ),
        checkpoint=Checkpoint(every=2000, minutes=30),
        # As there; on benchmarks alone, since nobody is held out.
        evaluation=Evaluation(every=2000, data=Data(source="none", split="", corrupt="")),
    )
