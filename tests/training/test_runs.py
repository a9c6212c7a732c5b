"""Whole runs, from the command line's settings to the files of a work directory."""

import hashlib
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from ddl_jax import command_line
from ddl_jax import config as config_lib
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.prepare import prepare as prepare_data
from ddl_jax.errors import UserError
from ddl_jax.evaluation.embedding_cache import EmbeddingCache
from ddl_jax.evaluation.evaluate import latest_evaluation
from ddl_jax.interop import (
    read_torch_checkpoint,
    save_torch_backbone,
    write_torch_checkpoint,
)
from ddl_jax.models import create_backbone
from ddl_jax.training import identities, init_from, loop, train_and_evaluate
from ddl_jax.training.checkpoint import load_checkpoint
from ddl_jax.training.evaluate_workdir import evaluate_workdir
from ddl_jax.training.metrics import read_metrics
from ddl_jax.training.not_finite import report_not_finite
from ddl_jax.training.prepare import prepare
from ddl_jax.training.start import _keep_data_card
from ddl_jax.training.state import make_card
from tests.data.image_files import write_faces

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = pathlib.Path(__file__).parents[2]


def settings(name, faces, **changes):
    """A config of configs/ as a run of seconds."""
    arguments = [
        f"--config=configs/{name}.py:runlocal",
        "--workdir=unused",
        f"--config.data.path={faces}",
        "--config.devices=1",
    ]
    arguments += [f"--config.{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return config_lib.parse(["train.py", *arguments]).config


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, faces):
    workdir = tmp_path_factory.mktemp("runs") / "pretrained"
    return workdir, train_and_evaluate(settings("synthetic_pretrain", faces), workdir)


def test_a_run_leaves_the_files_the_docs_name(pretrained):
    workdir, state = pretrained
    assert int(state.step) == 2
    rows = read_metrics(workdir)
    assert [row["step"] for row in rows] == [1, 2]
    wanted = {"loss", "margin_softmax", "learning_rate", "images_per_second", "data_wait"}
    assert wanted | {"evaluation_seconds", "evaluation_share"} <= set(rows[0])
    assert json.loads((workdir / "config.json").read_text())["steps"] == 2
    assert list((workdir / "tensorboard").iterdir())
    assert (workdir / "checkpoints" / "2").is_dir()
    evaluation = workdir / "evaluation" / "2"
    for name in ("report.html", "distributions_domains.png", "roc_domains.png", "training.png"):
        assert (evaluation / name).stat().st_size > 1000
    results = json.loads((evaluation / "results.json").read_text())
    assert set(results) == {
        f"domains/{name}" for name in ("easy", "low_resolution", "large_pose", "occlusion", "dark")
    }
    wanted = {"rank_1", "accuracy", "tar_at_far_0.01", "positive_mean", "negative_mean", "gap"}
    assert wanted <= set(results["domains/dark"])


CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("[!_]*.py"))


# Those that differ from another, shrunk to seconds, by nothing but numbers.
ALIKE = {"ms1mv2_iresnet100", "ms1mv3_iresnet50", "ms1mv3_iresnet100", "webface4m_iresnet50"}
ALIKE |= {"vggface2_iresnet50", "cox_ddl", "mobilefacenet_ddl", "casia_iresnet50"}
ALIKE |= {"ms1mv2_iresnet50", "vggface2_pose_ddl", "folder_ddl", "folder"}
# And by what single steps and batches of other tests hold: fewer domains, images made on the fly.
ALIKE |= {"folder_degraded_ddl", "scface_ddl"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_valid_as_written(name):
    arguments = [f"--config=configs/{name}.py", "--workdir=unused", "--config.data.path=faces"]
    if name == "evaluate":
        arguments.append("--config.init_from.path=weights.pt")
    config_lib.parse(["train.py", *arguments])


# `pretrained` and the test of the one trace run those that are missing here.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in ALIKE else ())
        for name in CONFIGS
        if name not in ("synthetic_pretrain", "synthetic_ddl")
    ],
)
def test_every_config_runs_locally(name, faces, tmp_path):
    config = settings(name, faces, evaluation__every=-1)
    assert_two_finite_steps(train_and_evaluate(config, tmp_path / "run"))


def assert_two_finite_steps(state):
    assert int(state.step) == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state)))


