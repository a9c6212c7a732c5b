"""Settings: every mistake is one line, everything else arrives typed and survives the file."""

import dataclasses
import json
import pathlib
import re

import pytest

from ddl_jax import config as config_lib
from ddl_jax.config import Config, Data, InitFrom, from_json, parse, to_json, validate, validation
from ddl_jax.errors import UserError

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
DDL = f"--config={ROOT / 'configs' / 'synthetic_ddl.py'}"
PRETRAIN = f"--config={ROOT / 'configs' / 'synthetic_pretrain.py'}"
FOLDER = f"--config={ROOT / 'configs' / 'folder.py'}"
WORKDIR = "--workdir=runs/x"


def _refusal(*arguments: str, **options) -> str:
    with pytest.raises(UserError) as caught:
        parse(["train.py", *arguments], **options)
    told = str(caught.value)
    assert told and "\n" not in told
    return told


def _config(*arguments: str, file: str = DDL) -> Config:
    return parse(["train.py", file, WORKDIR, *arguments]).config


def _file(tmp_path: pathlib.Path, body: str) -> str:
    """`--config=` a file whose get_config has this body."""
    lines = [
        "from ddl_jax.config import *",
        "from ddl_jax.errors import UserError",
        "def get_config(name=''):",
        *(f"    {line}" for line in body.splitlines()),
    ]
    (tmp_path / "experiment.py").write_text("\n".join(lines) + "\n")
    return f"--config={tmp_path / 'experiment.py'}"


@pytest.mark.parametrize(
    "argument, told",
    [
        ("--confg=3", "Unknown command line flag 'confg'"),
        ("--config.margin=3", "unknown config key: margin; did you mean loss.margin?"),
        ("--config.loss.margn=3", "margn; did you mean loss.margin?"),
        ("--config.loss.arcface.margn=3", "margn; did you mean loss.arcface.margin?"),
        ("--config.lss.margin=3", "unknown config key"),
        ("--config.steps.more=3", "unknown config key"),
        ("--config.loss=3", "config.loss is a group of settings; give one, as config.loss.margin"),
        ("--config.steps=many", "--config.steps=many"),
        ("--config.steps=1.5", "--config.steps=1.5"),
        ("--config.steps=", "--config.steps="),
        ("--config.steps", "Missing value"),
        ("--config.batch.flip=perhaps", "--config.batch.flip=perhaps"),
        ("--config.loss.arcface.margin=nan", "margin is nan; it must be a finite number"),
        (
            "--config.optimizer.learning_rate=inf",
            "learning_rate is inf; it must be a finite number",
        ),
        (
            "--config.optimizer.drop_steps=ten",
            "drop_steps is ('ten',); it must be a tuple of whole numbers, on the command line "
            "--config.optimizer.drop_steps=1,2",
        ),
        (
            "--config.model.input_size=64",
            "input_size is (64,); it must be a tuple of 2 whole numbers, on the command line "
            "--config.model.input_size=112,112",
        ),
        ("--config.model.mean=1,2", "mean is (1, 2); give three numbers, or none"),
        ("--config.model.remat=stage1", "on the command line --config.model.remat=1,2"),
        ("--flagfile=nothing.txt", "nothing.txt"),
        ("train", "unexpected argument 'train'"),
        ("config", "unexpected argument 'config'"),
    ],
)
def test_a_wrong_argument_is_refused(argument, told):
    assert told in _refusal(DDL, WORKDIR, argument)


def test_what_is_missing_is_told():
    assert _refusal(DDL).startswith("--workdir is missing")
    assert _refusal(WORKDIR).startswith("--config is missing")
    assert "Missing value" in _refusal(WORKDIR, "--config")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config=configs/nothing.py"],
        ["--config=configs/nothing.py:runlocal"],
        ["--config="],
        ["--config", "configs/nothing.py"],
        [f"--config={ROOT / 'configs'}"],
    ],
)
def test_a_missing_config_file_is_refused(arguments):
    assert _refusal(WORKDIR, *arguments).startswith("no config file")


def test_an_unknown_variant_is_refused():
    assert "no variant 'runlokal'" in _refusal(WORKDIR, f"{DDL}:runlokal")


