"""What an experiment is: typed settings, read from a file and the command line, checked once.

A file in `configs/` returns a `Config`; `--config.KEY=VALUE` overrides a field; `validate` refuses
what cannot work before any data is opened. After that nothing changes a config.
"""

import dataclasses
import difflib
import json
import math
import os
import re
import types
import typing
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from etils import epath
from ml_collections import config_flags

from ddl_jax.errors import UserError


@dataclasses.dataclass
class Model:
    """The backbone and what it expects of an image."""

    name: str = "iresnet50"
    embedding_size: int = 512
    input_size: tuple[int, int] = (112, 112)  # height, width
    # Channel order the network sees, RGB or BGR; mean and deviation of pixels in 0..255, in that
    # order. Empty: those of the weights it starts from, or RGB, 127.5 and 127.5 of a new network.
    colour: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    dtype: str = "float32"  # of the backbone's arithmetic: float32 or bfloat16
    batch_norm: str = "global"  # statistics over the global batch, per_device, groups, or frozen
    batch_norm_group: int = 0  # images of a group for `groups`: whole rows, a part of a device's
    remat: tuple[int, ...] = ()  # stages, from 1, recomputed in the backward pass to save memory
    dropout: float = 0.0  # rate before the last layer; TFace and AdaFace train with 0.4


@dataclasses.dataclass
class Data:
    """Where the images come from. See docs/data.md."""

    source: str = "synthetic_faces"  # or image_folder, recordio, tfrecord, list, tfds, merged
    path: str = ""  # the folder, train.rec, the list, or the directory of the prepared data set
    same: str = ""  # of merged: a CSV first,second of identities that are one person
    root: str = ""  # of list and tfrecord: the folder of what is listed; the list's own when empty
    split: str = "train"  # of synthetic_faces and tfds
    identities: str = ""  # names to use, "001..150,201..250" in natural order; all when empty
    exclude: str = ""  # a text file of images and identities to leave out, a path or name a line
    domain_rules: tuple[str, ...] = ()  # "PATTERN=DOMAIN", first match wins
    metadata: str = ""  # a CSV with a column `path`; its `domain_column` then meets the rules
    domain_column: str = ""
    corrupt: str = "refuse"  # what to do with an unreadable image: refuse or skip
    changed: str = "refuse"  # data that are others than when the run last saved: refuse or accept
    workers: int = 0  # processes that decode; 0 decodes in threads of this process


@dataclasses.dataclass
class Synthetic:
    """The size of synthetic_faces; another size is another data set."""

    train_identities: int = 600
    test_identities: int = 200
    easy_views: int = 4
    hard_views: int = 2
    seed: int = 0


@dataclasses.dataclass
class Batch:
    """What the rows of a batch hold."""

    # images: one a row; identities: the same, some images of each identity; ddl: a row holds a
    # single, first and second of a pair per domain.
    kind: str = "images"
    domains: tuple[str, ...] = ()  # those used, all when empty; ddl: teacher, then students
    shares: tuple[float, ...] = ()  # images: of each domain in every batch; as they come when empty
    images_per_identity: int = 4  # identities: K; batch_size / K different identities a batch
    pairs: str = "same_domain"  # a student's positive pairs: same_domain or easy_hard
    pairs_per_identity: int = 16  # at most, in each domain
    pairs_file: str = ""  # a CSV of positive pairs (domain,first,second) in place of pairs made
    flip: bool = True  # each image mirrored with probability one half
    # Recipes, e.g. "resize:12..30+jpeg:30..70", and what can stand in them: docs/data.md.
    augmentations: tuple[str, ...] = ()  # "SHARE=RECIPE": what befalls this share of all images
    degradations: tuple[str, ...] = ()  # "DOMAIN=RECIPE": a domain made of the first one's images


@dataclasses.dataclass
class ArcFace:
    margin: float = 0.5  # radians
    beyond_pi: str = "monotone"  # easy or none
    gradient: str = "exact"  # or straight_through