def test_pretraining_sees_easy_images_only(faces):
    run = prepare(settings("synthetic_pretrain", faces), "unused")
    rows = np.concatenate([run.sampler.records(step).ravel() for step in range(20)])
    assert set(run.source.index.domains[rows]) == {"easy"}


def test_fine_tuning_keeps_resets_or_averages_the_head(pretrained, faces):
    workdir, before = pretrained
    kept = before.params["heads"]["shared"]["class_centers"]
    heads = {}
    for head in ("keep", "reset", "class_means"):
        config = settings(
            "synthetic_ddl",
            faces,
            init_from__path=workdir,
            init_from__head=head,
            loss__heads="per_domain",
        )
        state = prepare(config, "unused").first_state()
        jax.tree.map(
            np.testing.assert_array_equal, state.params["backbone"], before.params["backbone"]
        )
        heads[head] = {
            name: np.asarray(h["class_centers"]) for name, h in state.params["heads"].items()
        }
        assert set(heads[head]) == set(config.batch.domains)
    for name in heads["keep"]:  # one head before serves every domain now
        np.testing.assert_array_equal(heads["keep"][name], kept)
    assert not np.allclose(heads["reset"]["easy"], kept)
    means = heads["class_means"]["dark"]
    np.testing.assert_allclose(np.linalg.norm(means[:12], axis=1), 1, rtol=1e-5)
    assert not means[12:].any()
    assert state.params["heads"]["easy"]["class_centers"].is_deleted() is False


def test_class_means_are_the_mean_directions(pretrained, faces):
    from ddl_jax.evaluation.embedding import embed

    workdir, _ = pretrained
    config = settings(
        "synthetic_ddl", faces, init_from__path=workdir, init_from__head="class_means"
    )
    run = prepare(config, "unused")
    module, variables, card = load_checkpoint(workdir)
    found = init_from.class_means(module, variables, card, run.source, run.mesh)
    unit = embed(module, variables, card, run.source, mesh=run.mesh, batch_size=50, flip=False)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for label in range(run.classes):
        wanted = unit[run.source.index.labels == label].sum(axis=0)
        np.testing.assert_allclose(found[label], wanted / np.linalg.norm(wanted), atol=1e-5)


# iresnet_tiny has no counterpart in PyTorch's files; these have.
@pytest.mark.long  # whole networks; the tests of files below take small ones
@pytest.mark.parametrize(
    "name, size, other",
    [
        ("iresnet18", 512, "iresnet34"),
        ("mobilefacenet_relu6", 128, "mobilefacenet"),
    ],
)
def test_training_starts_from_a_torch_checkpoint(name, size, other, faces, tmp_path):
    config = settings("synthetic_ddl", faces)
    config.model.name, config.model.embedding_size = name, size
    config.model.input_size = (112, 112)
    config.model.mean, config.model.deviation = (123.675, 116.28, 103.53), (57.0, 57.0, 57.0)
    images = np.zeros((1, 112, 112, 3), np.float32)
    variables = jax.jit(create_backbone(name).init)(jax.random.key(3), images)
    path = tmp_path / "backbone.pt"
    save_torch_backbone(path, name, variables)
    config.init_from.path, config.init_from.head = str(path), "keep"
    with pytest.raises(UserError, match="has no class centres of ours"):
        prepare(config, tmp_path / "run")
    config.init_from.head, config.model.name = "reset", other
    with pytest.raises(UserError, match="backbone.pt"):
        prepare(config, tmp_path / "run")
    config.model.name = name
    with pytest.raises(UserError, match="does not tell .* give config.model.colour "):
        prepare(config, tmp_path / "run")
    config.model.colour = "BGR"
    run = prepare(config, tmp_path / "run")
    assert (run.card.network, run.card.colour, run.card.mean[0]) == (name, "BGR", 123.675)
    assert run.card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    state = run.first_state()
    jax.tree.map(np.testing.assert_array_equal, state.params["backbone"], variables["params"])