@pytest.mark.parametrize(
    "body, told",
    [
        ("return Config(", "SyntaxError"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("return Config(stepz=1)", "stepz"),
        ("config = Config()\nconfig.stepz = 1\nreturn config", "unknown config key config.stepz"),
        ("config = Config()\nconfig.loss.m = 1\nreturn config", "unknown config key config.loss.m"),
        ("return Config(steps='many')", "config.steps is 'many'; it must be a whole number"),
        ("return Config(steps=True)", "config.steps is True"),
        ("return Config(loss=Data())", "config.loss is"),
        ("config = Config()\nconfig.batch.domains = ['easy']\nreturn config", "a tuple of texts"),
        ("return {'steps': 1}", "get_config() returned dict"),
        ("raise ValueError('my own words')", "my own words"),
        ("raise UserError('do this instead')", "do this instead"),
        ("return Config(steps=-1)", "config.steps is -1"),
    ],
)
def test_a_mistake_in_the_config_file_is_refused(tmp_path, body, told):
    assert told in _refusal(WORKDIR, _file(tmp_path, body))


def test_a_config_file_that_returns_nothing_is_refused(tmp_path):
    assert "get_config() returned None" in _refusal(WORKDIR, _file(tmp_path, "Config()"))


def test_overrides_are_typed():
    config = _config(
        "--config.steps=7",
        "--config.loss.arcface.margin=1",
        "--config.optimizer.drop_steps=3,5",
        "--config.model.input_size=(64,48)",
        "--config.batch.flip=false",
        "--config.data.path=a=b",
        "--config.evaluation.data.identities=151..200",
    )
    assert (config.steps, type(config.loss.arcface.margin)) == (7, float)
    assert config.optimizer.drop_steps == (3, 5)
    assert config.model.input_size == (64, 48)
    assert config.batch.flip is False
    assert config.data.path == "a=b"
    assert (config.evaluation.data.identities, config.data.identities) == ("151..200", "")


@pytest.mark.parametrize(
    "written, expected",
    [
        ("easy,dark", ("easy", "dark")),
        ("('easy','dark')", ("easy", "dark")),
        ("'easy','dark'", ("easy", "dark")),
    ],
)
def test_names_may_be_listed_with_and_without_quotes(written, expected):
    assert _config(f"--config.batch.domains={written}").batch.domains == expected


def test_rules_are_written_on_the_command_line_as_in_the_guide():
    rules = "*/frontal/*=easy,*/profile/*=hard"
    folder = ("--config.data.source=image_folder", "--config.data.path=faces")
    arguments = (f"--config.data.domain_rules={rules}", "--config.evaluation.pairs=a.csv")
    config = _config(*folder, *arguments)
    assert config.data.domain_rules == ("*/frontal/*=easy", "*/profile/*=hard")
    assert config.evaluation.pairs == ("a.csv",)
    assert _config("--config.data.domain_rules=").data.domain_rules == ()


def test_parts_and_their_rates_are_written_on_the_command_line_as_in_the_guide():
    rates = "--config.init_from.rates=stage4=0.5,head=10"
    config = _config("--config.init_from.path=a", rates, "--config.init_from.frozen=stem,stage1")
    assert config.init_from.frozen == ("stem", "stage1")
    assert config_lib.part_rates(config.init_from) == {"stage4": 0.5, "head": 10.0}


def test_an_override_changes_nothing_else():
    changed = config_lib.changed_keys(_config(), _config("--config.loss.arcface.margin=0.3"))
    assert changed == ["loss.arcface.margin"]


def test_help_needs_nothing_else():
    for argument in ("--help", "-h"):
        command = parse(["train.py", argument])
        assert command.config is None and not command.workdir and command.flags.help


def test_a_program_may_do_without_a_config_and_have_flags_of_its_own():
    from absl import flags

    def define(values):
        flags.DEFINE_integer("step", None, "", flag_values=values)

    options = {"define": define, "trains": False}
    command = parse(["eval.py", WORKDIR, "--step=3"], **options)
    assert (command.config, command.workdir, command.flags.step) == (None, "runs/x", 3)
    assert "--step=x" in _refusal(WORKDIR, "--step=x", **options)


def _set(config: Config, key: str, value) -> Config:
    *path, name = key.split(".")
    part = config
    for step in path:
        part = getattr(part, step)
    setattr(part, name, value)
    return config


@pytest.mark.parametrize("key", validation._CHOICES)
def test_a_choice_is_one_of_those_allowed(key):
    with pytest.raises(UserError) as caught:
        validate(_set(Config(), key, "nonsense"))
    assert str(caught.value).startswith(f"config.{key} is 'nonsense'; choose one of")


@pytest.mark.parametrize("key", validation._POSITIVE)
@pytest.mark.parametrize("value", [0, -1])
def test_what_must_be_positive_is(key, value):
    with pytest.raises(UserError) as caught:
        validate(_set(Config(), key, value))
    assert str(caught.value) == f"config.{key} is {value}; it must be above 0"


@pytest.mark.parametrize("key", validation._NOT_NEGATIVE)
def test_what_must_not_be_negative_is_not(key):
    ddl = config_lib.Batch(kind="ddl", domains=("easy", "dark"))  # which reads every setting
    validate(_set(Config(batch=ddl), key, 0))
    with pytest.raises(UserError) as caught:
        validate(_set(Config(), key, -1))
    assert str(caught.value) == f"config.{key} is -1; it must not be negative"


STARTS = {"init_from.path": "runs/before"}
DDL_GROUPS = {
    "batch.kind": "ddl",
    "batch.domains": ("easy", "dark"),
    "model.batch_norm": "groups",
}


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"data.source": "image_folder"}, "config.data.path is empty"),
        ({"data.source": "tfds"}, "config.data.path is empty"),
        ({"evaluation.data.source": "tfds"}, "config.evaluation.data.path is empty"),
        ({"data.source": "merged"}, "config.data.path is empty; give the list of what is merged"),
        ({"data.same": "a.csv"}, "config.data.same is for merged"),
        ({"data.changed": "yes"}, "config.data.changed is 'yes'; choose one of refuse, accept"),
        ({"evaluation.data.changed": "accept"}, "evaluation.data.changed is for training"),
        ({"data.metadata": "a.csv"}, "go together"),
        ({"data.domain_column": "pose"}, "go together"),
        ({"data.domain_rules": ("*",)}, "write PATTERN=DOMAIN"),
        ({"data.domain_rules": ("a=b=c",)}, "write PATTERN=DOMAIN"),
        ({"data.domain_rules": ("=easy",)}, "write PATTERN=DOMAIN"),
        ({"evaluation.data.domain_rules": ("*=",)}, "config.evaluation.data.domain_rules"),
        ({"batch.domains": ("easy", "easy")}, "name every domain once"),
        ({"batch.pairs_file": "a.csv"}, "config.batch.pairs_file is for batches of"),
        (
            {"batch.kind": "ddl", "batch.pairs_file": "a.csv", "batch.pairs_per_identity": 4},
            "pairs_per_identity is for pairs that are made",
        ),
        ({"batch.kind": "ddl"}, "at least one student"),
        ({"batch.kind": "ddl", "batch.domains": ("easy",)}, "at least one student"),
        ({"loss.distillation.nodes": 1}, "2 or more nodes"),
        ({"loss.distillation.lowest_node": 1.0}, "lowest_node < highest_node"),
        (
            {"loss.distillation.log_space": True, "loss.distillation.divergence": "js"},
            "config.loss.distillation.log_space is for divergence=kl, not for js",
        ),
        (
            {"loss.distillation.correct_bias": True, "loss.distillation.divergence": "earth_mover"},
            "config.loss.distillation.correct_bias is for divergence=kl",
        ),
        (
            {"batch.kind": "images", "loss.distillation.past_similarities": 9},
            "config.loss.distillation.past_similarities is for batches of config.batch.kind=ddl",
        ),
        ({"steps": -1}, "config.steps is -1; it must be from 0 to 2147483647"),
        ({"loss.distillation.past_similarities": 3 * 10**9}, "it must be from 0 to 16777216"),
        ({"loss.distillation.fallback": "none"}, "fallback is for mining=semi_hard, not for paper"),
        ({"loss.distillation.negatives": 2}, "negatives is 2; mining=paper takes 1, top_k more"),
        (
            {"loss.distillation.mining": "tface", "loss.distillation.past_embeddings": 8},
            "mining=tface looks at the batch alone",
        ),
        (
            {"loss.distillation.mask_labels": False, "loss.distillation.past_embeddings": 8},
            "past_embeddings may be of the same identities; set mask_labels",
        ),
        (
            {"loss.distillation.mining": "top_k", "loss.distillation.negatives": 129},
            "negatives is 129; a batch has 128 singles of a domain, past_embeddings adds 0",
        ),
        ({"optimizer.drop_steps": (5, 3)}, "rising steps"),
        ({"optimizer.drop_steps": (5, 5)}, "rising steps"),
        ({"optimizer.drop_steps": (0, 5)}, "rising steps"),
        (
            {"optimizer.warmup_steps": 4, "optimizer.drop_steps": (3,)},
            "begin at 3, inside the warm",
        ),
        ({"optimizer.schedule": "cosine", "optimizer.drop_steps": (5,)}, "drop_steps is for sched"),
        ({"optimizer.final_rate": 0.1}, "final_rate is for schedule=cosine or polynomial, not for"),
        ({"optimizer.name": "adamw", "optimizer.momentum": 0.8}, "momentum is for name=sgd, not"),
        ({"optimizer.no_decay": ("norm",)}, "names 'norm'; give some of batch_norm, prelu, bias"),
        ({"optimizer.clip": "backbone"}, "clip is 'backbone' but clip_norm is 0; give the norm"),
        (
            {"optimizer.schedule": "cosine", "optimizer.warmup_steps": 10, "steps": 10},
            "warmup_steps is 10, which leaves none of config.steps=10 to schedule=cosine; lower it",
        ),
        ({"checkpoint.best": "rank_1"}, "best is 'rank_1'; write PROTOCOL/METRIC as in results"),
        ({"evaluation.every": -2}, "-1 never"),
        ({"init_from.frozen": ("stem",)}, "config.init_from.frozen is for weights that have"),
        ({"init_from.layer_decay": 0.5}, "learned already; give config.init_from.path"),
        ({"init_from.rates": ("stem=0.1",)}, "config.init_from.rates is for weights that have"),
        (STARTS | {"init_from.frozen": ("stem", "stem")}, "name every part once"),
        (STARTS | {"init_from.rates": ("stem=1", "stem=2")}, "names 'stem' twice"),
        (STARTS | {"init_from.rates": ("stem",)}, "rates has 'stem'; write PART=FACTOR"),
        (STARTS | {"init_from.rates": ("=0.1",)}, "rates has '=0.1'; write PART=FACTOR"),
        (STARTS | {"init_from.rates": ("stem=slow",)}, "rates has 'stem=slow'; write"),
        (STARTS | {"init_from.rates": ("stem=-0.1",)}, "with a finite factor above 0"),
        (STARTS | {"init_from.rates": ("stem=inf",)}, "rates has 'stem=inf'"),
        (STARTS | {"init_from.rates": ("stem=nan",)}, "rates has 'stem=nan'"),
        (STARTS | {"init_from.rates": ("stem=0",)}, "do not learn in config.init_from.frozen"),
        (STARTS | {"init_from.layer_decay": 0.0}, "layer_decay is 0.0; it must be above 0 and at"),
        (STARTS | {"init_from.layer_decay": 1.5}, "at most 1"),
        (
            DDL_GROUPS | {"model.batch_norm_group": 8},
            "batch_norm_group is 8; a group holds whole rows of a ddl batch, 6 images each with 2 "
            "domains: give a multiple of 6",
        ),
        ({"model.input_size": (112, 15)}, "16 pixels or more"),
        ({"model.deviation": (1.0, 0.0, 1.0)}, "above 0"),
        ({"model.mean": (1.0, 2.0)}, "mean is (1.0, 2.0); give three numbers, or none"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(changes, told):
    config = Config()
    validate(config)
    for key, value in changes.items():
        _set(config, key, value)
    with pytest.raises(UserError) as caught:
        validate(config)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_evaluation_takes_what_it_leaves_empty_from_the_training_data():
    training = Data(
        source="image_folder",
        path="faces",
        domain_rules=("*=easy",),
        metadata="a.csv",
        domain_column="pose",
        identities="1..5",
        workers=3,
    )
    config = Config(data=training)
    config.evaluation.data = Data(source="image_folder", identities="6..9", domain_column="light")
    data = config_lib.evaluation_data(config)
    assert (data.path, data.domain_rules, data.metadata) == ("faces", ("*=easy",), "a.csv")
    assert (data.identities, data.domain_column, data.workers) == ("6..9", "light", 0)
    assert config.evaluation.data.path == ""  # the config itself stays as it was written


FACES = Data(
    source="image_folder",
    path="faces",
    domain_rules=("*=easy",),
    metadata="a.csv",
    domain_column="pose",
    corrupt="skip",
)


def test_an_evaluation_on_the_same_merged_data_calls_the_same_people_one():
    config = Config(data=Data("merged", "all.csv", same="same.csv"))
    for path, same in (("", "same.csv"), ("others.csv", "")):
        config.evaluation.data = Data(source="", path=path, split="", corrupt="")
        assert config_lib.evaluation_data(config).same == same


@pytest.mark.parametrize("own", [Data(source="tfds", path="packed"), Data()])
def test_evaluation_on_data_of_another_source_takes_nothing_over(own):
    config = Config(data=FACES)
    config.evaluation.data = own
    assert config_lib.evaluation_data(config) == own


def test_evaluation_on_another_folder_takes_the_rules_over_but_no_list_of_other_files():
    config = Config(data=FACES)
    config.evaluation.data = Data(source="", path="others", split="", corrupt="")
    data = config_lib.evaluation_data(config)
    assert (data.source, data.path) == ("image_folder", "others")
    assert (data.domain_rules, data.corrupt, data.split) == (("*=easy",), "skip", "train")
    assert (data.metadata, data.domain_column) == ("", "")
    config.evaluation.data.path = "./faces/"  # the same folder
    data = config_lib.evaluation_data(config)
    assert (data.metadata, data.domain_column) == ("a.csv", "pose")


def test_a_slice_of_one_data_set_says_nothing_about_another():
    config = Config(data=Data(source="tfds", path="one", split="train[:80%]"))
    config.evaluation.data = Data(source="", path="two", split="", corrupt="")
    assert config_lib.evaluation_data(config).split == "train"
    config.evaluation.data.path = ""
    assert config_lib.evaluation_data(config).split == "train[:80%]"


def test_a_program_that_evaluates_needs_no_data_to_train_on():
    # As docs/training.md writes it.
    arguments = ["eval.py", WORKDIR, FOLDER, "--config.evaluation.data.path=FACES"]
    config = parse(arguments, trains=False).config
    assert config_lib.evaluation_data(config).path == "FACES"
    with pytest.raises(UserError, match="config.data.path is empty"):
        parse(arguments)


@pytest.mark.parametrize(
    "argument, told",
    [
        ("loss.arcface.margin=28.6", "in radians, from 0 to pi"),
        ("loss.cosface.margin=-0.1", "from 0 to 2"),
        ("loss.distillation.minimum_positive=1.5", "a cosine"),
        ("optimizer.momentum=9", "from 0 to below 1"),
        ("seed=99999999999999", "from 0 to"),
        ("steps=-1", "from 0 to"),
        ("loss.heads=per_domain", "batches of config.batch.kind=ddl"),
        ("loss.softmax_images=all", "batches of config.batch.kind=ddl"),
        ("data.domain_rules=*=easy", "synthetic_faces has its own domains"),
        ("data.corrupt=skip", "never corrupt; remove it"),
        ("data.root=faces", "is for tfrecord and list"),
    ],
)
def test_what_would_do_nothing_or_harm_is_refused(argument, told):
    key = argument.split("=")[0]
    refusal = _refusal(PRETRAIN, WORKDIR, f"--config.{argument}")
    assert key in refusal or key.split(".")[0] in refusal
    assert told in refusal


def test_a_misspelt_key_is_told_with_the_one_that_was_meant():
    told = _refusal(PRETRAIN, WORKDIR, "--config.optimiser.learning_rate=0.1")
    assert "optimiser.learning_rate; did you mean optimizer.learning_rate?" in told
    told = _refusal(PRETRAIN, WORKDIR, "--config.loss.distillation.wieght=3")
    assert "loss.distillation.wieght; did you mean loss.distillation.weight?" in told
    told = _refusal(PRETRAIN, WORKDIR, "--config.weight_decay=0.1")
    assert "weight_decay; did you mean optimizer.weight_decay?" in told
    told = _refusal(PRETRAIN, WORKDIR, "--config.optimizer.lr=0.1")
    assert "optimizer.lr; did you mean optimizer.learning_rate?" in told
    assert "did you mean" not in _refusal(PRETRAIN, WORKDIR, "--config.model.xyzzy=1")


def test_a_folder_has_no_splits():
    assert "has no splits" in _refusal(
        FOLDER, WORKDIR, "--config.data.path=x", "--config.data.split=test"
    )


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("degradations=dark=rezise:3",), "has 'dark=rezise:3': no step or preset 'rezise:3'"),
        (("degradations=twilight=night",), "makes 'twilight', but config.batch.domains is"),
        (("augmentations=2=cctv",), "config.batch.augmentations has '2=cctv'"),
        (("shares=(0.5,0.5)",), "shares is for config.batch.kind=images, not for ddl"),
        (("images_per_identity=2",), "is for config.batch.kind=identities"),
        (("images_per_identity=0",), "images_per_identity is 0; it must be above 0"),
        (("kind=identities", "images_per_identity=3"), "is 16, which is no multiple of .*=3"),
        (("kind=images", "shares=(0.5,0.5)"), "give one share for each of the 5 config.batch.dom"),
        (("kind=images", "domains=easy,dark", "shares=(0.5,0.6)"), "above 0 whose sum is 1"),
        (("kind=images", "domains=easy,dark", "shares=(1.5,-0.5)"), "above 0 whose sum is 1"),
        (("kind=images", "shares=(0.5,'a')"), "config.batch.shares is"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(arguments, told):
    assert re.search(told, _refusal(DDL, WORKDIR, *(f"--config.batch.{a}" for a in arguments)))


def test_batches_on_the_command_line():
    config = _config(
        "--config.batch.degradations=dark=dark:0.1..0.3+noise:3,occlusion=bar:20..40",
        "--config.batch.augmentations=0.2=crop:80..112",
    )
    assert config.batch.degradations == ("dark=dark:0.1..0.3+noise:3", "occlusion=bar:20..40")
    assert config.batch.augmentations == ("0.2=crop:80..112",)
    mixed = ("--config.batch.kind=images", "--config.batch.domains=easy,dark")
    assert _config(*mixed, "--config.batch.shares=(0.7,0.3)").batch.shares == (0.7, 0.3)


@pytest.mark.parametrize("name", CONFIGS)
def test_json_holds_a_whole_config(name):
    config = _config("--config.data.path=x", file=f"--config={ROOT / 'configs' / name}.py")
    again = from_json(to_json(config))
    assert again == config
    assert config_lib.changed_keys(again, config) == []
    validate(again)  # tuples are tuples again


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"stepz": 1}',
        '{"loss": {"arcface": {"margn": 1}}}',
        '{"loss": 3}',
        '{"steps": "many"}',
        '{"model": {"input_size": [1]}}',
        '{"model": {"mean": 1}}',
    ],
)
def test_json_of_another_version_is_refused(text):
    with pytest.raises(UserError, match="^config.json cannot be read: .*$"):
        from_json(text)


