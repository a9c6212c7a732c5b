"""What a checkpoint brings back, and on how many devices."""

import json
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ddl_jax
from ddl_jax import losses, parallel
from ddl_jax.config import Checkpoint, Config
from ddl_jax.errors import UserError
from ddl_jax.training.checkpoint import Checkpoints, Meta

from .work_directory import write_work_directory

# When one array of a checkpoint cannot be read or written, Orbax leaves the work on the others
# behind, which then finds its event loop closed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("quick_compilation"),
]

META = Meta(card={}, classes=20, identities="i", heads=["shared"], data="d")


def test_a_state_comes_back_on_any_number_of_devices(trainer, tmp_path):
    state, _ = trainer("images", devices=8).run(2)
    with Checkpoints(tmp_path, Checkpoint(keep=2)) as checkpoints:
        checkpoints.save(state, META)
    for devices in (1, 2, 8):
        own = trainer("images", devices=devices)
        with Checkpoints(tmp_path, read_only=True) as checkpoints:
            assert checkpoints.steps() == [2]
            assert checkpoints.read_meta(2) == META
            found = checkpoints.restore(2, own.new_state(), own.mesh)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), state)
        centres = found.params["heads"]["shared"]["class_centers"]
        assert len(centres.addressable_shards) == devices


@pytest.fixture(scope="module")
def first_state(trainer):
    return trainer("images").new_state()


def save(workdir, state, steps, settings):
    with Checkpoints(workdir, settings) as checkpoints:
        for step in steps:
            checkpoints.save(state.replace(step=jnp.int32(step)), META)
    with Checkpoints(workdir, read_only=True) as checkpoints:
        return checkpoints.steps()


def test_only_the_newest_checkpoints_are_kept(first_state, tmp_path):
    assert save(tmp_path, first_state, (1, 2, 3, 4), Checkpoint(keep=2)) == [3, 4]


def test_checkpoints_of_every_so_many_steps_are_kept_for_good(first_state, tmp_path):
    settings = Checkpoint(keep=1, keep_every=2)
    assert save(tmp_path, first_state, (1, 2, 3, 4, 5), settings) == [2, 4, 5]


@pytest.mark.parametrize(("metric", "best"), [("separation", 2), ("eer", 3)])
def test_the_best_checkpoint_is_kept(first_state, tmp_path, metric, best):
    # Of step 4 the metric is not known, step 5 was not evaluated.
    values = {1: 0.1, 2: 0.5, 3: 0.05, 4: None}
    for step, value in values.items():
        folder = tmp_path / "evaluation" / str(step)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"domains/all": {metric: value}}))
    settings = Checkpoint(keep=1, best=f"domains/all/{metric}")
    assert save(tmp_path, first_state, (1, 2, 3, 4, 5), settings) == [best, 5]