@dataclasses.dataclass
class CosFace:
    margin: float = 0.4  # cosine


@dataclasses.dataclass
class Combined:
    m1: float = 1.0
    m2: float = 0.5  # radians
    m3: float = 0.0  # cosine


@dataclasses.dataclass
class NormFace:
    """No margin: only `loss.scale`."""


@dataclasses.dataclass
class SphereFace:
    margin: float = 4.0  # a factor of the angle
    annealing: float = 5.0  # weight of the plain cosine; the paper's ends at 5


@dataclasses.dataclass
class CurricularFace:
    margin: float = 0.5  # radians
    update_rate: float = 0.01  # weight of the new batch in t
    beyond_pi: str = "monotone"  # easy or none


@dataclasses.dataclass
class AdaFace:
    margin: float = 0.4  # radians, and units of cosine
    h: float = 0.333  # the margin saturates at 1 / h deviations of the embeddings' lengths
    update_rate: float = 0.01  # weight of the new batch in the lengths' statistics


@dataclasses.dataclass
class MagFace:
    lower_norm: float = 10.0  # of the embeddings, as are the next
    upper_norm: float = 110.0
    lower_margin: float = 0.45  # radians
    upper_margin: float = 0.8
    beyond_pi: str = "monotone"  # easy, the released code's default, or none
    regularizer_weight: float = 35.0


@dataclasses.dataclass
class ElasticFace:
    kind: str = "arcface"  # or cosface
    margin: float = 0.5  # the mean, in radians; of cosface in cosine, 0.35 in the paper
    deviation: float = 0.05
    assignment: str = "random"  # ranked, ElasticFace+, or released, what its code does of that
    beyond_pi: str = "none"  # monotone or easy


@dataclasses.dataclass
class Distillation:
    """The Distribution Distillation Loss; see `losses.distribution_distillation_loss`."""

    weight: float = 1.0  # of the whole DDL term against the margin softmax; 0 leaves it out
    positive_weight: float = 0.1
    negative_weight: float = 0.02
    order_weight: float = 0.5
    lowest_node: float = -1.0
    highest_node: float = 1.0
    nodes: int = 101
    gamma: float = 50.0
    divergence: str = "kl"  # kl, js or earth_mover
    mining: str = "paper"  # which negatives: paper, tface, top_k, semi_hard or random
    negatives: int = 1  # of each single; more with top_k, semi_hard and random
    fallback: str = "easiest"  # where semi_hard finds too few: easiest, hardest or none
    mask_labels: bool = True  # a single of the same identity is no negative; as released, it may be
    minimum_positive: float = 0.0  # cosine at or below which a positive pair is dropped
    log_space: bool = False  # histograms as logarithms: a gradient where linear ones are empty
    correct_bias: bool = False  # subtract KL between small samples of the same; half for negatives
    past_similarities: int = 0  # of earlier batches in each domain's histograms; 0 for none
    past_embeddings: int = 0  # of earlier batches to pick each domain's negatives from
    stop_teacher_gradient: bool = False
    gradient_times_devices: bool = False  # as released; the logged value stays that of the batch


@dataclasses.dataclass
class Loss:
    margin: str = "arcface"  # the name of one of the margins below
    scale: float = 64.0
    margin_warmup_steps: int = 0  # from no margin to the whole one
    class_chunk: int = 0  # classes looked at at a time, to save the memory of all logits; 0 for all
    inter_class_filter: float = 1.0  # cosine above which a negative counts as 0; 1 filters none
    precision: str = "highest"  # of the class logits' products; default lets an accelerator round
    arcface: ArcFace = dataclasses.field(default_factory=ArcFace)
    cosface: CosFace = dataclasses.field(default_factory=CosFace)
    combined: Combined = dataclasses.field(default_factory=Combined)
    normface: NormFace = dataclasses.field(default_factory=NormFace)
    sphereface: SphereFace = dataclasses.field(default_factory=SphereFace)
    curricularface: CurricularFace = dataclasses.field(default_factory=CurricularFace)
    adaface: AdaFace = dataclasses.field(default_factory=AdaFace)
    magface: MagFace = dataclasses.field(default_factory=MagFace)
    elasticface: ElasticFace = dataclasses.field(default_factory=ElasticFace)
    softmax_images: str = "singles"  # of a ddl batch: singles, as released, or all
    heads: str = "shared"  # one classifier for all domains, or per_domain, as released
    distillation: Distillation = dataclasses.field(default_factory=Distillation)


