"""Refuses what cannot work before any data is opened."""

import math
import re

from ddl_jax.config.kinds import check_types
from ddl_jax.config.protocols import validate_evaluation
from ddl_jax.config.settings import (
    Batch,
    Config,
    Data,
    Distillation,
    InitFrom,
    Loss,
    Optimizer,
    evaluation_data,
    get_setting,
    images_of_a_row,
)
from ddl_jax.errors import UserError


def validate(config: Config, *, trains: bool = True) -> None:
    """Refuses settings that cannot work, whatever the data.

    Args:
      config: the settings.
      trains: False where only its `evaluation` will be used: training needs no data then.

    Raises:
      UserError: names the first such setting, its value and what is allowed.
    """
    check_types("config", config)
    for key, allowed in _CHOICES.items():
        value = get_setting(config, key)
        if value not in allowed:
            raise UserError(f"config.{key} is {value!r}; choose one of {', '.join(allowed)}")
    for key in _POSITIVE:
        value = get_setting(config, key)
        if not value > 0:
            raise UserError(f"config.{key} is {value}; it must be above 0")
    for key in _NOT_NEGATIVE:
        value = get_setting(config, key)
        if not value >= 0:
            raise UserError(f"config.{key} is {value}; it must not be negative")
    for key, (low, high, what) in _RANGES.items():
        value = get_setting(config, key)
        if not low <= value <= high:
            raise UserError(f"config.{key} is {value}; it must be {what}")
    data = {"evaluation.data": evaluation_data(config)}
    for name, one in ({"data": config.data} | data if trains else data).items():
        _validate_data(name, one)
    _validate_together(config)


_PATHS = {  # what config.data.path is of the sources that need one
    "image_folder": "the folder with one sub-folder an identity",
    "recordio": "train.rec, or the folder that it is in",
    "tfrecord": "the list of the records (NAME, shard, offset, label)",
    "list": "the list of the images (path, label, domain)",
    "tfds": "the directory of the prepared data set",
    "merged": "the list of what is merged, a CSV (name, source, path)",
}


_SOURCES = ("synthetic_faces", *_PATHS)


_SPLIT = ("synthetic_faces", "tfds")  # those that have splits


_LISTED = ("tfrecord", "list")  # those whose path is a list


_BEYOND_PI = ("monotone", "easy", "none")


_CHOICES = {
    "parallelism": ("shard_map", "pmap"),
    "model.colour": ("", "RGB", "BGR"),
    "model.dtype": ("float32", "bfloat16"),
    "model.batch_norm": ("global", "per_device", "groups", "frozen"),
    "data.source": _SOURCES,
    "evaluation.data.source": ("", *_SOURCES, "none"),
    "data.corrupt": ("refuse", "skip"),
    "evaluation.data.corrupt": ("", "refuse", "skip"),
    "data.changed": ("refuse", "accept"),
    "batch.kind": ("images", "identities", "ddl"),
    "batch.pairs": ("same_domain", "easy_hard"),
    "loss.precision": ("default", "high", "highest"),
    "loss.margin": (
        "arcface",
        "cosface",
        "combined",
        "normface",
        "sphereface",
        "curricularface",
        "adaface",
        "magface",
        "elasticface",
    ),
    "loss.arcface.beyond_pi": _BEYOND_PI,
    "loss.curricularface.beyond_pi": _BEYOND_PI,
    "loss.magface.beyond_pi": _BEYOND_PI,
    "loss.elasticface.beyond_pi": _BEYOND_PI,
    "loss.elasticface.kind": ("arcface", "cosface"),
    "loss.elasticface.assignment": ("random", "ranked", "released"),
    "loss.arcface.gradient": ("exact", "straight_through"),
    "loss.softmax_images": ("singles", "all"),
    "loss.heads": ("shared", "per_domain"),
    "loss.distillation.divergence": ("kl", "js", "earth_mover"),
    "loss.distillation.mining": ("paper", "tface", "top_k", "semi_hard", "random"),
    "optimizer.name": ("sgd", "adamw"),
    "optimizer.schedule": ("drops", "cosine", "polynomial"),
    "optimizer.clip": ("all", "backbone"),
    "loss.distillation.fallback": ("easiest", "hardest", "none"),
    "init_from.head": ("keep", "reset", "class_means"),
}


