"""The settings of an experiment, their defaults and what they mean."""

import dataclasses
import os
from typing import Any


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
    workers: int = 0  # processes that decode, four batches of /dev/shm each; 0: threads, without it


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


def no_data() -> Data:
    return Data(source="none", split="", corrupt="")


def images_of_a_row(batch: Batch) -> int:
    """Images of a row: in a ddl batch a single and a pair of each domain."""
    return 3 * len(batch.domains) if batch.kind == "ddl" else 1


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


def get_setting(settings: Any, key: str) -> Any:
    value = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value
