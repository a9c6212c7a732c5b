"""One step, any topology: the numbers of eight devices are those of one, mapped either way."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import parallel
from ddl_jax.models.mobilefacenet import MobileFaceNet, Stage
from tests.training.conftest import make_batch

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEPS = 5


def assert_close(found, wanted, tolerance=1e-5, floor=1e-3):
    """Every leaf to `tolerance` of its largest value, or of `floor` if that is more."""

    def check(path, a, b):
        scale = max(float(np.max(np.abs(b))), floor)
        np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * scale, err_msg=jax.tree_util.keystr(path)
        )

    jax.tree.map_with_path(check, found, wanted)


@pytest.fixture(scope="module", params=["images", "ddl"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def one_device(trainer, kind):
    return trainer(kind).run(STEPS)


@pytest.fixture(scope="module")
def eight_devices(trainer, kind):
    return trainer(kind, devices=8).run(STEPS)


def test_five_steps_on_eight_devices_equal_five_on_one(one_device, eight_devices):
    (state, metrics), (wanted, wanted_metrics) = eight_devices, one_device
    assert_close(state.params, wanted.params)
    assert_close(state.batch_stats, wanted.batch_stats)
    assert_close(metrics, wanted_metrics, 1e-4)
    assert int(state.step) == STEPS


def test_pmap_equals_shard_map_on_eight_devices(trainer, kind, eight_devices):
    state, metrics = trainer(kind, devices=8, parallelism="pmap").run(STEPS)
    wanted, wanted_metrics = eight_devices
    jax.tree.map(np.testing.assert_array_equal, state, wanted)
    assert metrics == wanted_metrics


def test_gradients_on_eight_devices_equal_those_of_one(trainer, kind):
    # Without decay the momentum after one step is the gradient itself, sharded centres included:
    # a missing division would make theirs eight times too large.
    options = {"optimizer__weight_decay": 0.0}
    wanted, _ = trainer(kind, **options).run(1)
    found, _ = trainer(kind, devices=8, **options).run(1)
    # A bias ahead of a BatchNorm has none but rounding: hence the floor.
    assert_close(found.opt_state, wanted.opt_state, floor=1.0)
    momentum = [np.abs(leaf).max() for leaf in jax.tree.leaves(wanted.opt_state)]
    assert sorted(momentum)[len(momentum) // 2] > 1e-3  # there is something to compare


def test_class_centres_are_split_and_the_rest_is_whole(trainer):
    state = trainer("images", devices=8).new_state()
    centres = state.params["heads"]["shared"]["class_centers"]
    assert {shard.data.shape for shard in centres.addressable_shards} == {(1024 // 8, 16)}
    momentum = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == centres.shape]
    assert momentum and all(leaf.sharding == centres.sharding for leaf in momentum)
    backbone = jax.tree.leaves(state.params["backbone"])
    assert all(leaf.sharding.is_fully_replicated for leaf in backbone)


def test_padded_class_rows_never_win_and_are_never_pulled(trainer):
    own = trainer("images", optimizer__weight_decay=0.0)
    before = jax.device_get(own.new_state()).params["heads"]["shared"]["class_centers"]
    after, _ = own.run(2)
    after = after.params["heads"]["shared"]["class_centers"]
    np.testing.assert_array_equal(after[20:], before[20:])
    assert np.all(np.any(after[:20] != before[:20], axis=1))


def test_batch_norm_per_device_differs_from_global_and_stays_whole(trainer):
    own = trainer("ddl", devices=8, model__batch_norm="per_device")
    state, _ = own.run(1)
    everywhere, _ = trainer("ddl", devices=8).run(1)
    mean = state.batch_stats["bn1"]["mean"]
    # The mean of the devices' means is the mean of all; their variances miss what lies between.
    np.testing.assert_allclose(mean, everywhere.batch_stats["bn1"]["mean"], atol=1e-6)
    assert (
        np.abs(state.batch_stats["bn1"]["var"] - everywhere.batch_stats["bn1"]["var"]).max() > 1e-6
    )


def test_frozen_batch_norm_keeps_its_statistics(trainer):
    own = trainer("images", model__batch_norm="frozen")
    before = jax.device_get(own.new_state()).batch_stats
    after, _ = own.run(2)
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats, before)


def test_the_loss_falls_on_a_batch_seen_again_and_again(trainer):
    own = trainer("ddl", optimizer__learning_rate=0.02)
    seen = [float(metrics["margin_softmax"]) for metrics in own.repeat(15)]
    assert seen[-1] < 0.8 * seen[0]


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.long), 2])
def test_micro_batches_are_one_batch_but_for_batch_norm(trainer, kind, devices):
    options = {"model__batch_norm": "frozen", "devices": devices}
    wanted, wanted_metrics = trainer(kind, **options).run(2)
    found, metrics = trainer(kind, micro_batches=4, **options).run(2)
    assert_close(found.params, wanted.params)
    assert_close(metrics, wanted_metrics, 1e-4)


def test_micro_batches_move_the_statistics_one_after_the_other(trainer):
    whole, _ = trainer("images").run(1)
    parts, _ = trainer("images", micro_batches=2).run(1)
    # The running mean goes a tenth of the way to the batch's, twice to those of its halves.
    once, twice = (state.batch_stats["bn1"]["mean"] for state in (whole, parts))
    assert 1.8 < np.dot(once, twice) / np.dot(once, once) < 2.0


def test_micro_batches_save_memory(trainer):
    def temporaries(micro_batches):
        options = {"batch_size": 64, "model__input_size": (64, 64)}
        own = trainer("images", micro_batches=micro_batches, **options)
        rows = {
            "image": jax.ShapeDtypeStruct((64, 1, 64, 64, 3), np.uint8),
            "label": jax.ShapeDtypeStruct((64, 1), np.int32),
        }
        state = jax.eval_shape(own.new_state)
        compiled = own.step(state).lower(state, rows).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(8) < 0.5 * temporaries(1)


def test_a_step_that_is_not_finite_changes_nothing_but_is_counted(trainer, kind):
    own = trainer(kind, devices=8, optimizer__learning_rate=1e38)
    before = jax.device_get(own.new_state())
    after, metrics = own.run(3)
    assert [row["skipped"] for row in metrics] == [1, 2, 3]
    assert not np.isfinite(metrics[-1]["parameter_norm"])
    assert (after.step, after.skipped["total"], after.skipped["in_a_row"]) == (3, 3, 3)
    same = after.replace(step=before.step, skipped=before.skipped)
    jax.tree.map(np.testing.assert_array_equal, same, before)


def test_skipped_steps_in_a_row_are_those_up_to_now(trainer):
    own = trainer("images")
    state = own.new_state()
    step, broken = own.step(state), jnp.float32(np.nan)
    kernel = state.params["backbone"]["fc"]["kernel"]
    seen = []
    for number, value in enumerate((None, broken, broken, None, broken)):
        fc = state.params["backbone"]["fc"]
        fc["kernel"] = kernel if value is None else jnp.full_like(kernel, value)
        batch = parallel.global_batch(own.mesh, make_batch(own.config, number))
        state, metrics = step(jax.tree.map(jnp.copy, state), batch)
        seen.append((int(state.skipped["total"]), int(state.skipped["in_a_row"])))
    assert seen == [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]


def mixed(share, a, b):
    return share * a + (1 - share) * b


def test_the_average_follows_the_weights(trainer):
    own = trainer("images", optimizer__ema_decay=0.15)
    state = own.new_state()
    step = own.step(state)
    wanted = jax.device_get(state.variables)
    for number in range(4):
        batch = parallel.global_batch(own.mesh, make_batch(own.config, number))
        state, _ = step(state, batch)
        now = jax.device_get({"params": state.params["backbone"], "batch_stats": state.batch_stats})
        decay = min(0.15, (1 + number) / (10 + number))
        wanted = jax.tree.map(functools.partial(mixed, decay), wanted, now)
        assert_close(jax.device_get(state.averaged), wanted, 1e-6)
    assert state.variables is state.averaged


@pytest.mark.parametrize("clip", ["all", "backbone"])
def test_a_gradient_is_clipped_by_its_whole_length_on_any_devices(trainer, clip):
    options = {"optimizer__clip_norm": 0.01, "optimizer__clip": clip}
    options["optimizer__weight_decay"] = 0.0
    found = [trainer("images", devices=devices, **options).run(1)[0] for devices in (1, 8)]
    assert_close(found[1].params, found[0].params)
    # Without decay the momentum after one step is the gradient itself.
    centers, backbone = (gradients_of(found[1], part) for part in ("class_centers", "backbone"))
    clipped = [*backbone, *centers] if clip == "all" else backbone
    length = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in clipped))
    np.testing.assert_allclose(length, 0.01, rtol=1e-4)
    if clip == "backbone":
        whole, _ = trainer("images", optimizer__weight_decay=0.0).run(1)
        assert_close(centers, gradients_of(whole, "class_centers"))


def gradients_of(state, part):
    leaves = jax.tree.leaves_with_path(state.opt_state)
    return [leaf for path, leaf in leaves if part in jax.tree_util.keystr(path)]


def small_mobilefacenet():
    return MobileFaceNet(
        stages=(Stage(16, 8, 2, 2),),
        stem_width=8,
        last_width=16,
        embedding_size=16,
        axis_name=parallel.AXIS,
    )


def test_dropout_draws_anew_every_step_and_again_in_another_run(trainer):
    def losses_of_a_batch(dropout):
        made = trainer("images", optimizer__learning_rate=1e-12, devices=2)
        made.module = made.module.clone(dropout=dropout)
        return [float(metrics["loss"]) for metrics in made.repeat(3)]

    drawn = losses_of_a_batch(0.5)
    assert len(set(drawn)) == 3 and losses_of_a_batch(0.5) == drawn
    assert max(losses_of_a_batch(0.0)) == pytest.approx(min(losses_of_a_batch(0.0)), rel=1e-6)


@pytest.mark.long  # in `make test` tests/models/test_shard_map.py has its gradient in a map
@pytest.mark.parametrize("parallelism", ["shard_map", "pmap"])
def test_a_mobilefacenet_trains_on_eight_devices_as_on_one(trainer, parallelism):
    # Its depthwise layers have a derivative of their own, chosen by platform.
    def run(**changes):
        made = trainer("images", **changes)
        made.module = small_mobilefacenet()
        return made.run(2)

    one, metrics = run()
    eight, eight_metrics = run(devices=8, parallelism=parallelism)
    assert_close(eight.params, one.params)
    assert eight_metrics[-1]["loss"] == pytest.approx(metrics[-1]["loss"], rel=1e-5)


@pytest.mark.parametrize(
    "margin, followed",
    [
        ("curricularface", ["curricular_t"]),
        # What these remember or draw is handed on as curricularface's is.
        pytest.param("adaface", ["norm_mean", "norm_std"], marks=pytest.mark.long),
        pytest.param("magface", ["regularizer"], marks=pytest.mark.long),
        pytest.param("elasticface", [], marks=pytest.mark.long),
    ],
)
def test_what_a_margin_remembers_or_draws_is_that_of_the_global_batch(trainer, margin, followed):
    options = {"loss__margin": margin, "loss__heads": "per_domain", "loss__class_chunk": 48}
    options["loss__magface__lower_norm"] = 1.0  # embeddings of 16 numbers are some 4 long
    wanted, wanted_metrics = trainer(**options).run(3)
    state, metrics = trainer(devices=8, **options | {"loss__class_chunk": 0}).run(3)
    assert_close(state.params, wanted.params)
    assert_close(state.loss_state, wanted.loss_state)
    assert_close(metrics, wanted_metrics, 1e-4)
    for name in followed:
        values = [[v for k, v in m.items() if k.partition("/")[0] == name] for m in metrics]
        assert len(values[0]) == (1 if name == "regularizer" else 2)  # one a head
        assert values[0] != values[1] != values[2]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"past_similarities": 20, "correct_bias": True}, marks=pytest.mark.long),
        pytest.param(
            {"past_embeddings": 24, "mining": "semi_hard", "negatives": 3}, marks=pytest.mark.long
        ),
        pytest.param(
            {"mining": "random", "negatives": 2, "log_space": True}, marks=pytest.mark.long
        ),
        {"mining": "top_k", "negatives": 2, "divergence": "js", "past_similarities": 5},
    ],
    ids=lambda options: "+".join(map(str, options)),
)
def test_every_way_to_the_distributions_is_that_of_the_global_batch(trainer, options):
    options = {f"loss__distillation__{name}": value for name, value in options.items()}
    wanted, wanted_metrics = trainer(**options).run(3)
    state, metrics = trainer(devices=8, **options).run(3)
    assert_close(state.params, wanted.params)
    assert_close(state.loss_state, wanted.loss_state)
    # What is left of a divergence without its bias is small: a difference of two numbers.
    assert_close(metrics, wanted_metrics, 1e-4, floor=0.05)
    _, plain = trainer().run(3)
    assert metrics[-1]["distillation"] != pytest.approx(plain[-1]["distillation"], rel=1e-3)


def test_the_distributions_remember_what_they_are_asked_to(trainer):
    made = trainer(loss__distillation__past_similarities=20, loss__distillation__past_embeddings=9)
    batch = made.config.batch_size
    state, _ = made.run(2)
    queues = state.loss_state["distillation"]
    assert len(queues["similarities"]) == len(queues["embeddings"]) == 2  # one a domain
    for past, rows in zip(queues["similarities"], queues["embeddings"], strict=True):
        assert past.negative_filled == min(2 * batch, 20)
        assert rows.filled == min(2 * batch, 9)
        np.testing.assert_allclose(np.linalg.norm(rows.embeddings, axis=1), 1.0, rtol=1e-5)
    newest = make_batch(made.config, 1)["label"][: min(batch, 9), ::3]
    for k, rows in enumerate(queues["embeddings"]):
        assert rows.labels[: len(newest)].tolist() == newest[:, k].tolist()


def test_elasticface_draws_anew_every_step_and_again_in_another_run(trainer):
    options = {"loss__margin": "elasticface", "optimizer__learning_rate": 1e-12}
    one = trainer("images", **options)
    drawn = [float(metrics["margin_softmax"]) for metrics in one.repeat(3)]
    assert len(set(drawn)) == 3
    _, again = one.run(1)
    assert again[0]["margin_softmax"] == drawn[0]