@dataclasses.dataclass
class Optimizer:
    """The rule of an update, and how the learning rate moves."""

    name: str = "sgd"  # or adamw
    learning_rate: float = 0.1
    rate_for_batch: int = 0  # rows the rate is meant for, scaled to batch_size; 0 takes it as it is
    momentum: float = 0.9  # of sgd
    beta1: float = 0.9  # of adamw, as is the next
    beta2: float = 0.999
    weight_decay: float = 5e-4  # of every parameter, as the references do
    no_decay: tuple[str, ...] = ()  # but of these: batch_norm, prelu, bias
    warmup_steps: int = 0  # linear, from 0
    schedule: str = "drops"  # after the warm-up; cosine and polynomial end at the last step
    drop_steps: tuple[int, ...] = ()  # updates after which the rate is multiplied by drop_factor
    drop_factor: float = 0.1
    power: float = 1.0  # of polynomial; 1, a straight line, in arcface_torch
    final_rate: float = 0.0  # share of the rate that cosine and polynomial end with
    clip_norm: float = 0.0  # a longer gradient is shortened to this length; 0 leaves it
    clip: str = "all"  # whose gradient: all that learns, or the backbone alone, as arcface_torch
    ema_decay: float = 0.0  # of the average of weights that is evaluated and exported; 0 for none


@dataclasses.dataclass
class InitFrom:
    """What a fine-tuning run starts from."""

    path: str = ""  # a work directory of ours, or a PyTorch checkpoint; scratch when empty
    head: str = "keep"  # class centres: keep, reset, or class_means of the training data
    # Of the next three, parts are stem, stage1, ..., embedding (the last layers), head (the class
    # centres) and backbone (all but the head).
    frozen: tuple[str, ...] = ()  # parts that do not learn; batch_norm, every BatchNorm, too
    layer_decay: float = 1.0  # a stage's learning rate is this share of that of what follows it
    rates: tuple[str, ...] = ()  # "PART=FACTOR" of the learning rate, in place of layer_decay's


@dataclasses.dataclass
class Checkpoint:
    every: int = 1000  # steps; the last step is always saved
    minutes: float = 0.0  # and after so many minutes without one, seen when it logs; 0 never
    keep: int = 2  # newest ones
    keep_every: int = 0  # and for good those of every so many steps; 0 none
    best: str = ""  # and the one of the highest PROTOCOL/METRIC of its evaluation, if given


@dataclasses.dataclass
class Evaluation:
    """What a recognizer is measured on: identities that training never saw."""

    # `data.source` may be "none" here: the protocols are all there is to evaluate.
    every: int = 0  # steps; 0 evaluates after the last one only, -1 never
    data: Data = dataclasses.field(default_factory=lambda: Data(source="", split="", corrupt=""))
    easy: str = "easy"  # the gallery's domain
    pairs: tuple[str, ...] = ()  # CSV files of pairs (fold,first,second,same), beside `domains`
    protocols: tuple[str, ...] = ()  # benchmarks, "lfw=FILE.bin"; see docs/evaluation.md
    flip: bool = True  # embeddings of an image and its mirror image are added
    batch_size: int = 256
    seed: int = 0  # of the impostor pairs
    faces: int = 0  # hardest pairs of either kind that the report shows, faces of people; 0: none


