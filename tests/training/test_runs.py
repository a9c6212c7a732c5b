"""Whole runs, from the command line's settings to the files of a work directory."""

import json
import shutil

import jax
import numpy as np
import pytest

from ddl_jax import config as config_lib
from ddl_jax.errors import UserError
from ddl_jax.interop import save_torch_backbone
from ddl_jax.training import init_from, train_and_evaluate
from ddl_jax.training.checkpoint import load_checkpoint
from ddl_jax.training.evaluate_workdir import evaluate_workdir
from ddl_jax.training.metrics import read_metrics
from ddl_jax.training.prepare import prepare


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
    assert wanted <= set(rows[0])
    assert json.loads((workdir / "config.json").read_text())["steps"] == 2
    assert list((workdir / "tensorboard").iterdir())
    assert (workdir / "checkpoints" / "2").is_dir()
    evaluation = workdir / "evaluation" / "2"
    for name in ("report.html", "distributions.png", "roc.png", "training.png"):
        assert (evaluation / name).stat().st_size > 1000
    results = json.loads((evaluation / "results.json").read_text())
    assert set(results) == {
        f"domains/{name}" for name in ("easy", "low_resolution", "large_pose", "occlusion", "dark")
    }
    wanted = {"rank_1", "accuracy", "tar_at_far_0.01", "positive_mean", "negative_mean", "gap"}
    assert wanted <= set(results["domains/dark"])


@pytest.mark.parametrize("name", ["synthetic_ddl", "folder", "folder_ddl"])
def test_every_config_runs_locally(name, faces, tmp_path):
    config = settings(name, faces, evaluation__every=-1)
    state = train_and_evaluate(config, tmp_path / "run")
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


def test_training_starts_from_a_torch_checkpoint(pretrained, faces, tmp_path):
    # iresnet_tiny has no counterpart in PyTorch's files; the smallest that has is iresnet18.
    config = settings("synthetic_ddl", faces)
    config.model.name, config.model.embedding_size = "iresnet18", 512
    config.model.input_size = (112, 112)
    from ddl_jax.models import create_backbone

    module = create_backbone("iresnet18")
    variables = jax.jit(module.init)(jax.random.key(3), np.zeros((1, 112, 112, 3), np.float32))
    path = tmp_path / "backbone.pt"
    save_torch_backbone(path, "iresnet18", variables)
    config.init_from.path, config.init_from.head = str(path), "keep"
    with pytest.raises(UserError, match="has no class centres of ours"):
        prepare(config, tmp_path / "run")
    config.init_from.head, config.model.name = "reset", "iresnet34"
    with pytest.raises(UserError, match="backbone.pt"):
        prepare(config, tmp_path / "run")
    config.model.name = "iresnet18"
    state = prepare(config, tmp_path / "run").first_state()
    jax.tree.map(np.testing.assert_array_equal, state.params["backbone"], variables["params"])


def test_a_run_that_goes_on_does_not_need_the_run_it_began_from(pretrained, faces, tmp_path):
    start, workdir = tmp_path / "start", tmp_path / "run"
    shutil.copytree(pretrained[0], start)
    changes = {"init_from__path": start, "evaluation__every": -1}
    train_and_evaluate(settings("synthetic_ddl", faces, **changes), workdir)
    shutil.rmtree(start)
    state = train_and_evaluate(settings("synthetic_ddl", faces, steps=3, **changes), workdir)
    assert int(state.step) == 3


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
    table = evaluate_workdir(workdir)
    assert results.read_text() == before
    assert "domains/dark" in table
    with pytest.raises(UserError, match="same last folder name"):
        evaluate_workdir(workdir, before=[workdir])
    with pytest.raises(UserError, match="has no evaluation"):
        evaluate_workdir(workdir, before=[tmp_path])


def test_evaluations_on_other_data_are_kept_apart(pretrained, faces):
    workdir, _ = pretrained
    other = settings("synthetic_pretrain", faces, evaluation__data__identities="000012..000015")
    with pytest.raises(UserError, match="is about other data .* give --name=NAME"):
        evaluate_workdir(workdir, other)
    evaluate_workdir(workdir, other, name="few")
    assert (workdir / "evaluation" / "2-few" / "results.json").exists()
    later = workdir.parent / "later"
    shutil.copytree(workdir, later)
    with pytest.raises(UserError, match="has no evaluation"):
        evaluate_workdir(later, other, before=[workdir], name="fewer")
    assert "| pretrained | later |" in evaluate_workdir(later, other, before=[workdir], name="few")
    shutil.rmtree(later / "evaluation")
    with pytest.raises(UserError, match="evaluate that run on these data first"):
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
    source = prepare(settings("synthetic_pretrain", faces), "unused").evaluation_source
    one = embed(module, variables, card, source, mesh=parallel.make_mesh(1), batch_size=30)
    eight = embed(module, variables, card, source, mesh=parallel.make_mesh(8), batch_size=30)
    assert one.shape == (len(source), 32)
    np.testing.assert_allclose(eight, one, atol=1e-5 * np.abs(one).max())


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_older_checkpoints(faces, tmp_path):
    config = settings(
        "synthetic_pretrain",
        faces,
        steps=6,
        checkpoint__every=1,
        log_every=6,
        evaluation__every=-1,
        optimizer__learning_rate=1e30,
    )
    with pytest.raises(UserError, match="lower config.optimizer.learning_rate"):
        train_and_evaluate(config, tmp_path / "run")
    steps = [int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir()]
    assert max(steps) < 6


def test_evaluating_on_people_that_are_trained_on_is_said(faces, tmp_path, capsys):
    apart = prepare(settings("synthetic_pretrain", faces), "unused")
    assert apart.seen == 0
    config = settings("synthetic_pretrain", faces, evaluation__data__split="train", steps=1)
    train_and_evaluate(config, tmp_path / "run")
    assert "ATTENTION: 12 identities of the evaluation are trained on" in capsys.readouterr().out