_POSITIVE = (
    "batch_size",
    "micro_batches",
    "max_skipped",
    "log_every",
    "model.embedding_size",
    "batch.pairs_per_identity",
    "batch.images_per_identity",
    "loss.scale",
    "loss.distillation.negatives",
    "optimizer.learning_rate",
    "optimizer.drop_factor",
    "optimizer.power",
    "checkpoint.every",
    "checkpoint.keep",
    "evaluation.batch_size",
    "synthetic.train_identities",
    "synthetic.test_identities",
    "synthetic.easy_views",
)


_NOT_NEGATIVE = (
    "devices",
    "profile",
    "data.workers",
    "evaluation.data.workers",
    "loss.margin_warmup_steps",
    "loss.class_chunk",
    "loss.sphereface.annealing",
    "loss.adaface.h",
    "loss.magface.regularizer_weight",
    "loss.elasticface.deviation",
    "loss.distillation.weight",
    "loss.distillation.positive_weight",
    "loss.distillation.negative_weight",
    "loss.distillation.order_weight",
    "checkpoint.minutes",
    "checkpoint.keep_every",
    "optimizer.rate_for_batch",
    "optimizer.weight_decay",
    "optimizer.warmup_steps",
    "optimizer.clip_norm",
    "synthetic.hard_views",
)


# What a number means where its sign alone does not tell: lowest, highest, in words.
_RANGES = {
    "seed": (0, 2**32 - 1, "from 0 to 4294967295"),
    "steps": (0, 2**31 - 1, "from 0 to 2147483647"),
    "loss.distillation.past_similarities": (0, 2**24, "from 0 to 16777216"),
    "loss.distillation.past_embeddings": (0, 2**24, "from 0 to 16777216"),
    "loss.arcface.margin": (0.0, math.pi, "in radians, from 0 to pi"),
    "loss.combined.m2": (-math.pi, math.pi, "in radians, from -pi to pi"),
    "loss.cosface.margin": (0.0, 2.0, "in units of cosine, from 0 to 2"),
    "loss.distillation.gamma": (1e-9, math.inf, "at least 1e-9, in one over squared cosines"),
    "loss.distillation.minimum_positive": (-1.0, 1.0, "a cosine, from -1 to 1"),
    "model.dropout": (0.0, 1 - 1e-9, "from 0 to below 1"),
    "init_from.layer_decay": (1e-9, 1.0, "above 0 and at most 1"),
    "optimizer.momentum": (0.0, 1 - 1e-9, "from 0 to below 1"),
    "optimizer.beta1": (0.0, 1 - 1e-9, "from 0 to below 1"),
    "optimizer.beta2": (0.0, 1 - 1e-9, "from 0 to below 1"),
    "optimizer.ema_decay": (0.0, 1 - 1e-9, "from 0 to below 1"),
    "optimizer.final_rate": (0.0, 1.0, "a share, from 0 to 1"),
}


def _validate_data(name: str, data: Data) -> None:
    if data.source == "none":
        return
    if data.source in _PATHS and not data.path:
        raise UserError(f"config.{name}.path is empty; give {_PATHS[data.source]}")
    if bool(data.metadata) != bool(data.domain_column):
        raise UserError(f"config.{name}.metadata and domain_column go together; one is empty")
    for rule in data.domain_rules:
        if rule.count("=") != 1 or not all(rule.split("=")):
            raise UserError(f"config.{name}.domain_rules has {rule!r}; write PATTERN=DOMAIN")
    # A setting that nothing reads is a mistake that nobody would see.
    if name != "data" and data.changed != Data().changed:
        raise UserError(f"config.{name}.changed is for training; eval.py has --name for other data")
    if data.source == "synthetic_faces" and (data.domain_rules or data.metadata):
        raise UserError(f"config.{name}: synthetic_faces has its own domains; remove the rules")
    if data.source not in _SPLIT and data.split != "train":
        raise UserError(
            f"config.{name}.split is {data.split!r}, but {data.source} has no splits; choose "
            f"people by config.{name}.identities"
        )
    if data.source == "synthetic_faces" and data.corrupt == "skip":
        raise UserError(f"config.{name}.corrupt=skip: synthetic_faces are never corrupt; remove it")
    if data.source != "merged" and data.same:
        raise UserError(f"config.{name}.same is for merged; put {data.source} into a list of one")
    if data.source not in _LISTED and data.root:
        raise UserError(f"config.{name}.root is for {' and '.join(_LISTED)}, not {data.source}")


