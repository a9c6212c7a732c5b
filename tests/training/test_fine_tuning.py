"""Parts that are frozen stay as they came, bit for bit; the others learn at their own rates."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import traverse_util
from jax.tree_util import DictKey

from ddl_jax import config as config_lib
from ddl_jax import parallel
from ddl_jax.config import Checkpoint, Config, InitFrom, Model
from ddl_jax.errors import UserError
from ddl_jax.models import backbone_parts, create_backbone, is_batch_norm
from ddl_jax.models.iresnet import IResNet
from ddl_jax.training.checkpoint import Checkpoints, Meta
from ddl_jax.training.fine_tuning import FineTuning, make_fine_tuning
from ddl_jax.training.state import make_module
from tests.training.conftest import make_batch
from tests.training.test_step import assert_close

pytestmark = pytest.mark.usefixtures("quick_compilation")


def fine_tuning(steps=1, model=None, **settings):
    config = Config(steps=steps, init_from=InitFrom(path="runs/before", **settings))
    config.model = Model(name="iresnet_tiny", **(model or {}))
    config_lib.validate(config)
    return make_fine_tuning(config, make_module(config))


PLAIN = {"stem": 1, "stage1": 1, "stage2": 1, "stage3": 1, "stage4": 1, "embedding": 1, "head": 1}


STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "embedding")


@pytest.mark.parametrize(
    "settings, wanted",
    [
        ({}, PLAIN),
        (
            {"layer_decay": 0.5},
            PLAIN
            | {"stage4": 1 / 2, "stage3": 1 / 4, "stage2": 1 / 8, "stage1": 1 / 16, "stem": 1 / 32},
        ),
        ({"rates": ("stem=0.1", "head=10")}, PLAIN | {"stem": 0.1, "head": 10}),
        ({"rates": ("backbone=0.1",)}, dict.fromkeys(PLAIN, 0.1) | {"head": 1}),
        # What names a part goes before what names the backbone, that before the decay.
        (
            {"rates": ("embedding=1", "backbone=0.25")},
            dict.fromkeys(PLAIN, 0.25) | {"embedding": 1, "head": 1},
        ),
        (
            {"layer_decay": 0.5, "rates": ("stage4=1",), "frozen": ("stem", "stage1", "stage2")},
            {"stage3": 1 / 4, "stage4": 1, "embedding": 1, "head": 1},
        ),
        ({"rates": ("backbone=2",), "frozen": ("stem", "embedding")}, None),
        ({"frozen": ("backbone",)}, {"head": 1}),
    ],
)
def test_the_rate_of_every_part(settings, wanted):
    stages = {"stage1": 2, "stage2": 2, "stage3": 2, "stage4": 2, "head": 1}
    assert fine_tuning(**settings).factors == (wanted or stages)


@pytest.mark.parametrize(
    "settings, told",
    [
        (
            {"frozen": ("stem", "stage5")},
            "config.init_from.frozen names 'stage5'; iresnet_tiny has stem, stage1, stage2, "
            "stage3, stage4, embedding, head, backbone, batch_norm",
        ),
        (
            {"rates": ("batch_norm=0.1",)},
            "rates names 'batch_norm'; iresnet_tiny has stem, stage1, stage2, stage3, stage4, "
            "embedding, head, backbone",
        ),
        (
            {"frozen": ("stem",), "rates": ("stem=0.1",)},
            "rates has 'stem', which config.init_from.frozen freezes; remove one of them",
        ),
        (
            {"frozen": ("backbone",), "rates": ("embedding=0.1",)},
            "rates has 'embedding', which config.init_from.frozen freezes",
        ),
        (
            {"frozen": ("backbone",), "rates": ("backbone=0.1",)},
            "rates has 'backbone', which config.init_from.frozen freezes",
        ),
        (
            {"frozen": ("backbone", "head")},
            "frozen is backbone,head, which leaves nothing to learn; free a part, or",
        ),
        (
            {"frozen": ("backbone",), "layer_decay": 0.5},
            "layer_decay is 0.5, but every stage is frozen or has a rate of its own; remove it",
        ),
        ({"rates": ("backbone=0.1",), "layer_decay": 0.5}, "layer_decay is 0.5, but every stage"),
        (
            {"frozen": ("head",), "head": "reset"},
            "head=reset makes new class centres, which have to learn; choose keep or class_means",
        ),
        (
            {"frozen": ("batch_norm",), "model": {"batch_norm": "per_device"}},
            "config.model.batch_norm is 'per_device', but config.init_from.frozen freezes every "
            "BatchNorm; remove one of them",
        ),
        (
            {
                "frozen": ("batch_norm",),
                "model": {"batch_norm": "groups", "batch_norm_group": 4},
            },
            "config.model.batch_norm is 'groups', but config.init_from.frozen freezes every",
        ),
        (
            {"frozen": STAGES, "model": {"batch_norm": "per_device"}},
            "config.model.batch_norm is 'per_device', but config.init_from.frozen freezes every",
        ),
        (
            {"frozen": ("backbone",), "model": {"remat": (4,)}},
            "config.model.remat has stage 4, which has no backward pass",
        ),
        (
            {"frozen": ("stem", "stage1"), "model": {"remat": (1, 2)}},
            "config.model.remat has stage 1, which has no backward pass: config.init_from.frozen "
            "freezes all from the images to its end; remove it",
        ),
    ],
)
def test_what_fits_no_network_is_refused(settings, told):
    with pytest.raises(UserError) as caught:
        fine_tuning(**settings)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"frozen": ("stem", "stage1", "batch_norm"), "model": {"batch_norm": "frozen"}},
        {"frozen": ("backbone", "stage1", "batch_norm")},
        {"frozen": ("stem", "stage2"), "model": {"batch_norm": "per_device"}},
        # The stem learns, through all that is frozen.
        {"frozen": STAGES[1:], "model": {"remat": (1, 4)}},
        {"frozen": ("batch_norm",), "model": {"remat": (1,)}},
    ],
)
def test_what_says_nothing_wrong_is_accepted(settings):
    assert fine_tuning(**settings).frozen_parts


def test_without_a_step_everything_may_be_frozen():
    settings = {"frozen": ("backbone", "head"), "head": "reset"}
    assert not fine_tuning(0, {"batch_norm": "per_device", "remat": (1,)}, **settings).factors


def test_statistics_freeze_with_their_part_or_everywhere():
    backbone = tuple(PLAIN)[:-1]
    part, every, statistics = (
        fine_tuning(frozen=("stem", "head")),
        fine_tuning(frozen=("batch_norm",)),
        fine_tuning(model={"batch_norm": "frozen"}),
    )
    assert (part.frozen_parts, part.freeze_batch_norm) == (("stem",), False)
    assert (every.frozen_parts, every.freeze_batch_norm) == (backbone, True)
    assert (statistics.frozen_parts, statistics.freeze_batch_norm) == (backbone, False)


def small(**options):
    """A network with two stages that compiles in seconds."""
    sizes = {"depths": (1, 1), "widths": (8, 16), "stem_width": 8, "embedding_size": 16}
    return IResNet(**sizes, axis_name=parallel.AXIS, **options)


LAYERS = backbone_parts(small())


def first_state(made):
    """A state with weights that could have learned: drawing them by jax takes long to compile."""
    rng, shapes = np.random.default_rng(0), jax.eval_shape(made.new_state)

    def draw(leaf):
        center, deviation = (1.0, 0.1) if leaf.ndim == 1 else (0.0, 0.1)
        return rng.normal(center, deviation, leaf.shape).astype(leaf.dtype)

    params, batch_stats = (jax.tree.map(draw, t) for t in (shapes.params, shapes.batch_stats))
    state = shapes.replace(
        step=np.int32(0),
        skipped={"total": np.int32(0), "in_a_row": np.int32(0)},
        params=params,
        batch_stats=batch_stats,
        opt_state=made.optimizer.init(made.fine_tuning.learnt(params)),
    )
    return jax.device_put(state, parallel.shardings(made.mesh, state))


def run(made, steps, save=lambda state: None):
    """The states from the first to that after some steps, the step, and its last metrics."""
    state = first_state(made)
    step, states = made.step(state), [jax.device_get(state)]
    for number in range(steps):
        save(state)
        batch = parallel.global_batch(made.mesh, make_batch(made.config, number))
        state, metrics = step(state, batch)
        states.append(jax.device_get(state))
    return states, step, jax.device_get(metrics)


def paths(state, parts):
    """Paths of all parameters of some parts of the backbone."""
    flat = traverse_util.flatten_dict(state.params["backbone"])
    return {path for path in flat if LAYERS[path[0]] in parts}


def changed(tree, before):
    """Paths of the leaves that are no longer the same, bit for bit."""
    flat, flat_before = map(traverse_util.flatten_dict, (tree, before))
    return {path for path in flat if flat[path].tobytes() != flat_before[path].tobytes()}


def momenta(state):
    """What the optimizer remembers of the parameters, by their paths."""
    leaves = [(path, leaf) for path, leaf in jax.tree.leaves_with_path(state.opt_state)]
    keys = lambda path: tuple(key.key for key in path if isinstance(key, DictKey))  # noqa: E731
    return {keys(path): leaf for path, leaf in leaves if leaf.ndim}


def test_frozen_parts_keep_every_bit_and_a_stopped_run_goes_on_as_if_it_had_not(trainer, tmp_path):
    made = trainer("images", init_from__frozen=("stem", "stage1"), init_from__layer_decay=0.5)
    meta = Meta(card={}, classes=20, identities="i", heads=["shared"], data="d")
    with Checkpoints(tmp_path, Checkpoint(keep=9)) as checkpoints:
        states, step, _ = run(made.fine_tune(small()), 4, lambda s: checkpoints.save(s, meta))
    start, end = states[0], states[-1]
    learnt = paths(start, ("stage2", "embedding"))
    assert changed(end.params["backbone"], start.params["backbone"]) == learnt
    statistics = changed(end.batch_stats, start.batch_stats)
    assert {LAYERS[path[0]] for path in statistics} == {"stage2", "embedding"}
    assert set(momenta(end)) == {("backbone", *path) for path in learnt} | {CENTERS}

    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        state = checkpoints.restore(2, jax.eval_shape(made.new_state), made.mesh)
    for number in (2, 3):
        batch = parallel.global_batch(made.mesh, make_batch(made.config, number))
        state, _ = step(state, batch)
    assert jax.tree.structure(state) == jax.tree.structure(end)
    jax.tree.map(np.testing.assert_array_equal, state, end)


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"frozen": ("stem",)}, "FineTuning names 'stem'; its layers are of head"),
        ({"layers": {"conv1": "stem"}, "factors": {"stage1": 0.1}}, "names 'stage1'; its layers"),
        ({"freeze_batch_norm": True}, "freezes BatchNorms but has no layers"),
        ({"freeze_statistics": True}, "freezes BatchNorms but has no layers"),
    ],
)
def test_nothing_can_be_frozen_that_is_not_there(settings, told):
    with pytest.raises(UserError, match=told):
        FineTuning(**settings)


def test_a_step_that_would_move_what_is_frozen_cannot_be_made(trainer):
    made = trainer("images", init_from__frozen=("stem", "stage1")).fine_tune(small())

    def refusal(**changes):
        with pytest.raises(UserError) as caught:
            own = dataclasses.replace(made)
            vars(own).update(vars(made) | changes)
            own.step(jax.eval_shape(made.new_state))
        return str(caught.value)

    told = refusal(module=small(frozen_parts=("stem", "stage1")), fine_tuning=FineTuning())
    assert told.startswith("the backbone comes with frozen_parts=stem,stage1, but fine_tuning lets")
    assert "is of another backbone" in refusal(module=create_backbone("iresnet_tiny"))
    # The same parts said twice are no mistake.
    made.module = small(frozen_parts=("stem",))
    made.step(jax.eval_shape(made.new_state))


@pytest.mark.parametrize("forgotten", ["state", "step"])
def test_a_state_made_for_learning_something_else_is_refused(trainer, forgotten):
    made = trainer("images", init_from__frozen=("stem",)).fine_tune(small())
    plain = trainer("images", init_from__frozen=("stem",)).fine_tune(small())
    plain.fine_tuning = FineTuning()
    of_state, of_step = (plain, made) if forgotten == "state" else (made, plain)
    state = jax.eval_shape(of_state.new_state)
    with pytest.raises(UserError, match="the same optimizer and the same fine_tuning"):
        of_step.step(state).trace(state, make_batch(made.config, 0))


CENTERS = ("heads", "shared", "class_centers")


def test_a_frozen_head_and_batch_norm_stay_as_they_came(trainer):
    # On several devices the mean of a statistic may round even where all have the same.
    made = trainer("images", devices=8, init_from__frozen=("head", "batch_norm"))
    (start, *_, end), *_ = run(made.fine_tune(small()), 2)
    learnt = {path for path in paths(start, LAYERS.values()) if not is_batch_norm(path[-2])}
    assert changed(end.params["backbone"], start.params["backbone"]) == learnt
    assert not changed(end.params["heads"], start.params["heads"])
    assert not changed(end.batch_stats, start.batch_stats)
    assert set(momenta(end)) == {("backbone", *path) for path in learnt}


RATES = {"init_from__frozen": ("stem",), "init_from__rates": ("stage1=0.5", "head=2")}


@pytest.fixture(scope="module")
def one_device(trainer):
    return run(trainer("images", **RATES).fine_tune(small()), 2)


@pytest.mark.parametrize("parallelism", ["shard_map", "pmap"])
def test_eight_devices_fine_tune_as_one(trainer, parallelism, one_device):
    made = trainer("images", devices=8, parallelism=parallelism, **RATES).fine_tune(small())
    (states, _, metrics), (wanted, _, wanted_metrics) = run(made, 2), one_device
    assert_close(states[-1].params, wanted[-1].params)
    assert_close(states[-1].batch_stats, wanted[-1].batch_stats)
    assert_close(metrics, wanted_metrics, 1e-4)


def test_the_first_step_goes_the_gradients_way_at_the_parts_rate(one_device):
    (start, after, _), *_ = one_device
    for path, gradient in momenta(after).items():  # after one step: weight decay included
        part = LAYERS[path[1]] if path[0] == "backbone" else "head"
        factor = {"stage1": 0.5, "head": 2.0}.get(part, 1.0)
        was, now = (traverse_util.flatten_dict(state.params)[path] for state in (start, after))
        np.testing.assert_allclose(now, was - 1e-3 * factor * gradient, rtol=1e-6, atol=1e-7)
        assert np.abs(gradient).max() > 1e-4


@pytest.mark.parametrize(
    "frozen, gradients",
    [
        # Every convolution has the gradient of its kernel and that of its input, which the very
        # first and the shortcut beside it lack.
        ((), 13 + 12),
        (("stem", "stage1"), 9 + 8),
        (("stage2", "stage3"), 7 + 12),  # their inputs' gradients go on to what learns below
        (("backbone",), 0),
    ],
)
def test_what_is_frozen_from_the_images_on_has_no_backward_pass(trainer, frozen, gradients):
    made = trainer("images", init_from__frozen=frozen)
    made.fine_tune(create_backbone("iresnet_tiny", embedding_size=16, axis_name=parallel.AXIS))
    state = jax.eval_shape(made.new_state)
    program = made.step(state).trace(state, make_batch(made.config, 0)).jaxpr
    assert str(program).count("conv_general_dilated[") == 13 + gradients