def write_module(path, config):
    """The config's network, of zeros, in a Lightning module."""
    shapes = jax.eval_shape(
        create_backbone(config.model.name, embedding_size=config.model.embedding_size).init,
        jax.random.key(0),
        np.zeros((1, *config.model.input_size, 3), np.float32),
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    save_torch_backbone(path, config.model.name, zeros)
    state = {f"model.{name}": value for name, value in read_torch_checkpoint(path).items()}
    write_torch_checkpoint(path, state | {"head.t": np.zeros(1, np.float32)})


# What a file of nobody's project has to be told.
PIXELS = {"model__colour": "BGR", "model__mean": "127,128,129", "model__deviation": "64,64,64"}


def test_what_went_where_and_the_files_hash_stay_with_the_run(faces, tmp_path, capsys, monkeypatch):
    changes = {"init_from__head": "reset", "evaluation__every": -1}
    config = settings("synthetic_ddl", faces, steps=0, **changes, **PIXELS)
    path, workdir = tmp_path / "backbone.pt", tmp_path / "run"
    write_module(path, config)
    config.init_from.path = str(path)
    monkeypatch.setattr(init_from, "advice", lambda start: f"advice on {start.path}")
    train_and_evaluate(config, workdir)
    assert f"advice on {path}" in capsys.readouterr().out
    report = (workdir / "weights.txt").read_text().splitlines()
    assert "model.conv1.weight (8, 3, 3, 3) -> params/conv1/kernel" in report
    assert report[-1] == "head.t left out"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    # The run that goes on needs the file no more, nor does one that starts from the run.
    after = settings("synthetic_ddl", faces, init_from__path=workdir, **changes)
    for card in (
        prepare(config, workdir).card,
        load_checkpoint(workdir)[-1],
        prepare(after, tmp_path / "after").card,
    ):
        assert (card.source, card.sha256) == (str(path), digest)
        assert (card.colour, card.mean) == ("BGR", (127.0, 128.0, 129.0))


def test_the_colours_are_a_projects_own_or_those_told(faces, tmp_path):
    path = tmp_path / "module.ckpt"

    def start(name, **changes):
        changes |= {"init_from__head": "reset", "init_from__path": path, "model__name": name}
        config = settings("synthetic_ddl", faces, model__input_size="32,32", **changes)
        write_module(path, config)
        return init_from.check(config, make_card(config))

    adaface = start("ir_18")
    assert (adaface.card.colour, adaface.card.deviation) == ("BGR", (127.5,) * 3)
    assert init_from.advice(adaface) == ""
    other = start("ir_18", model__colour="RGB")
    assert other.card.colour == "RGB"
    wanted = "saved as AdaFace (Lightning) saves, whose networks want colour=BGR"
    assert wanted in init_from.advice(other)
    # Many save a Lightning module like that.
    with pytest.raises(UserError, match="with; give config.model.mean, config.model.deviation "):
        start("iresnet_tiny", model__colour="RGB")
    assert init_from.advice(start("iresnet_tiny", **PIXELS)) == ""


def test_a_run_tells_of_the_run_that_it_starts_from(pretrained, faces):
    config = settings("synthetic_ddl", faces, init_from__path=pretrained[0])
    card = prepare(config, "unused").card
    assert (card.source, card.sha256) == (str(pretrained[0]), "")


# pmap: tests/training/test_step.py compares its steps with shard_map's.
@pytest.mark.parametrize("parallelism", ["shard_map", pytest.param("pmap", marks=pytest.mark.long)])
def test_the_check_before_a_run_is_the_only_trace_of_the_step(
    parallelism, faces, tmp_path, monkeypatch
):
    from ddl_jax.training import prepare as prepare_lib

    make, traces = prepare_lib.make_update, []

    def counted(*args, **options):
        step = make(*args, **options)

        def trace(*state_and_batch):
            traces.append(parallelism)
            return step(*state_and_batch)

        return trace

    monkeypatch.setattr(prepare_lib, "make_update", counted)
    config = settings("synthetic_ddl", faces, evaluation__every=-1, parallelism=parallelism)
    assert_two_finite_steps(train_and_evaluate(config, tmp_path / "run"))
    assert traces == [parallelism]


def test_a_run_that_goes_on_does_not_need_the_run_it_began_from(pretrained, faces, tmp_path):
    start, workdir = tmp_path / "start", tmp_path / "run"
    shutil.copytree(pretrained[0], start)
    changes = {"init_from__path": start, "evaluation__every": -1}
    train_and_evaluate(settings("synthetic_ddl", faces, **changes), workdir)
    shutil.rmtree(start)
    state = train_and_evaluate(settings("synthetic_ddl", faces, steps=3, **changes), workdir)
    assert int(state.step) == 3


def test_a_run_says_which_parts_learn_and_leaves_the_others(pretrained, faces, tmp_path, capsys):
    changes = {
        "init_from__path": pretrained[0],
        "init_from__frozen": "stem,stage1",
        "init_from__layer_decay": 0.5,
        "evaluation__every": -1,
    }
    config = settings("synthetic_pretrain", faces, **changes)
    state, before = train_and_evaluate(config, tmp_path / "run"), pretrained[1]
    assert (
        "frozen: stem, stage1; learning rate: stage2 x 0.125, stage3 x 0.25, stage4 x 0.5, "
        "embedding x 1, head x 1; 307,264 of the 311,216 parameters and the class centres learn\n"
    ) in capsys.readouterr().out
    for now, was in (
        (state.params["backbone"], before.params["backbone"]),
        (state.batch_stats, before.batch_stats),
    ):
        same = jax.tree.map(np.array_equal, now, was)
        kept = {layer for layer in now if jax.tree.all(same[layer])}
        assert kept == {"conv1", "bn1", "prelu", "layer1_0"} & set(now)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model__embedding_size": 64}, "is of another model: its embedding_size is 32"),
        ({"model__colour": "BGR"}, "is of another model: its colour is RGB, the config's is BGR"),
        ({"model__name": "iresnet18"}, "is of another model: its network is iresnet_tiny"),
        ({"synthetic__train_identities": 10}, "choose class_means or reset"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(pretrained, faces, tmp_path, changes, message):
    config = settings("synthetic_ddl", faces, init_from__path=pretrained[0], **changes)
    with pytest.raises(UserError, match=message):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluating_afterwards_gives_the_same_numbers_beside_an_earlier_run(
    pretrained, faces, tmp_path
):
    workdir, _ = pretrained
    results = workdir / "evaluation" / "2" / "results.json"
    before = results.read_text()
    cache = EmbeddingCache(tmp_path)
    table = evaluate_workdir(workdir, cache=cache)
    assert results.read_text() == before
    assert "domains/dark" in table and cache.taken == 0
    # Once more, without the network.
    assert evaluate_workdir(workdir, cache=cache) == table and cache.taken > 0
    assert results.read_text() == before
    with pytest.raises(UserError, match="same last folder name"):
        evaluate_workdir(workdir, before=[workdir])
    with pytest.raises(UserError, match="has no evaluation"):
        evaluate_workdir(workdir, before=[tmp_path])


def test_evaluations_on_other_data_are_kept_apart(pretrained, faces):
    workdir, _ = pretrained
    other = settings("synthetic_pretrain", faces, evaluation__data__identities="1000002..1000005")
    with pytest.raises(UserError, match="was evaluated otherwise .* give --name=NAME"):
        evaluate_workdir(workdir, other)
    evaluate_workdir(workdir, other, name="few")
    assert (workdir / "evaluation" / "2-few" / "results.json").exists()
    later = workdir.parent / "later"
    shutil.copytree(workdir, later)
    with pytest.raises(UserError, match="has no evaluation"):
        evaluate_workdir(later, other, before=[workdir], name="fewer")
    assert "| pretrained | later |" in evaluate_workdir(later, other, before=[workdir], name="few")
    shutil.rmtree(later / "evaluation")
    with pytest.raises(UserError, match="evaluate that run like this first"):
        evaluate_workdir(later, other, before=[workdir])


def test_a_run_never_goes_backwards(pretrained, faces):
    workdir, _ = pretrained
    before = (workdir / "config.json").read_text()
    with pytest.raises(UserError, match="is at step 2, beyond config.steps=1"):
        train_and_evaluate(settings("synthetic_pretrain", faces, steps=1), workdir)
    assert (workdir / "config.json").read_text() == before


def test_eight_devices_embed_as_one_does(pretrained, faces):
    from ddl_jax import parallel
    from ddl_jax.evaluation.embedding import embed

    module, variables, card = load_checkpoint(pretrained[0])
    source = prepare(settings("synthetic_pretrain", faces), "unused").evaluation_data.source
    one = embed(module, variables, card, source, mesh=parallel.make_mesh(1), batch_size=30)
    eight = embed(module, variables, card, source, mesh=parallel.make_mesh(8), batch_size=30)
    assert one.shape == (len(source), 32)
    np.testing.assert_allclose(eight, one, atol=1e-5 * np.abs(one).max())


def test_steps_that_are_not_finite_stop_the_run_with_a_report(faces, tmp_path, capsys):
    # The second update would throw the weights away, though loss and gradient are finite.
    config = settings(
        "synthetic_pretrain",
        faces,
        steps=8,
        checkpoint__every=1,
        log_every=3,
        max_skipped=4,
        evaluation__every=-1,
        optimizer__learning_rate=1e-3,
        optimizer__drop_steps="(1,)",
        optimizer__drop_factor=1e38,
    )
    workdir = tmp_path / "run"
    told = "5 steps in a row up to step 6 were not finite and changed nothing: parameter_norm"
    with pytest.raises(UserError, match=told) as error:
        train_and_evaluate(config, workdir)
    assert str(workdir / "not_finite-6.json") in str(error.value)
    assert "ATTENTION: 2 steps up to step 3 were not finite" in capsys.readouterr().out
    assert [row["skipped"] for row in read_metrics(workdir)] == [2, 5]
    report = json.loads((workdir / "not_finite-6.json").read_text())
    assert report["step"] == 6 and report["metrics"]["parameter_norm"] == "inf"
    run = prepare(config, tmp_path / "other")
    paths = run.source.index.paths[run.sampler.records(5)].tolist()
    assert report["images"] == paths and report["gradients"] == []
    # What was learnt before is there, in every checkpoint.
    _, variables, _ = load_checkpoint(workdir)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


def test_the_report_names_the_tensors_without_a_finite_gradient(faces, tmp_path):
    run = prepare(settings("synthetic_ddl", faces, evaluation__every=-1), tmp_path / "run")
    state = run.first_state()
    # Embeddings of nothing: the last layers get no finite gradient, nor what lies before them.
    state.params["backbone"]["fc"]["kernel"] *= np.nan
    told = report_not_finite(run, state.replace(step=state.step + 1), {"loss": np.nan})
    assert told.startswith("loss; gradient of backbone/") and " more (all of it in " in told
    report = json.loads((tmp_path / "run" / "not_finite-1.json").read_text())
    assert {"backbone/fc/kernel", "backbone/conv1/kernel"} <= set(report["gradients"])


def test_the_order_of_the_loop(faces, tmp_path, monkeypatch):
    from ddl_jax.training import checkpoint, metrics

    done = []

    def record(owner, name, what):
        original = getattr(owner, name)

        def recorded(*args, **kwargs):
            done.append(what)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    record(loop._Loop, "_evaluate", "evaluate")
    record(checkpoint.Checkpoints, "save", "save")
    record(metrics.Stopwatch, "wait_for", "next")
    record(loop.parallel, "global_batch", "train")
    record(metrics.MetricWriter, "write", "log")
    config = settings(
        "synthetic_pretrain", faces, steps=3, log_every=1, evaluation__every=2, checkpoint__every=1
    )
    train_and_evaluate(config, tmp_path / "run")
    step = ["next", "train", "log"]
    evaluation = ["evaluate", *["train"] * -(-(8 * 11) // 32)]  # its batches go to the devices too
    assert done == [*step, "save", *step, "save", *evaluation, *step, "save", *evaluation]


def test_an_evaluation_that_fails_costs_no_step(faces, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    config = settings("synthetic_pretrain", faces, checkpoint__every=1000)

    def failing(*arguments):
        raise UserError("an image is gone")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "evaluate", failing)
        with pytest.raises(UserError, match="an image is gone"):
            train_and_evaluate(config, workdir)
    assert (workdir / "checkpoints" / "2").is_dir()
    train_and_evaluate(config, workdir)
    assert [row["step"] for row in read_metrics(workdir)] == [1, 2]  # none was made again
    assert (workdir / "evaluation" / "2" / "results.json").exists()


def test_a_last_evaluation_that_sigterm_drops_is_made_by_the_next_start(
    faces, tmp_path, monkeypatch, capsys
):
    workdir, evaluate = tmp_path / "run", loop.evaluate
    command = ["train.py", "--config=configs/synthetic_pretrain.py:runlocal"]
    command += [f"--workdir={workdir}", f"--config.data.path={faces}", "--config.devices=1"]
    command.append("--config.evaluation.every=1")

    def wanted_back(*arguments):
        if len(list((workdir / "evaluation").glob("*"))):  # that of step 1 is there
            signal.raise_signal(signal.SIGTERM)
        return evaluate(*arguments)

    monkeypatch.setattr(loop, "evaluate", wanted_back)
    monkeypatch.chdir(ROOT)
    assert command_line.run(command_line.train, command) == 75
    told = f"told to leave (SIGTERM); step 2 is saved in {workdir}"
    assert told in capsys.readouterr().err
    last = workdir / "evaluation" / "2" / "results.json"
    assert (workdir / "checkpoints" / "2").is_dir() and not last.exists()
    monkeypatch.setattr(loop, "evaluate", evaluate)
    assert command_line.run(command_line.train, command) == 0
    assert last.exists()


def test_no_step_only_takes_weights_over_and_evaluates_them(pretrained, faces, tmp_path):
    config = settings("synthetic_ddl", faces, init_from__path=pretrained[0], steps=0)
    state = train_and_evaluate(config, tmp_path / "run")
    assert int(state.step) == 0
    results = [
        json.loads((workdir / "evaluation" / step / "results.json").read_text())
        for workdir, step in ((pretrained[0], "2"), (tmp_path / "run", "0"))
    ]
    assert results[0] == results[1]
    module, variables, card = load_checkpoint(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, variables, load_checkpoint(pretrained[0])[1])
    # Nobody was trained on by that.
    known = settings(
        "synthetic_ddl",
        faces,
        init_from__path=tmp_path / "run",
        steps=0,
        evaluation__data__split="train",
    )
    assert prepare(known, "unused").seen == 12  # by the pretraining, not by either of the others
    assert [len(one.names) for one in identities.trained_on(tmp_path / "run")] == [12]
    config.steps = 1
    assert int(train_and_evaluate(config, tmp_path / "run").step) == 1


@pytest.mark.parametrize(
    "name", [pytest.param("synthetic_pretrain", marks=pytest.mark.long), "synthetic_ddl"]
)
def test_no_step_needs_no_more_identities_than_there_are(name, pretrained, faces, tmp_path):
    # 12 identities: the rows of a batch, which nobody makes, would have to be of 512.
    changes = {"init_from__path": pretrained[0], "batch_size": 512, "init_from__head": "reset"}
    config = settings(name, faces, steps=0, **changes)
    train_and_evaluate(config, tmp_path / "run")
    assert (tmp_path / "run" / "evaluation" / "0" / "results.json").exists()
    config.steps = 1
    with pytest.raises(UserError, match="config.batch_size=512"):
        train_and_evaluate(config, tmp_path / "run")


def test_a_run_does_not_put_an_evaluation_on_other_data_in_the_place_of_its_own(
    pretrained, faces, tmp_path
):
    workdir = tmp_path / "run"
    shutil.copytree(pretrained[0], workdir)
    results = (workdir / "evaluation" / "2" / "results.json").read_text()
    for key, value in (("data__identities", "1000002..1000005"), ("flip", False)):
        config = settings("synthetic_pretrain", faces, **{f"evaluation__{key}": value})
        with pytest.raises(UserError, match="was evaluated otherwise .* --name=NAME"):
            train_and_evaluate(config, workdir)
    assert (workdir / "evaluation" / "2" / "results.json").read_text() == results
    assert json.loads((workdir / "config.json").read_text())["evaluation"]["flip"]


def test_a_run_says_what_its_batches_are_made_of(faces, tmp_path, capsys):
    config = settings("synthetic_ddl", faces, evaluation__every=-1, steps=1)
    config.batch.domains = ("easy", "dark")
    train_and_evaluate(config, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "36 easy, 24 dark images of 12 identities" in printed
    assert "positive pairs: 36 easy, 12 dark; kept in " in printed
    assert str(next((faces / ".ddl_jax").glob("pairs-*.csv")).parent) in printed


@pytest.mark.parametrize("name", ["a/b", "../x", " "])
def test_the_name_of_an_evaluation_is_a_name(pretrained, name):
    with pytest.raises(UserError, match="--name is"):
        evaluate_workdir(pretrained[0], name=name)


def test_pair_lists_of_one_name_are_refused(pretrained, faces, tmp_path):
    paths = tuple(str(tmp_path / folder / "pairs.csv") for folder in "ab")
    config = settings("synthetic_pretrain", faces)
    config.evaluation.pairs = paths
    with pytest.raises(UserError, match="two files of the name 'pairs'"):
        prepare(config, tmp_path / "run")


def test_a_run_of_more_devices_than_there_are_can_be_evaluated(pretrained):
    config = config_lib.from_json((pretrained[0] / "config.json").read_text())
    config.devices = 99
    assert "domains/dark" in evaluate_workdir(pretrained[0], config)


def test_a_loaded_network_trains_without_a_mapped_axis(pretrained):
    module, variables, card = load_checkpoint(pretrained[0])
    images = card.normalise(np.zeros((2, *card.input_size, 3), np.uint8))
    module.apply(variables, images, train=True, mutable=["batch_stats"])


@pytest.mark.long
def test_a_script_of_ones_own_may_decode_in_worker_processes(faces, tmp_path):
    # Nothing there parses absl's flags, which grain's workers ask for.
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from configs import synthetic_pretrain\n"
        "from ddl_jax.training import train_and_evaluate\n"
        "if __name__ == '__main__':\n"
        "    config = synthetic_pretrain.get_config('runlocal')\n"
        f"    config.data.path, config.data.workers = {str(faces)!r}, 1\n"
        "    config.evaluation.every = -1\n"
        "    assert int(train_and_evaluate(config, 'run').step) == 2\n"
    )
    ended = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr


def test_an_embedding_is_that_of_the_image_and_its_mirror_image(pretrained, faces):
    from ddl_jax import parallel
    from ddl_jax.data.decode import decode_image
    from ddl_jax.evaluation.embedding import embed

    module, variables, card = load_checkpoint(pretrained[0])
    source = prepare(settings("synthetic_pretrain", faces), "unused").evaluation_data.source
    images = np.stack(
        [decode_image(source[i]["image"], "x", card.input_size) for i in range(len(source))]
    )
    apply = jax.jit(lambda images: module.apply(variables, card.normalise(images)))
    plain, mirrored = apply(images), apply(images[:, :, ::-1])
    assert float(np.abs(plain - mirrored).max()) > 1e-2
    mesh = parallel.make_mesh(1)
    for flip, wanted in ((False, plain), (True, plain + mirrored)):
        # 30 does not divide the number of images: the last batch is filled up.
        found = embed(module, variables, card, source, mesh=mesh, batch_size=30, flip=flip)
        np.testing.assert_allclose(found, wanted, atol=1e-5 * float(np.abs(wanted).max()))


def test_evaluating_on_people_that_are_trained_on_is_said(faces, tmp_path, capsys):
    apart = prepare(settings("synthetic_pretrain", faces), "unused")
    assert apart.seen == 0
    config = settings("synthetic_pretrain", faces, evaluation__data__split="train", steps=1)
    train_and_evaluate(config, tmp_path / "run")
    told = "ATTENTION: 12 identities of the evaluation are trained on"
    assert told in capsys.readouterr().out

    def seen():
        card = json.loads((latest_evaluation(tmp_path / "run") / "card.json").read_text())
        return card["people seen in training"]

    assert seen() == 12  # in the card of training's evaluation, and of the one after it
    assert told in evaluate_workdir(tmp_path / "run")
    assert seen() == 12
    # And the people of the run that a run starts from, wherever the pictures are kept.
    later = settings(
        "synthetic_ddl",
        tmp_path / "elsewhere",
        init_from__path=tmp_path / "run",
        init_from__head="reset",
        synthetic__train_identities=14,
        evaluation__data__split="train",
        evaluation__data__identities="0000003..0000012",
    )
    assert prepare(later, "unused").seen == 10


def test_a_run_keeps_the_card_of_prepared_data(tmp_path):
    folder = ImageFolderSource(str(write_faces(tmp_path / "faces", 2)))
    data = prepare_data(folder, str(tmp_path), "faces")
    config = settings("folder", data, data__source="tfds")
    _keep_data_card(types.SimpleNamespace(config=config, workdir=tmp_path))
    assert (tmp_path / "data_card.json").read_text() == (data / "data_card.json").read_text()
    # Other data have none.
    config.data.path = str(tmp_path / "faces")
    (tmp_path / "run").mkdir()
    _keep_data_card(types.SimpleNamespace(config=config, workdir=tmp_path / "run"))
    assert not list((tmp_path / "run").iterdir())