@dataclasses.dataclass
class Config:
    """One experiment."""

    seed: int = 0
    steps: int = 20_000  # 0 only takes over the weights of init_from, and evaluates them
    batch_size: int = 128  # rows of the global batch: b of the paper for a ddl batch
    micro_batches: int = 1  # parts in which the backbone sees a batch, to save memory
    max_skipped: int = 10  # updates in a row that are not finite, and skipped, before a run stops
    parallelism: str = "shard_map"  # or pmap
    devices: int = 0  # how many to use; 0 for all
    log_every: int = 50
    profile: int = 0  # steps to trace into the work directory, after the first ten
    model: Model = dataclasses.field(default_factory=Model)
    data: Data = dataclasses.field(default_factory=Data)
    synthetic: Synthetic = dataclasses.field(default_factory=Synthetic)
    batch: Batch = dataclasses.field(default_factory=Batch)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    init_from: InitFrom = dataclasses.field(default_factory=InitFrom)
    checkpoint: Checkpoint = dataclasses.field(default_factory=Checkpoint)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)


class CommandLine(NamedTuple):
    """What `parse` understood. config is None where none was given and none is required."""

    config: Config | None
    workdir: str
    flags: flags.FlagValues


def parse(argv: Sequence[str], *, define: Any = None, trains: bool = True) -> CommandLine:
    """Reads `--config=FILE[:VARIANT] --workdir=DIR --config.KEY=VALUE ...`.

    Args:
      argv: the command line, program name first.
      define: called with the FlagValues to add a program's own flags.
      trains: False for a program that only evaluates: it needs neither `--config` nor what only
        training reads.

    Raises:
      UserError: anything on the command line or in the file is wrong. Nothing has been written.
    """
    argv = [_spell_tuple(argument) for argument in argv]
    _check_keys(argv)
    base = None if trains else _own_config(argv)
    if base is None:
        _check_config_file(argv)
    values = flags.FlagValues()
    try:
        if base is None:
            config_flags.DEFINE_config_file(
                "config",
                None,
                "A file of configs/, with :VARIANT if it has any.",
                flag_values=values,
                sys_argv=argv,
            )
        else:
            config_flags.DEFINE_config_dataclass(
                "config", base, "The run's own.", flag_values=values, sys_argv=argv
            )
        flags.DEFINE_string("workdir", None, "Where this run keeps its files.", flag_values=values)
        flags.DEFINE_bool("help", False, "Print this help.", flag_values=values, short_name="h")
        if define is not None:
            define(values)
        rest = values(argv)
    except UserError:
        raise
    except Exception as error:  # a config file is anybody's code and may raise anything
        raise UserError(_one_line(error)) from error
    if values.help:
        return CommandLine(None, "", values)
    if rest[1:]:
        raise UserError(f"unexpected argument {rest[1]!r}; every setting is --name=value")
    if not values.workdir:
        raise UserError("--workdir is missing; give the directory where this run keeps its files")
    if values.config is None and not values["config"].present:
        if trains:
            raise UserError(
                "--config is missing; give a file of configs/, "
                "e.g. --config=configs/synthetic_pretrain.py"
            )
        return CommandLine(None, values.workdir, values)
    if not isinstance(values.config, Config):
        returned = type(values.config).__name__
        raise UserError(f"get_config() returned {returned}; return ddl_jax.config.Config")
    config = values.config
    if base is not None:
        _leave_out_own_data(config, argv)
    validate(config, trains=trains)
    return CommandLine(config, values.workdir, values)


