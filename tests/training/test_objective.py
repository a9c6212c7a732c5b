"""Which images the softmax sees, and with which head."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddl_jax import losses, parallel
from ddl_jax.config import Batch, Config, Loss, validate
from ddl_jax.errors import UserError
from ddl_jax.training.distillation import distillation_loss
from ddl_jax.training.objective import (
    head_names,
    initial_loss_state,
    make_margin,
    make_objective,
    softmax_columns,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

DDL = Batch(kind="ddl", domains=("easy", "dark"))


@pytest.mark.parametrize(
    "loss, batch, columns",
    [
        (Loss(), Batch(), {"shared": [0]}),
        (Loss(), DDL, {"shared": [0, 3]}),
        (Loss(softmax_images="all"), DDL, {"shared": [0, 1, 2, 3, 4, 5]}),
        (Loss(heads="per_domain"), DDL, {"easy": [0], "dark": [3]}),
        (
            Loss(softmax_images="all", heads="per_domain"),
            DDL,
            {"easy": [0, 1, 2], "dark": [3, 4, 5]},
        ),
    ],
)
def test_heads_classify_the_columns_they_say(loss, batch, columns):
    assert softmax_columns(loss, batch) == columns
    assert head_names(Config(loss=loss, batch=batch)) == tuple(columns)


def test_every_option_of_the_ddl_is_a_setting():
    """They go over by name: one that is called otherwise would never arrive."""
    renamed = {"count": "negatives"}
    wanted = {renamed.get(name, name) for name in losses.DistillationPreset._fields}
    ours = {"weight", "past_similarities", "past_embeddings"}
    assert wanted == set(vars(Config().loss.distillation)) - ours


def run_objective(config, embeddings, labels, centers, classes):
    """The objective on one device, inside the map it is written for."""
    objective = make_objective(config, classes)
    heads = {name: {"class_centers": centers[name]} for name in head_names(config)}
    mesh = parallel.make_mesh(1)

    def value(embeddings):
        state = initial_loss_state(config)
        loss, (_, terms) = objective(embeddings, labels, heads, state, jax.random.key(0))
        return loss, terms

    spec = jax.P()
    return jax.jit(jax.shard_map(value, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))(
        embeddings
    )


@pytest.fixture
def setting():
    rng = np.random.default_rng(0)
    embeddings = jnp.asarray(rng.standard_normal((6, 6, 12)), jnp.float32)
    labels = jnp.asarray(np.stack([rng.permutation(9)[:6] for _ in range(6)], 1), jnp.int32)
    centers = {
        name: jnp.asarray(rng.standard_normal((16, 12)), jnp.float32)
        for name in ("shared", "easy", "dark")
    }
    return embeddings, labels, centers


def cross_entropy(embeddings, labels, centers, classes):
    """Written with optax: the mean over the rows, padding cut away."""
    cosine = losses.cosine_logits(embeddings.reshape(-1, 12), centers[:classes])
    logits = losses.arcface_logits(cosine, labels.reshape(-1))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels.reshape(-1)).mean()


def test_heads_per_domain_add_up_and_a_shared_head_takes_the_mean(setting):
    embeddings, labels, centers = setting
    config = Config(batch=DDL, loss=Loss(heads="per_domain"))
    config.loss.distillation.weight = 0.0
    loss, terms = run_objective(config, embeddings, labels, centers, 9)
    parts = [
        cross_entropy(embeddings[:, column], labels[:, column], centers[name], 9)
        for name, column in (("easy", 0), ("dark", 3))
    ]
    np.testing.assert_allclose(loss, sum(parts), rtol=1e-5)
    np.testing.assert_allclose(terms["margin_softmax"], loss, rtol=0)

    config = Config(batch=DDL)
    config.loss.distillation.weight = 0.0
    loss, _ = run_objective(config, embeddings, labels, centers, 9)
    both = jnp.array([0, 3])
    wanted = cross_entropy(embeddings[:, both], labels[:, both], centers["shared"], 9)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_distillation_is_added_with_its_weight_and_reported_without(setting):
    embeddings, labels, centers = setting
    values = {}
    for weight in (0.0, 1.0, 8.0):
        config = Config(batch=DDL)
        config.loss.distillation.weight = weight
        values[weight], terms = run_objective(config, embeddings, labels, centers, 9)
    ddl = terms["distillation"]
    np.testing.assert_allclose(values[1.0] - values[0.0], ddl, atol=1e-4)
    np.testing.assert_allclose(values[8.0] - values[0.0], 8 * ddl, atol=1e-4)
    easy, dark = (
        losses.pair_similarities(*(embeddings[:, 3 * k + i] for i in range(3)), labels[:, 3 * k])
        for k in range(2)
    )
    wanted, wanted_terms = losses.distribution_distillation_loss(easy, [dark])
    np.testing.assert_allclose(ddl, wanted, rtol=1e-5)
    np.testing.assert_allclose(
        terms["positive_divergence/dark"], wanted_terms["positive_divergence"][0], rtol=1e-5
    )
    np.testing.assert_allclose(
        terms["negative_mean/easy"], wanted_terms["negative_mean"][0], rtol=1e-5
    )


def test_the_options_that_the_docs_name_are_the_released_code(setting):
    embeddings, _, _ = setting
    labels = jnp.zeros((6, 6), jnp.int32)  # of one identity: nothing would be left where it is told
    config = Config(batch=DDL)
    options = config.loss.distillation
    options.mining, options.mask_labels = "tface", False
    options.lowest_node, options.highest_node, options.nodes = 0.0, 0.999, 1000
    options.gradient_times_devices = True
    validate(config)

    def of_run(rows, labels):
        return distillation_loss(rows, labels, {}, jax.random.key(0), config)[0]

    def released(rows, labels):
        how = dict(preset="tface", axis_name=parallel.AXIS)
        return losses.preset_distillation_loss(rows, labels, **how)[0]

    def on_two_devices(loss):
        rows = jax.P(parallel.AXIS)
        step = jax.shard_map(
            jax.value_and_grad(loss),
            mesh=parallel.make_mesh(2),
            in_specs=rows,
            out_specs=(jax.P(), rows),
            check_vma=False,
        )
        return jax.jit(step)(embeddings, labels)

    value, gradient = on_two_devices(released)
    assert np.abs(gradient).max() > 1e-3
    for found, expected in zip(on_two_devices(of_run), (value, gradient), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    options.gradient_times_devices = False
    np.testing.assert_allclose(on_two_devices(of_run)[1], gradient / 2, rtol=1e-4, atol=1e-7)


def test_margins_take_their_own_options():
    loss = Loss(margin="cosface", scale=10.0)
    loss.cosface.margin = 0.3
    target = make_margin(loss).target(jnp.array([0.5]), losses.MarginInputs())
    assert float(target[0]) == pytest.approx(0.2)
    assert make_margin(loss).scale == 10.0


@pytest.mark.parametrize("name", losses.MARGIN_NAMES)
def test_every_margin_can_be_named_in_a_config(name):
    config = Config(loss=Loss(margin=name))
    validate(config)
    assert make_margin(config.loss).scale == 64.0
    wanted = {} if losses.named_margin(name).initial_state is None else {"shared"}
    assert set(initial_loss_state(config)["margins"]) == set(wanted)


def test_negatives_above_the_filter_count_as_0():
    margin = make_margin(Loss(margin="normface", inter_class_filter=0.4))
    negatives = margin.negatives(jnp.array([[0.5, 0.3]]), jnp.zeros(1), losses.MarginInputs())
    np.testing.assert_allclose(negatives, [[0.0, 0.3]])


def test_a_margin_that_cannot_be_is_told_in_one_line():
    loss = Loss(margin="magface")
    loss.magface.lower_margin = 0.9
    with pytest.raises(UserError) as error:
        make_margin(loss)
    message = "config.loss, margin magface: upper_margin is 0.8; expected from 0.9 to 3.14159, in"
    assert str(error.value) == f"{message} radians"
