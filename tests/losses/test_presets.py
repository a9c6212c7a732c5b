"""What the names stand for; that "tface" is the released code is held by test_distillation.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

from .test_sharded import _assert_replicated, _assert_rows, _of_global_batch, _on_devices

_B, _D = 16, 6
_RNG = np.random.default_rng(0)
_FACES = _RNG.normal(size=(_B, 6, _D)).astype(np.float32)
_FACES[:, 2::3] += _FACES[:, 1::3]
# Two singles of one identity that are nearly equal: no negatives, where labels are looked at.
_FACES[14, ::3] = _FACES[1, ::3] + 0.01
_LABELS = np.repeat(np.arange(_B)[:, None] % 13, 6, axis=1)
_KEY = jax.random.key(0)


def test_the_paper_is_the_default_of_every_function():
    domains = [
        losses.pair_similarities(*_FACES.transpose(1, 0, 2)[i : i + 3], _LABELS[:, i])
        for i in (0, 3)
    ]
    expected, expected_terms = losses.distribution_distillation_loss(domains[0], domains[1:])
    loss, terms = losses.preset_distillation_loss(_FACES, _LABELS)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), terms, expected_terms)
    named, _ = losses.preset_distillation_loss(_FACES, _LABELS, preset="paper")
    np.testing.assert_array_equal(named, loss)


def test_only_the_paper_looks_at_labels():
    one = np.zeros_like(_LABELS)
    assert not losses.domain_pairs(_FACES, one, preset="paper")[0].negative_where.any()
    assert losses.domain_pairs(_FACES, one, preset="tface")[0].negative_where.all()


@pytest.mark.parametrize(
    "change",
    [
        dict(mining="top_k", count=3),
        dict(mining="semi_hard", fallback="none"),
        dict(mining="random"),
        dict(mask_labels=False),
        dict(minimum_positive=0.6),
        dict(lowest_node=0.0),
        dict(highest_node=0.5),
        dict(nodes=7),
        dict(gamma=20.0),
        dict(positive_weight=0.2),
        dict(negative_weight=0.2),
        dict(order_weight=0.2),
        dict(divergence=losses.js_divergence),
        dict(log_space=True, gamma=200.0),
        dict(correct_bias=True),
    ],
    ids=lambda change: "-".join(change),
)
def test_every_option_arrives(change):
    loss, _ = losses.preset_distillation_loss(_FACES, _LABELS, key=_KEY)
    options = losses.distillation_preset("paper")._replace(**change)
    changed, _ = losses.preset_distillation_loss(_FACES, _LABELS, key=_KEY, preset=options)
    assert abs(changed - loss) > 1e-5


def test_a_stopped_teacher_arrives():
    def gradient(stop):
        options = losses.distillation_preset("paper")._replace(
            stop_teacher_gradient=stop, order_weight=0.0
        )
        loss = lambda faces: losses.preset_distillation_loss(faces, _LABELS, preset=options)[0]  # noqa: E731
        return jax.grad(loss)(_FACES)

    np.testing.assert_array_equal(gradient(True)[:, :3], 0.0)
    assert np.abs(gradient(False)[:, :3]).max() > 1e-3


def test_domains_draw_their_own_random_negatives():
    options = losses.distillation_preset("paper")._replace(mining="random")
    twice = np.concatenate([_FACES[:, :3]] * 2, axis=1)
    one, other = losses.domain_pairs(twice, _LABELS, preset=options, key=_KEY)
    np.testing.assert_array_equal(one.positive, other.positive)
    assert np.abs(one.negative - other.negative).max() > 0.1


def test_queues_arrive():
    unit = jnp.ones((2, _D))
    memory = losses.push_embeddings(losses.empty_embedding_queue(3, _D), unit, jnp.array([90, 91]))
    empty = losses.empty_embedding_queue(3, _D)
    plain = losses.domain_pairs(_FACES, _LABELS)
    found = losses.domain_pairs(_FACES, _LABELS, memories=[empty, memory])
    np.testing.assert_allclose(found[0].negative, plain[0].negative, rtol=1e-6)
    assert (found[1].negative > plain[1].negative + 0.01).any()
    past = [losses.push_pairs(losses.empty_similarity_queue(9), plain[0])] * 2
    loss, _ = losses.preset_distillation_loss(_FACES, _LABELS)
    changed, _ = losses.preset_distillation_loss(_FACES, _LABELS, past=past)
    assert abs(changed - loss) > 1e-4


def _everything(axis_name, preset):
    def loss(faces, labels):
        return losses.preset_distillation_loss(
            faces, labels, preset=preset, key=_KEY, axis_name=axis_name
        )

    def everything(faces, labels):
        found, gradient = jax.value_and_grad(loss, has_aux=True)(faces, labels)
        return found, gradient if axis_name is None else _of_global_batch(gradient)

    return everything


@pytest.mark.parametrize(
    ("mapping", "times"),
    [
        ("shard_map", False),
        ("pmap", True),
        pytest.param("shard_map", True, marks=pytest.mark.long),
        pytest.param("pmap", False, marks=pytest.mark.long),
    ],
)
def test_tface_on_many_devices(mapping: str, times: bool):
    preset = losses.distillation_preset("tface")._replace(gradient_times_devices=times)
    found, gradient = jax.jit(_everything(None, preset))(_FACES, _LABELS)
    mapped = _on_devices(_everything("data", preset), 8, mapping)(_FACES, _LABELS)
    _assert_replicated(mapped[0], found)
    _assert_rows(mapped[1], (8.0 if times else 1.0) * gradient)
    assert np.abs(gradient).max() > 0.01


def test_the_released_code_has_its_gradient_times_the_devices():
    assert losses.distillation_preset("tface").gradient_times_devices
    assert not losses.distillation_preset("paper").gradient_times_devices


@pytest.mark.parametrize("mining", [pytest.param("semi_hard", marks=pytest.mark.long), "random"])
def test_other_options_on_many_devices(mining: str):
    preset = losses.distillation_preset("paper")._replace(
        mining=mining, count=2, log_space=True, correct_bias=True
    )
    found, gradient = jax.jit(_everything(None, preset))(_FACES, _LABELS)
    mapped = _on_devices(_everything("data", preset), 8, "shard_map")(_FACES, _LABELS)
    _assert_replicated(mapped[0], found)
    _assert_rows(mapped[1], gradient)


def test_half_precision_is_widened_before_anything_else():
    half = jnp.asarray(_FACES, jnp.bfloat16)
    value_and_gradient = jax.value_and_grad(
        lambda x: losses.preset_distillation_loss(x, _LABELS)[0]
    )
    value, gradient = value_and_gradient(half)
    expected, expected_gradient = value_and_gradient(half.astype(jnp.float32))
    assert (value.dtype, gradient.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(gradient, expected_gradient.astype(jnp.bfloat16))


@pytest.mark.parametrize("preset", ["paper", "tface"])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_poor_batch_is_finite(preset: str, rows: int):
    faces = _FACES[:rows].copy()
    faces[:, 2::3] = -faces[:, 1::3]  # no positive counts
    value_and_gradient = jax.value_and_grad(
        lambda x: losses.preset_distillation_loss(x, np.zeros((rows, 6), int), preset=preset)[0]
    )
    value, gradient = jax.jit(value_and_gradient)(faces)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.distillation_preset("ours"),
            "preset is 'ours'; choose one of paper, tface",
        ),
        (
            lambda: losses.preset_distillation_loss(_FACES, preset="ours"),
            "preset is 'ours'; choose one of paper, tface",
        ),
        (
            lambda: losses.domain_pairs(_FACES[:, :5]),
            "embeddings has 5 images a row; give three for each domain",
        ),
        (
            lambda: losses.domain_pairs(
                _FACES, _LABELS, memories=[losses.empty_embedding_queue(2, _D)]
            ),
            "memories has 1 queues; give 2, one a domain",
        ),
        (
            lambda: losses.domain_pairs(
                _FACES,
                _LABELS,
                preset=losses.DistillationPreset(mask_labels=False),
                memories=[losses.empty_embedding_queue(2, _D)] * 2,
            ),
            "mask_labels is False in the preset; memories hold rows of the same identities, so "
            "set it to True",
        ),
        (
            lambda: losses.preset_distillation_loss(_FACES[:, :3]),
            "distribution_distillation_loss got no student; give at least one",
        ),
        (
            lambda: losses.domain_pairs(
                _FACES, preset=losses.distillation_preset("paper")._replace(nodes=1)
            ),
            "nodes is 1; expected a whole number from 2",
        ),
        (
            lambda: losses.domain_pairs(
                _FACES, preset=losses.distillation_preset("paper")._replace(lowest_node=1.0)
            ),
            "lowest_node is 1.0; expected less than highest_node, 1.0",
        ),
    ],
)
def test_what_does_not_go_is_told_in_one_line(call, message: str):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("faces", "labels", "message"),
    [
        (_FACES[0], None, "embeddings has shape (6, 6); expected [b, images, D]"),
        (_FACES, _LABELS[:, :3], "labels has shape (16, 3); expected [b=16, images=6]"),
        (_FACES, _LABELS.astype(np.float32), "labels is of type float32; expected integers"),
    ],
    ids=["rank", "label count", "label type"],
)
def test_what_does_not_fit_is_told_in_one_line(faces, labels, message: str):
    with pytest.raises(AssertionError) as error:
        losses.domain_pairs(faces, labels)
    assert str(error.value) == message