def _own_config(argv: Sequence[str]) -> Config | None:
    """The work directory's config, where the command line changes one without naming a file."""
    if not any(re.match(r"--?(no)?config\.", argument) for argument in argv):
        return None
    if any(re.match(r"--?(config(=|$)|h$|help)", argument) for argument in argv):
        return None
    workdir = ""
    for i, argument in enumerate(argv):
        if given := re.fullmatch(r"--?workdir(?:=(.*))?", argument):
            workdir = given[1] if given[1] is not None else "".join(argv[i + 1 : i + 2])
    if not workdir:
        return None
    file = epath.Path(workdir) / "config.json"
    if not file.exists():
        raise UserError(f"{workdir} is no work directory of train.py: it has no config.json")
    return from_json(file.read_bytes())


def _leave_out_own_data(config: Config, argv: Sequence[str]) -> None:
    """Protocols that are named, and no data, are all that is evaluated: the data may be gone."""
    named = {key for a in argv if (key := a.lstrip("-").partition("=")[0]).startswith("config.")}
    others = ("config.evaluation.data", "config.evaluation.pairs")
    if "config.evaluation.protocols" in named and not any(key.startswith(others) for key in named):
        config.evaluation.data, config.evaluation.pairs = _no_data(), ()


def _no_data() -> Data:
    return Data(source="none", split="", corrupt="")


def _spell_tuple(argument: str) -> str:
    """`--config.batch.domains=easy,dark`, which the flag library wants as ('easy', 'dark')."""
    given = re.fullmatch(r"(--?config\.([\w.]+)=)([^('\"].*)?", argument, re.DOTALL)
    if given is None or _type_of(given[2]) != tuple[str, ...]:
        return argument
    return given[1] + repr(tuple(given[3].split(",")) if given[3] else ())


def _type_of(key: str) -> Any:
    """The annotation of a setting, None if there is none of this name."""
    hint: Any = Config
    for part in key.split("."):
        hint = typing.get_type_hints(hint).get(part) if dataclasses.is_dataclass(hint) else None
    return hint


def _check_config_file(argv: Sequence[str]) -> None:
    """The flag library takes a missing file without a word, until the config is first used.

    And it calls the settings of a config that was never named unknown flags.
    """
    named = any(re.match(r"--?config(=|$)", argument) for argument in argv)
    if not named and any(re.match(r"--?config\.", argument) for argument in argv):
        raise UserError("--config is missing; --config.KEY=VALUE changes a file: --config=FILE")
    for i, argument in enumerate(argv):
        if argument in ("--config", "-config") and i + 1 < len(argv):
            argument = f"--config={argv[i + 1]}"
        if argument.startswith(("--config=", "-config=")):
            path = argument.split("=", 1)[1].split(":", 1)[0]
            if not os.path.isfile(path):
                raise UserError(f"no config file {path!r}; the ready ones are in configs/")


def _check_keys(argv: Sequence[str]) -> None:
    """Overrides of settings that do not exist, before the flag library words it in its own way."""
    settings = _flat("", Config())
    for argument in argv:
        given = re.match(r"--?(?:no)?config\.([\w.]+)", argument)
        if given is None or (key := given[1]) in settings:
            continue
        if dataclasses.is_dataclass(_type_of(key)):
            inside = next(name for name in settings if name.startswith(f"{key}."))
            raise UserError(f"config.{key} is a group of settings; give one, as config.{inside}")
        last = key.rpartition(".")[2]  # its group may have been forgotten
        same = [name for name in settings if name.rpartition(".")[2] == last]
        close = difflib.get_close_matches(key, same or settings, 1, cutoff=0 if same else 0.8)
        hint = f" did you mean {close[0]}?" if close else ""
        raise UserError(f"unknown config key: {key};{hint} the settings are in ddl_jax/config.py")