def _validate_together(config: Config) -> None:
    """What no field can tell alone."""
    _validate_distillation(config.loss.distillation, config.batch_size)
    _validate_fine_tuning(config)
    _validate_batch(config.batch, config.batch_size)
    if config.batch.kind != "ddl":
        default = Loss()
        of_ddl = (f"distillation.{key}" for key in vars(default.distillation))
        for key in ("heads", "softmax_images", *of_ddl):
            if get_setting(config.loss, key) != get_setting(default, key):
                raise UserError(f"config.loss.{key} is for batches of config.batch.kind=ddl")
    _validate_pairs(config.batch)
    domains = config.batch.domains
    if len(set(domains)) != len(domains):
        raise UserError(f"config.batch.domains is {domains}; name every domain once")
    if config.batch.kind == "ddl" and len(domains) < 2:
        raise UserError(
            f"config.batch.domains is {domains}; a ddl batch needs the teacher and at least one "
            "student"
        )
    _validate_optimizer(config.optimizer, config.steps)
    if config.checkpoint.best and "/" not in config.checkpoint.best:
        raise UserError(
            f"config.checkpoint.best is {config.checkpoint.best!r}; write PROTOCOL/METRIC as in "
            "results.json, e.g. domains/all/separation"
        )
    validate_evaluation(config.evaluation)
    group, row = config.model.batch_norm_group, images_of_a_row(config.batch)
    if config.model.batch_norm == "groups" and group % row:
        raise UserError(
            f"config.model.batch_norm_group is {group}; a group holds whole rows of a ddl batch, "
            f"{row} images each with {len(domains)} domains: give a multiple of {row}"
        )
    if min(config.model.input_size) < 16:
        size = config.model.input_size
        raise UserError(f"config.model.input_size is {size}; give 16 pixels or more")
    for name in ("mean", "deviation"):
        values = getattr(config.model, name)
        if len(values) not in (0, 3):
            raise UserError(f"config.model.{name} is {values}; give three numbers, or none")
    if min(config.model.deviation, default=1) <= 0:
        raise UserError(f"config.model.deviation is {config.model.deviation}; give values above 0")


def _validate_pairs(batch: Batch) -> None:
    """A file of pairs for a batch that has none, or beside settings of pairs that are made."""
    if not batch.pairs_file:
        return
    if batch.kind != "ddl":
        raise UserError("config.batch.pairs_file is for batches of config.batch.kind=ddl")
    if batch.pairs_per_identity != Batch().pairs_per_identity:
        raise UserError(
            "config.batch.pairs_per_identity is for pairs that are made; config.batch.pairs_file "
            "is taken as it is"
        )


def _validate_batch(batch: Batch, batch_size: int) -> None:
    if batch.degradations or batch.augmentations:
        from ddl_jax.data import augment  # not for those who degrade nothing: OpenCV is behind it

        augment.read_augmentations(batch)
        augment.read_degradations(batch)
    each = batch.images_per_identity
    if batch.kind == "identities" and batch_size % each:
        raise UserError(
            f"config.batch_size is {batch_size}, which is no multiple of "
            f"config.batch.images_per_identity={each}; change one of them"
        )
    if batch.kind != "identities" and each != Batch().images_per_identity:
        raise UserError("config.batch.images_per_identity is for config.batch.kind=identities")
    if not batch.shares:
        return
    if batch.kind != "images":
        raise UserError(
            f"config.batch.shares is for config.batch.kind=images, not for {batch.kind}"
        )
    if len(batch.shares) != len(batch.domains):
        raise UserError(
            f"config.batch.shares is {batch.shares}; give one share for each of the "
            f"{len(batch.domains)} config.batch.domains"
        )
    if not (min(batch.shares) > 0 and math.isclose(sum(batch.shares), 1, abs_tol=1e-3)):
        raise UserError(
            f"config.batch.shares is {batch.shares}; give numbers above 0 whose sum is 1"
        )