def damage(folder):
    """Cuts every array's file, as a disk that lost its last writes."""
    files = [path for path in folder.rglob("d/*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("what", ["cut", "lost"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(trainer, first_state, tmp_path, what):
    save(tmp_path, first_state, (1, 2, 3), Checkpoint(keep=3))
    for step in (2, 3):
        folder = tmp_path / "checkpoints" / str(step)
        damage(folder) if what == "cut" else shutil.rmtree(folder / "heads")
    with Checkpoints(tmp_path, Checkpoint(keep=3)) as checkpoints:
        own = trainer("images")
        found, damaged = checkpoints.restore_newest(own.new_state(), own.mesh)
        assert int(found.step) == 1
        jax.tree.map(np.testing.assert_array_equal, found.params, first_state.params)
        assert damaged == {step: str(tmp_path / "damaged" / str(step)) for step in (3, 2)}
        assert checkpoints.steps() == [1]
        checkpoints.save(found.replace(step=jnp.int32(2)), META)  # its place is free again
    assert (tmp_path / "damaged" / "3").is_dir()


def test_if_no_checkpoint_can_be_read_all_stay_where_they_are(trainer, first_state, tmp_path):
    save(tmp_path, first_state, (1, 2), Checkpoint())
    for step in (1, 2):
        damage(tmp_path / "checkpoints" / str(step))
    with Checkpoints(tmp_path) as checkpoints:
        own = trainer("images")
        with pytest.raises(UserError, match="checkpoints/2 cannot be read"):
            checkpoints.restore_newest(own.new_state(), own.mesh)
        assert checkpoints.steps() == [1, 2]


def test_what_may_not_be_read_is_not_damaged(trainer, first_state, tmp_path, monkeypatch):
    save(tmp_path, first_state, (1, 2), Checkpoint())
    with Checkpoints(tmp_path) as checkpoints:
        restore = checkpoints._manager.restore

        def refused(step, **arguments):
            if step == 2:
                raise PermissionError(13, "Permission denied")
            return restore(step, **arguments)

        monkeypatch.setattr(checkpoints._manager, "restore", refused)
        own = trainer("images")
        with pytest.raises(UserError, match="checkpoints/2 cannot be read: Permission denied; hav"):
            checkpoints.restore_newest(own.new_state(), own.mesh)
        assert checkpoints.steps() == [1, 2]
    assert not (tmp_path / "damaged").exists()


def test_a_full_disk_is_told_and_older_checkpoints_stay(trainer, first_state, tmp_path):
    save(tmp_path, first_state, (1,), Checkpoint())
    state = first_state.replace(step=jnp.int32(2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # Python ignores the signal: writes beyond the limit fail, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        with pytest.raises(UserError, match="cannot be written .* the newest is of step 1: make"):
            with Checkpoints(tmp_path, Checkpoint(keep=1)) as checkpoints:
                checkpoints.save(state, META)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with Checkpoints(tmp_path, Checkpoint(keep=1)) as checkpoints:
        assert checkpoints.steps() == [1]
        own = trainer("images")
        checkpoints.restore(1, own.new_state(), own.mesh)
        checkpoints.save(state, META)


def test_the_averaged_backbone_is_what_others_get(tmp_path):
    config = Config(devices=1)
    config.optimizer.ema_decay = 0.9
    state = write_work_directory(tmp_path / "averaged", config=config)
    _, variables, _ = ddl_jax.load_checkpoint(tmp_path / "averaged")
    jax.tree.map(np.testing.assert_array_equal, variables, state.averaged)
    assert not np.array_equal(
        state.averaged["params"]["fc"]["kernel"], state.params["backbone"]["fc"]["kernel"]
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A work directory with one checkpoint of a real backbone."""
    workdir = tmp_path_factory.mktemp("trained")
    return workdir, write_work_directory(workdir)


def test_what_a_margin_remembers_comes_back(trained):
    workdir, state = trained
    with Checkpoints(workdir) as checkpoints:
        found = checkpoints.restore(7, state, parallel.make_mesh(1))
    margins = found.loss_state["margins"]
    assert margins == {"shared": losses.AdaFaceState(17.0, 3.0)}
    assert isinstance(margins["shared"], losses.AdaFaceState)


def test_a_checkpoint_of_another_version_is_refused_in_one_line(trained):
    workdir, state = trained
    other = state.replace(loss_state=state.loss_state["margins"])
    told = "cannot be read: it was written by another"
    with Checkpoints(workdir) as checkpoints, pytest.raises(UserError, match=told) as error:
        checkpoints.restore(7, other, parallel.make_mesh(1))
    assert "\n" not in str(error.value)


def test_load_checkpoint_gives_anybody_a_backbone(trained):
    workdir, state = trained
    module, variables, card = ddl_jax.load_checkpoint(workdir)
    assert (card.network, card.colour, card.input_size) == ("iresnet_tiny", "BGR", (32, 32))
    jax.tree.map(np.testing.assert_array_equal, variables["params"], state.params["backbone"])
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    embeddings = module.apply(variables, card.normalise(images))
    assert embeddings.shape == (2, 16) and np.isfinite(embeddings).all()


def test_what_is_not_there_is_said_in_one_line(trained, tmp_path):
    workdir, _ = trained
    with pytest.raises(UserError, match=r"no checkpoint of step 3; it has \[7\]"):
        ddl_jax.load_checkpoint(workdir, 3)
    with pytest.raises(UserError, match="no work directory"):
        ddl_jax.load_checkpoint(tmp_path)
