"""Runs on images that are made hard on the way, and on batches of other kinds."""

import dataclasses

import jax
import numpy as np
import pytest

from ddl_jax.data.degradations import recipe
from ddl_jax.errors import UserError
from ddl_jax.training import train_and_evaluate
from ddl_jax.training.checkpoint import Checkpoints
from ddl_jax.training.prepare import _changed_data, prepare

from .test_runs import faces, pretrained, settings  # noqa: F401 (fixtures)

pytestmark = pytest.mark.usefixtures("quick_compilation")

DEGRADED = {"batch__domains": "easy,far", "batch__degradations": "far=cctv"}


@pytest.fixture
def margin(faces):  # noqa: F811
    """Makes settings of a margin-only run."""
    return lambda **changes: settings("synthetic_pretrain", faces, evaluation__every=-1, **changes)


def test_a_run_on_made_images_says_so_and_goes_on_with_the_same_recipes_only(
    margin, tmp_path, capsys, monkeypatch
):
    changes = DEGRADED | {"batch__augmentations": "0.5=crop:90..112"}
    train_and_evaluate(margin(**changes), tmp_path)
    told = capsys.readouterr().out
    assert f"made on the fly: far of easy by {recipe.PRESETS['cctv']}\n" in told
    assert "augmentation of 50% of the images: crop:90..112\n" in told
    assert "36 easy, 36 far images of 12 identities" in told
    other = changes | {"batch__degradations": "far=resize:16"}
    with pytest.raises(UserError, match="a run with another config.batch.degradations"):
        prepare(margin(**other), tmp_path)
    # Another version of ours, in which the preset is another.
    monkeypatch.setitem(recipe.PRESETS, "cctv", "resize:16")
    with pytest.raises(UserError, match="have changed since its checkpoint.*changed=accept"):
        prepare(margin(**changes), tmp_path)
    # Who insists is told, and the next checkpoint is of the new data.
    more = {"steps": margin().steps + 1}
    capsys.readouterr()
    train_and_evaluate(margin(**changes, **more, data__changed="accept"), tmp_path)
    assert "ATTENTION: the data of" in capsys.readouterr().out
    assert prepare(margin(**changes, **more), tmp_path).changed == ""


def test_who_insists_on_other_data_does_not_get_other_identities(margin, tmp_path):
    train_and_evaluate(margin(steps=1), tmp_path)
    with Checkpoints(tmp_path) as checkpoints:
        meta = checkpoints.read_meta(1)
    fewer = dataclasses.replace(meta, data="others", identities="others", classes=3)
    accepting = margin(steps=1, data__changed="accept")
    with pytest.raises(UserError, match="other identities .3 before, now 12.*config.init_from"):
        _changed_data(accepting, tmp_path, fewer, meta)


@pytest.mark.long  # a run to start from takes ten seconds
def test_class_means_are_those_of_the_images_there_are(margin, pretrained):  # noqa: F811
    workdir, _ = pretrained
    start = {"init_from__path": workdir, "init_from__head": "class_means"}
    run, plain = (prepare(margin(**start, **more), "unused") for more in (DEGRADED, {}))
    assert len(run.source) > len(run.images) == len(plain.images) == len(plain.source)
    found, wanted = (one.first_state().params["heads"] for one in (run, plain))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_half_of_a_mixed_batch_is_made(margin):
    run = prepare(margin(**DEGRADED, batch__shares="(0.5,0.5)"), "unused")
    records = run.sampler.records(1)[:, 0]
    domains = run.source.index.domains[records]
    assert sorted(domains) == ["easy"] * 4 + ["far"] * 4
    images, easy_only = run.batches()[1]["image"], prepare(margin(), "unused").source
    for row, (record, domain) in enumerate(zip(records, domains)):
        image = images[row, 0]
        path = str(run.source.index.paths[record]).removesuffix("#far")
        (original,) = np.flatnonzero(easy_only.index.paths == path)
        sharp = np.abs(np.diff(_decode(easy_only, original, run.card.input_size), axis=0)).mean()
        assert (np.abs(np.diff(image.astype(int), axis=0)).mean() < 0.9 * sharp) == (
            domain != "easy"
        )


def _decode(source, number, size):
    from ddl_jax.data.decode import decode_image

    return decode_image(source[int(number)]["image"], "x", tuple(size)).astype(int)


def test_a_batch_of_few_identities(margin):
    config = margin(batch__kind="identities", batch__images_per_identity=2)
    run = prepare(config, "unused")  # which traces the step
    labels = run.source.index.labels[run.sampler.records(0)[:, 0]]
    assert len(set(labels)) == 4 and (labels[::2] == labels[1::2]).all()