def _validate_distillation(options: Distillation, batch_size: int) -> None:
    name = "config.loss.distillation"
    if options.nodes < 2 or options.lowest_node >= options.highest_node:
        raise UserError(f"{name} needs 2 or more nodes and lowest_node < highest_node")
    for key in ("log_space", "correct_bias"):
        if getattr(options, key) and options.divergence != "kl":
            raise UserError(f"{name}.{key} is for divergence=kl, not for {options.divergence}")
    if options.mining in ("paper", "tface") and options.negatives != 1:
        raise UserError(
            f"{name}.negatives is {options.negatives}; mining={options.mining} takes 1, top_k more"
        )
    if options.mining != "semi_hard" and options.fallback != Distillation().fallback:
        raise UserError(f"{name}.fallback is for mining=semi_hard, not for {options.mining}")
    if options.mining == "tface" and options.past_embeddings:
        raise UserError(f"{name}.past_embeddings: mining=tface looks at the batch alone")
    if options.past_embeddings and not options.mask_labels:
        raise UserError(f"{name}.past_embeddings may be of the same identities; set mask_labels")
    if options.negatives > batch_size + options.past_embeddings:
        raise UserError(
            f"{name}.negatives is {options.negatives}; a batch has {batch_size} singles of a "
            f"domain, past_embeddings adds {options.past_embeddings}"
        )


# Of the optimizer: settings that only one rule or one schedule reads.
_READ_BY = {
    "momentum": ("name", ("sgd",)),
    "beta1": ("name", ("adamw",)),
    "beta2": ("name", ("adamw",)),
    "drop_steps": ("schedule", ("drops",)),
    "drop_factor": ("schedule", ("drops",)),
    "power": ("schedule", ("polynomial",)),
    "final_rate": ("schedule", ("cosine", "polynomial")),
}


NO_DECAY = ("batch_norm", "prelu", "bias")


def _validate_optimizer(optimizer: Optimizer, steps: int) -> None:
    name, default = "config.optimizer", Optimizer()
    for key, (choice, readers) in _READ_BY.items():
        chosen = getattr(optimizer, choice)
        if chosen not in readers and getattr(optimizer, key) != getattr(default, key):
            raise UserError(
                f"{name}.{key} is for {choice}={' or '.join(readers)}, not for {chosen}; remove it"
            )
    drops = optimizer.drop_steps
    if list(drops) != sorted(set(drops)) or any(step <= 0 for step in drops):
        raise UserError(f"{name}.drop_steps is {drops}; give rising steps above 0")
    for what in optimizer.no_decay:
        if what not in NO_DECAY:
            raise UserError(f"{name}.no_decay names {what!r}; give some of {', '.join(NO_DECAY)}")
    if drops and drops[0] < optimizer.warmup_steps:
        raise UserError(
            f"{name}.drop_steps begin at {drops[0]}, inside the warm-up; give steps from "
            f"warmup_steps={optimizer.warmup_steps} on"
        )
    if optimizer.schedule != "drops" and 0 < steps <= optimizer.warmup_steps:
        raise UserError(
            f"{name}.warmup_steps is {optimizer.warmup_steps}, which leaves none of "
            f"config.steps={steps} to schedule={optimizer.schedule}; lower it"
        )
    if optimizer.clip == "backbone" and not optimizer.clip_norm:
        raise UserError(f"{name}.clip is 'backbone' but clip_norm is 0; give the norm")


def _validate_fine_tuning(config: Config) -> None:
    settings, default = config.init_from, InitFrom()
    for key in ("frozen", "layer_decay", "rates"):
        if not settings.path and getattr(settings, key) != getattr(default, key):
            raise UserError(
                f"config.init_from.{key} is for weights that have learned already; give "
                "config.init_from.path"
            )
    if len(set(settings.frozen)) != len(settings.frozen):
        raise UserError(f"config.init_from.frozen is {settings.frozen}; name every part once")
    part_rates(settings)


def part_rates(settings: InitFrom) -> dict[str, float]:
    """The factors of `init_from.rates` by part.

    Raises:
      UserError: an entry is not PART=FACTOR with a factor above 0, or names a part again.
    """
    factors: dict[str, float] = {}
    for entry in settings.rates:
        part, _, written = entry.partition("=")
        try:
            factor = float(written)
        except ValueError:
            factor = math.nan
        if not (part and 0 < factor < math.inf):
            raise UserError(
                f"config.init_from.rates has {entry!r}; write PART=FACTOR with a finite factor "
                "above 0, and parts that do not learn in config.init_from.frozen"
            )
        if part in factors:
            raise UserError(f"config.init_from.rates names {part!r} twice; give it one factor")
        factors[part] = factor
    return factors


def check_name(name: str) -> None:
    """Refuses a `--name` that could not name a folder.

    Raises:
      UserError: it is empty or has other characters than those of a plain file name.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"--name is {name!r}; use letters, digits, '_', '-' and '.'")