def test_json_of_before_a_setting_existed_takes_its_default():
    values = json.loads(to_json(Config(steps=3)))
    del values["loss"]["arcface"]["gradient"]
    assert from_json(json.dumps(values)) == Config(steps=3)


def test_every_changed_key_is_named():
    old, new = Config(), Config(steps=1)
    new.loss.arcface.margin = 0.1
    new.evaluation.data.identities = "1..2"
    assert config_lib.changed_keys(old, new) == [
        "steps",
        "loss.arcface.margin",
        "evaluation.data.identities",
    ]
    assert config_lib.changed_keys(old, Config()) == []


def test_a_local_run_needs_no_file_that_may_not_be_here():
    config = Config(data=Data(source="tfds", path="faces", domain_rules=("*=easy",)))
    config.init_from.path, config.init_from.head = "runs/pretrain", "class_means"
    config.init_from.frozen, config.init_from.rates = ("stage5",), ("stage7=0.5",)
    config.evaluation.pairs = ("pairs.csv",)
    local = config_lib.variant(config, "runlocal")
    assert (local.data, config_lib.evaluation_data(local)) == (Data(), Data(split="test"))
    assert (local.init_from, local.evaluation.pairs) == (InitFrom(), ())
    validate(local)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_runs_locally_as_the_experiment_it_is(name):
    file = f"--config={ROOT / 'configs' / name}.py"
    whole, local = _config("--config.data.path=x", file=file), _config(file=f"{file}:runlocal")
    assert local.loss == whole.loss
    assert len(local.batch.domains) == len(whole.batch.domains)  # their names are synthetic_faces'
    assert dataclasses.replace(local.batch, domains=whole.batch.domains) == whole.batch
    assert local.optimizer.momentum == whole.optimizer.momentum
    assert local.steps == 2 and local.model.name == "iresnet_tiny"
    assert local.synthetic.train_identities >= local.batch_size