def _one_line(error: Exception) -> str:
    """The last line of what a library says: some put a whole traceback into the message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    if isinstance(error, (flags.Error, UserError)):
        return text.removeprefix("ddl_jax.errors.UserError: ")
    return f"the config cannot be read: {type(error).__name__}: {text}"


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


def validate(config: Config, *, trains: bool = True) -> None:
    """Refuses settings that cannot work, whatever the data.

    Args:
      config: the settings.
      trains: False where only its `evaluation` will be used: training needs no data then.

    Raises:
      UserError: names the first such setting, its value and what is allowed.
    """
    _check_types("config", config)
    for key, allowed in _CHOICES.items():
        value = _get(config, key)
        if value not in allowed:
            raise UserError(f"config.{key} is {value!r}; choose one of {', '.join(allowed)}")
    for key in _POSITIVE:
        value = _get(config, key)
        if not value > 0:
            raise UserError(f"config.{key} is {value}; it must be above 0")
    for key in _NOT_NEGATIVE:
        value = _get(config, key)
        if not value >= 0:
            raise UserError(f"config.{key} is {value}; it must not be negative")
    for key, (low, high, what) in _RANGES.items():
        value = _get(config, key)
        if not low <= value <= high:
            raise UserError(f"config.{key} is {value}; it must be {what}")
    data = {"evaluation.data": evaluation_data(config)}
    for name, one in ({"data": config.data} | data if trains else data).items():
        _validate_data(name, one)
    _validate_together(config)


_KINDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "True or False"}
_LISTS = {int: ("whole numbers", "1,2"), float: ("finite numbers", "1,2"), str: ("texts", "a,b")}


def _check_types(name: str, value: Any) -> None:
    """Python takes any value and any new attribute; a config file's slip must not pass."""
    hints = typing.get_type_hints(type(value))
    for key in vars(value):
        if key not in hints:
            raise UserError(
                f"unknown config key {name}.{key}; the settings are in ddl_jax/config.py"
            )
    for key, hint in hints.items():
        item = getattr(value, key)
        if not _is_of(item, hint):
            wanted = _wanted(f"{name}.{key}", hint)
            raise UserError(f"{name}.{key} is {item!r}; it must be {wanted}")
        if dataclasses.is_dataclass(hint):
            _check_types(f"{name}.{key}", item)


def _wanted(name: str, hint: Any) -> str:
    """What a setting must be, in words; of a tuple also how it is given."""
    if not isinstance(hint, types.GenericAlias):
        return _KINDS.get(hint) or f"a {hint.__name__}"
    kind, *rest = typing.get_args(hint)
    words, example = _LISTS[kind]
    default = _get(Config(), name.removeprefix("config."))
    if default:
        example = ",".join(map(str, default))
    count = "" if rest == [...] else f"{1 + len(rest)} "
    return f"a tuple of {count}{words}, on the command line --{name}={example}"


def _is_of(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.GenericAlias):
        if not isinstance(value, tuple):
            return False
        parts = typing.get_args(hint)
        if parts[-1] is ...:
            parts = parts[:1] * len(value)
        return len(value) == len(parts) and all(map(_is_of, value, parts))
    if hint is float:
        return _is_of(value, int) or isinstance(value, float) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


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
            if _get(config.loss, key) != _get(default, key):
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
    _validate_evaluation(config.evaluation)
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


def images_of_a_row(batch: Batch) -> int:
    """Images of a row: in a ddl batch a single and a pair of each domain."""
    return 3 * len(batch.domains) if batch.kind == "ddl" else 1


def _validate_evaluation(evaluation: Evaluation) -> None:
    if evaluation.every < -1:
        raise UserError(f"config.evaluation.every is {evaluation.every}; -1 never, 0 at the end")
    if not 0 <= evaluation.faces <= 20:
        raise UserError(f"config.evaluation.faces is {evaluation.faces}; choose 0 (none) to 20")
    protocol_entries(evaluation.protocols)
    if evaluation.data.source != "none":
        return
    if evaluation.data != _no_data():
        raise UserError("config.evaluation.data.source=none takes no other setting of that group")
    if evaluation.pairs:
        raise UserError("config.evaluation.pairs is about images of config.evaluation.data: none")


class ProtocolEntry(NamedTuple):
    """An entry of `evaluation.protocols`, `KIND[:VARIANT]=PATH[@SECOND]`."""

    kind: str
    variant: str
    path: str
    second: str


