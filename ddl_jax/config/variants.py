"""The variants of a config: `:runlocal` is the same in seconds on a laptop."""

from ddl_jax.config.settings import (
    Config,
    Data,
    Evaluation,
    InitFrom,
    Model,
    Synthetic,
    images_of_a_row,
)
from ddl_jax.errors import UserError


def variant(config: Config, name: str) -> Config:
    """The variant of a config file: "" is the file as written, "runlocal" a run of seconds.

    `runlocal` keeps what the experiment does (batch, losses, heads) and shrinks everything else:
    two steps, a tiny network and a tiny synthetic data set in place of whatever the file reads.
    """
    if name not in ("", "runlocal"):
        raise UserError(f"no variant {name!r} of this config; the only one is :runlocal")
    if name == "runlocal":
        if config.batch.domains:
            students = iter(("low_resolution", "large_pose", "occlusion", "dark"))
            made = {entry.partition("=")[0] for entry in config.batch.degradations}
            config.batch.domains = (
                "easy",
                *(name if name in made else next(students) for name in config.batch.domains[1:]),
            )
        config.steps, config.batch_size, config.log_every = 2, 8, 1
        config.model = Model(
            name="iresnet_tiny",
            embedding_size=32,
            input_size=(32, 32),
            batch_norm=config.model.batch_norm,
            batch_norm_group=min(config.model.batch_norm_group, 2 * images_of_a_row(config.batch)),
            dropout=config.model.dropout,
        )
        config.data, config.evaluation.data = Data(), Evaluation().data
        config.synthetic = Synthetic(
            train_identities=12, test_identities=8, easy_views=3, hard_views=2
        )
        config.evaluation.batch_size, config.evaluation.easy = 32, "easy"
        config.evaluation.pairs = config.evaluation.protocols = ()
        config.optimizer.warmup_steps = 0
        config.optimizer.drop_steps = (1,) if config.optimizer.schedule == "drops" else ()
        config.micro_batches = 1
        config.loss.margin_warmup_steps = min(config.loss.margin_warmup_steps, 1)
        config.batch.pairs_file, config.init_from = "", InitFrom()
    return config
