"""What a checkpoint brings back, and on how many devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ddl_jax
from ddl_jax import losses, parallel
from ddl_jax.errors import UserError
from ddl_jax.training.checkpoint import Checkpoints, Meta

from .work_directory import write_work_directory

META = Meta(card={}, classes=20, identities="i", heads=["shared"], data="d")


def test_a_state_comes_back_on_any_number_of_devices(trainer, tmp_path):
    state, _ = trainer("images", devices=8).run(2)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
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


def test_only_the_newest_checkpoints_are_kept(trainer, tmp_path):
    own = trainer("images")
    state = own.new_state()
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(state.replace(step=jnp.int32(step)), META)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps() == [3, 4]


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
