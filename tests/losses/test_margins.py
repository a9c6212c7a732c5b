"""Margins against the reference implementations, angles worked out by hand, and each other."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddl_jax import losses

_GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "margins.npz")
_COSINE, _LABELS = _GOLDEN["cosine"], _GOLDEN["labels"].astype(np.int32)
_RNG = np.random.default_rng(0)


# Reference, its name in the file, and the margin; the cross-entropy's name where it differs.
_REFERENCES = {
    "insightface arcface": ("arcface_m0.5_s64", losses.arcface_margin(beyond_pi="none")),
    "first-code arcface": ("arcface_monotone_m0.5_s64", losses.arcface_margin()),
    "insightface cosface": ("cosface_m0.4_s64", losses.cosface_margin()),
    "combined (1, m, 0)": ("arcface_m0.5_s64", losses.combined_margin()),
    "combined (1, 0, m)": ("cosface_m0.4_s64", losses.combined_margin(m2=0.0, m3=0.4)),
    "insightface filtering": (
        "arcface_filter0.2",
        losses.filtered_margin(losses.arcface_margin(beyond_pi="none"), threshold=0.2),
    ),
}
_by_reference = pytest.mark.parametrize(
    ("key", "margin"), _REFERENCES.values(), ids=list(_REFERENCES)
)


def _golden_cross_entropy(key: str) -> np.ndarray:
    return _GOLDEN["arcface_monotone_ce" if "monotone" in key else f"{key}_ce"]


@_by_reference
def test_logits_are_those_of_the_reference(key: str, margin: losses.Margin):
    logits, _ = losses.margin_logits(_COSINE, _LABELS, margin)
    np.testing.assert_allclose(logits, _GOLDEN[key], rtol=1e-5, atol=2e-5)


@_by_reference
def test_cross_entropy_is_that_of_the_reference(key: str, margin: losses.Margin):
    logits, _ = losses.margin_logits(_COSINE, _LABELS, margin)
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, _LABELS)
    np.testing.assert_allclose(jnp.mean(entropy), _golden_cross_entropy(key), rtol=1e-5)


def _loss_from_angles(angles: jax.Array, margin: losses.Margin) -> jax.Array:
    """Mean `margin_softmax_loss` of rows that see each class at an angle `[B, C]` of its own."""

    def row(angles, label):
        centers = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        loss, _ = losses.margin_softmax_loss(
            jnp.array([[1.0, 0.0]]), centers, label[None], margin=margin
        )
        return loss[0]

    return jnp.mean(jax.vmap(row)(angles, jnp.asarray(_LABELS)))


@_by_reference
def test_margin_softmax_loss_is_that_of_the_reference(key: str, margin: losses.Margin):
    angles = np.arccos(_COSINE.astype(np.float64)).astype(np.float32)
    loss = jax.jit(functools.partial(_loss_from_angles, margin=margin))(angles)
    np.testing.assert_allclose(loss, _golden_cross_entropy(key), rtol=1e-5)


def test_gradients_are_those_of_the_reference():
    expected = _GOLDEN["arcface_monotone_ce_grad"]

    def from_cosine(cosine):
        logits = losses.arcface_logits(cosine, _LABELS)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, _LABELS))

    with jax.enable_x64(True):
        cosine = jnp.asarray(_COSINE, jnp.float64)
        gradient = jax.jit(jax.grad(from_cosine))(cosine)
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)
        # d loss / d angle = -sin(angle) d loss / d cosine.
        angles = jnp.arccos(cosine)
        from_angles = functools.partial(_loss_from_angles, margin=losses.arcface_margin())
        gradient = jax.jit(jax.grad(from_angles))(angles)
        np.testing.assert_allclose(gradient, -np.sin(angles) * expected, rtol=1e-7, atol=1e-12)


def test_straight_through_has_the_value_of_exact_and_a_target_gradient_of_scale():
    def target_logit(cosine, gradient):
        logits = losses.arcface_logits(cosine, _LABELS, scale=30.0, gradient=gradient)
        return jnp.sum(logits[np.arange(len(_LABELS)), _LABELS]), logits

    (_, exact), exact_gradient = jax.value_and_grad(target_logit, has_aux=True)(_COSINE, "exact")
    (_, value), gradient = jax.value_and_grad(target_logit, has_aux=True)(
        _COSINE, "straight_through"
    )
    np.testing.assert_allclose(value, exact, rtol=1e-6, atol=1e-5)
    is_target = _LABELS[:, None] == np.arange(_COSINE.shape[1])
    np.testing.assert_array_equal(gradient, np.where(is_target, 30.0, 0.0))
    # d cos(theta + m) / d cos(theta) = sin(theta + m) / sin(theta), below pi - m.
    theta = np.arccos(_COSINE[is_target].astype(np.float64))
    exact = np.asarray(exact_gradient)[is_target][theta < math.pi - 0.5]
    theta = theta[theta < math.pi - 0.5]
    np.testing.assert_allclose(exact, 30.0 * np.sin(theta + 0.5) / np.sin(theta), rtol=1e-5)


def _degrees(*angles: float) -> jax.Array:
    return jnp.cos(jnp.radians(jnp.array([angles])))


@pytest.mark.parametrize(
    ("function", "options", "degrees", "expected"),
    [
        # 60 + 30 degrees: a right angle.
        (losses.arcface_logits, dict(margin=math.pi / 6), 60.0, 0.0),
        (losses.arcface_logits, dict(margin=math.pi / 3), 30.0, 0.0),
        (losses.arcface_logits, dict(margin=math.pi / 3), 60.0, -0.5),
        # 170 + 30 degrees is past 180: either cos(200 degrees) or the straight continuation.
        (losses.arcface_logits, dict(margin=math.pi / 6, beyond_pi="none"), 170.0, -0.9396926),
        (losses.arcface_logits, dict(margin=math.pi / 6), 170.0, -0.9848078 - math.pi / 12),
        (losses.cosface_logits, dict(margin=0.3), 60.0, 0.2),
        (losses.combined_margin_logits, dict(m1=2.0, m2=0.0, m3=0.0), 60.0, -0.5),
        (losses.combined_margin_logits, dict(m1=0.5, m2=math.pi / 6, m3=0.25), 60.0, 0.25),
        # Past 180 degrees the combined formula stands as it is: cos(240 degrees).
        (losses.combined_margin_logits, dict(m1=2.0, m2=0.0, m3=0.0), 120.0, -0.5),
        # A margin below 90 degrees only.
        (losses.arcface_logits, dict(margin=math.pi / 6, beyond_pi="easy"), 60.0, 0.0),
        (losses.arcface_logits, dict(margin=math.pi / 6, beyond_pi="easy"), 120.0, -0.5),
        # Two times 60 degrees; two times 120: once past 180, -cos(240 degrees) - 2.
        (losses.sphereface_logits, dict(margin=2.0), 60.0, -0.5),
        (losses.sphereface_logits, dict(margin=2.0), 120.0, -1.5),
        (losses.sphereface_logits, dict(margin=2.0, annealing=3.0), 120.0, -0.75),
    ],
)
def test_targets_worked_out_from_angles(function, options, degrees, expected):
    logits = function(_degrees(degrees, 45.0), jnp.array([0]), scale=2.0, **options)
    np.testing.assert_allclose(logits[0], [2.0 * expected, math.sqrt(2.0)], atol=2e-6)


def test_defaults_are_those_of_the_papers_and_references():
    cosine, labels = _degrees(60.0, 90.0), jnp.array([0])
    arcface = losses.arcface_logits(cosine, labels)[0, 0]
    np.testing.assert_allclose(arcface, 64 * math.cos(math.pi / 3 + 0.5), rtol=1e-5)
    np.testing.assert_allclose(losses.cosface_logits(cosine, labels)[0, 0], 64 * 0.1, rtol=1e-5)
    np.testing.assert_allclose(
        losses.combined_margin_logits(cosine, labels)[0, 0], arcface, rtol=1e-5
    )


@pytest.mark.parametrize(
    "logits",
    [
        losses.arcface_logits(_COSINE, _LABELS, margin=0.0),
        losses.arcface_logits(_COSINE, _LABELS, margin=0.0, beyond_pi="none"),
        losses.cosface_logits(_COSINE, _LABELS, margin=0.0),
        losses.combined_margin_logits(_COSINE, _LABELS, m2=0.0),
        losses.normface_logits(_COSINE, _LABELS),
        losses.sphereface_logits(_COSINE, _LABELS, margin=1.0),
    ],
    ids=["arcface", "arcface none", "cosface", "combined", "normface", "sphereface"],
)
def test_without_a_margin_logits_are_scaled_cosines(logits):
    np.testing.assert_allclose(logits, 64.0 * _COSINE, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.5])
def test_monotone_arcface_falls_with_the_angle_and_none_rises_again(margin: float):
    cosine = jnp.cos(jnp.linspace(0.01, 3.13, 500))[:, None]
    labels = jnp.zeros(500, jnp.int32)
    monotone = losses.arcface_logits(cosine, labels, margin=margin)[:, 0]
    assert (np.diff(monotone) < 0).all()
    rising = np.diff(losses.arcface_logits(cosine, labels, margin=margin, beyond_pi="none")[:, 0])
    assert (rising[-3:] > 0).all()


@pytest.mark.parametrize("label", [-1, 2, 2**31 - 1])
@pytest.mark.parametrize(
    "function", [losses.arcface_logits, losses.cosface_logits, losses.combined_margin_logits]
)
def test_a_label_without_class_gets_no_margin(function, label: int):
    cosine = jnp.array([[0.5, -0.25]])
    np.testing.assert_array_equal(function(cosine, jnp.array([label])), 64.0 * cosine)


def test_named_margins_take_their_own_options():
    cosine, labels = jnp.asarray(_COSINE), jnp.asarray(_LABELS)
    named = losses.named_margin("combined", m1=1.2, m3=0.1, scale=8.0)
    np.testing.assert_array_equal(
        losses.margin_logits(cosine, labels, named)[0],
        losses.combined_margin_logits(cosine, labels, m1=1.2, m3=0.1, scale=8.0),
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: losses.named_margin("arc"),
            f"margin is 'arc'; choose one of {', '.join(losses.MARGIN_NAMES)}",
        ),
        (
            lambda: losses.arcface_logits(_COSINE, _LABELS, beyond_pi="clip"),
            "beyond_pi is 'clip'; choose one of monotone, easy, none",
        ),
        (
            lambda: losses.arcface_logits(_COSINE, _LABELS, gradient="no"),
            "gradient is 'no'; choose one of exact, straight_through",
        ),
    ],
)
def test_unknown_names_are_told_in_one_line(build, message: str):
    with pytest.raises(ValueError) as error:
        build()
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("cosine", "labels"),
    [
        (np.zeros(3, np.float32), np.zeros(3, int)),
        (np.zeros((3, 2), np.float32), np.zeros((3, 1), int)),
        (np.zeros((3, 2), np.float32), np.zeros(2, int)),
        (np.zeros((3, 2), np.float32), np.zeros(3, np.float32)),
    ],
    ids=["cosine rank", "label rank", "rows", "label type"],
)
def test_what_does_not_fit_is_refused(cosine, labels):
    with pytest.raises(AssertionError):
        losses.arcface_logits(cosine, labels)


@pytest.mark.parametrize("margin", [1.0, 2.0, 3.5, 4.0])
def test_sphereface_falls_without_a_jump_from_1_to_1_minus_2m(margin: float):
    cosine = jnp.cos(jnp.linspace(0.0, math.pi, 2001))[:, None]
    labels = jnp.zeros(2001, jnp.int32)
    target = losses.sphereface_logits(cosine, labels, margin=margin, scale=1.0)[:, 0]
    assert (np.diff(target) < 1e-6).all() and (np.diff(target) > -0.02).all()
    np.testing.assert_allclose(target[0], 1.0, atol=1e-6)
    if margin == int(margin):
        np.testing.assert_allclose(target[-1], 1.0 - 2.0 * margin, atol=1e-3)


def _margins_of_elasticface(cosine, key, **options) -> np.ndarray:
    """What was drawn, read back from logits at scale 1."""
    rows, kind = len(cosine), options["kind"]
    logits = losses.elasticface_logits(
        cosine[:, None], jnp.zeros(rows, int), key, scale=1.0, **options
    )
    if kind == "cosface":
        return np.asarray(cosine - logits[:, 0])
    return np.arccos(np.asarray(logits[:, 0], np.float64)) - np.arccos(np.asarray(cosine))


@pytest.mark.parametrize(("kind", "mean"), [("arcface", 0.5), ("cosface", 0.35)])
def test_elasticface_draws_a_margin_for_every_row(kind: str, mean: float):
    cosine = jnp.linspace(-0.2, 0.6, 4000)
    drawn = _margins_of_elasticface(cosine, jax.random.key(0), kind=kind, deviation=0.02)
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [mean, 0.02], rtol=0.03)
    again = _margins_of_elasticface(cosine, jax.random.key(0), kind=kind, deviation=0.02)
    other = _margins_of_elasticface(cosine, jax.random.key(1), kind=kind, deviation=0.02)
    np.testing.assert_array_equal(drawn, again)
    assert np.abs(np.corrcoef(drawn, other)[0, 1]) < 0.1


def test_ranked_elasticface_gives_the_farthest_row_the_largest_margin():
    cosine = jnp.asarray(_RNG.uniform(-0.2, 0.6, 50), jnp.float32)
    options = dict(kind="cosface", deviation=0.05)
    drawn = _margins_of_elasticface(cosine, jax.random.key(0), **options)
    ranked = _margins_of_elasticface(cosine, jax.random.key(0), assignment="ranked", **options)
    np.testing.assert_allclose(np.sort(ranked), np.sort(drawn), atol=1e-6)
    assert (np.diff(ranked[np.argsort(cosine)]) < 1e-6).all()


def test_released_elasticface_takes_the_order_for_the_ranks():
    """Transcribed: sorted margins, indexed by the rows in the order of falling cosine."""
    cosine = jnp.array([0.1, 0.5, 0.3, -0.2])
    options = dict(kind="cosface", deviation=0.05)
    drawn = np.sort(_margins_of_elasticface(cosine, jax.random.key(0), **options))
    found = _margins_of_elasticface(cosine, jax.random.key(0), assignment="released", **options)
    np.testing.assert_allclose(found, drawn[[1, 2, 0, 3]], atol=1e-6)


@pytest.mark.parametrize("name", ["lower_norm", "upper_norm", "lower_margin", "upper_margin"])
def test_a_traced_number_is_not_looked_at(name: str):
    value = {"lower_norm": 9.0, "upper_norm": 99.0, "lower_margin": 0.4, "upper_margin": 0.7}[name]
    norms = np.linspace(5.0, 120.0, len(_LABELS), dtype=np.float32)
    call = lambda x: losses.magface_logits(_COSINE, _LABELS, norms, **{name: x})[0]  # noqa: E731
    np.testing.assert_allclose(jax.jit(call)(value), call(value), rtol=1e-5)


def test_elasticface_without_a_key_says_so():
    with pytest.raises(ValueError, match="elasticface got no key"):
        losses.margin_softmax_loss(_COSINE, _COSINE, _LABELS, margin="elasticface")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: losses.arcface_margin(margin=4.0), "margin is 4.0; expected from 0 to 3.14159"),
        (lambda: losses.cosface_margin(margin=-0.1), "margin is -0.1; expected from 0 to 2, in"),
        (lambda: losses.combined_margin(m3=2.5), "m3 is 2.5; expected from -2 to 2, in"),
        (lambda: losses.normface_margin(scale=-1.0), "scale is -1.0; expected at least 1e-09"),
        (lambda: losses.cosface_margin(scale=np.inf), "scale is inf; expected at least 1e-09"),
        (lambda: losses.sphereface_margin(margin=0.5), "margin is 0.5; expected at least 1"),
        (lambda: losses.magface_margin(lower_margin=0.9), "upper_margin is 0.8; expected from 0.9"),
        (
            lambda: losses.magface_margin(upper_norm=5),
            "upper_norm is 5; expected at least 10, above",
        ),
        (lambda: losses.curricularface_margin(update_rate=1.5), "update_rate is 1.5; expected"),
        (lambda: losses.adaface_margin(h=-1.0), "h is -1.0; expected at least 0"),
        (lambda: losses.elasticface_margin(deviation=-1.0), "deviation is -1.0; expected at"),
    ],
)
def test_numbers_out_of_range_are_told_in_one_line(build, message: str):
    with pytest.raises(ValueError) as error:
        build()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