def protocol_entries(entries: Sequence[str]) -> list[ProtocolEntry]:
    """The entries of `evaluation.protocols` in their parts.

    Raises:
      UserError: an entry that is not of this form, or a kind and variant that come twice.
    """
    found: dict[tuple[str, str], ProtocolEntry] = {}
    for entry in entries:
        parts = re.fullmatch(r"(\w[\w.-]*)(?::([\w.-]+))?=([^@]+)(?:@([^@]+))?", entry)
        if parts is None:
            raise UserError(
                f"config.evaluation.protocols has {entry!r}; write NAME=PATH, NAME:VARIANT=PATH "
                "or NAME=PATH@IMAGES, e.g. lfw=DIR/lfw.bin"
            )
        one = ProtocolEntry(*(part or "" for part in parts.groups()))
        if (one.kind, one.variant) in found:
            raise UserError(
                f"config.evaluation.protocols names {one.kind!r} twice, which names its results; "
                "rename one"
            )
        if one.kind in ("domains", "pairs"):
            raise UserError(f"config.evaluation.protocols: {one.kind!r} is taken; choose another")
        found[one.kind, one.variant] = one
    return list(found.values())


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


def evaluation_data(config: Config) -> Data:
    """The evaluation's data: what they leave empty is that of the training data.

    Only the split of synthetic_faces is then "test", and `identities` left empty are all. Data of
    another source take nothing over; those at another path the rules, which are about paths in
    general, and what to do with corrupt images; those of another split all but `exclude`, which
    names images of its own.
    """
    data, training = dataclasses.replace(config.evaluation.data), config.data
    if data.source == "none":
        return data
    data.source = data.source or training.source
    if data.source == "synthetic_faces":
        data.split = data.split or "test"
    inherited = {"domain_rules", "corrupt"}
    if not data.path or os.path.realpath(data.path) == os.path.realpath(training.path):
        inherited |= {"path", "root", "same", "split", "metadata", "domain_column"}
    same_source = data.source == training.source
    names = ("path", "root", "same", "domain_rules", "corrupt", "split", "metadata")
    names += ("domain_column",)
    for name in names:
        default = training if same_source and name in inherited else Data()
        setattr(data, name, getattr(data, name) or getattr(default, name))
    if same_source and "path" in inherited and data.split == training.split:
        data.exclude = data.exclude or training.exclude
    return data


def _get(settings: Any, key: str) -> Any:
    value = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def check_name(name: str) -> None:
    """Refuses a `--name` that could not name a folder.

    Raises:
      UserError: it is empty or has other characters than those of a plain file name.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"--name is {name!r}; use letters, digits, '_', '-' and '.'")


def to_json(config: Config) -> str:
    """The config as JSON text; `from_json` is its inverse."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str | bytes) -> Config:
    """The config that `to_json` wrote.

    Raises:
      UserError: the text is not of this version of the settings.
    """
    try:
        config = _build(Config, json.loads(text))
        _check_types("config", config)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"config.json cannot be read: {error}; it is of another version") from error
    return config


def _build(cls: type, value: Any) -> Any:
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls)
        return cls(**{key: _build(hints.get(key), item) for key, item in value.items()})
    if isinstance(cls, types.GenericAlias):  # tuple[...]: JSON knows lists only
        return tuple(value)
    return value


def changed_keys(old: Config, new: Config) -> list[str]:
    """Names of the settings in which two configs differ, e.g. `optimizer.momentum`."""
    before, after = _flat("", old), _flat("", new)
    return [key for key in after if before.get(key) != after[key]]


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    """Every setting by its whole name."""
    if not dataclasses.is_dataclass(value):
        return {prefix: value}
    items: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        name = f"{prefix}.{field.name}" if prefix else field.name
        items |= _flat(name, getattr(value, field.name))
    return items
