"""Feature regression and soft targets, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_RNG = np.random.default_rng(0)
_STUDENT, _TEACHER = _RNG.normal(size=(2, 5, 3))
_LOGITS, _TEACHER_LOGITS = 3.0 * _RNG.normal(size=(2, 5, 4))
_WHERE = np.array([True, True, False, True, False])


def _softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_cross_resolution_loss_is_its_terms(normalize: bool, temperature: float):
    student, teacher = (
        x / np.linalg.norm(x, axis=1, keepdims=True) if normalize else x
        for x in (_STUDENT, _TEACHER)
    )
    p, q = _softmax(_TEACHER_LOGITS / temperature), _softmax(_LOGITS / temperature)
    regression = np.sum((student - teacher) ** 2, axis=1)[_WHERE].mean()
    soft = temperature**2 * np.sum(p * np.log(p / q), axis=1)[_WHERE].mean()
    loss, terms = losses.cross_resolution_loss(
        *(jnp.asarray(x, jnp.float32) for x in (_STUDENT, _TEACHER, _LOGITS, _TEACHER_LOGITS)),
        regression_weight=0.5,
        soft_target_weight=2.0,
        temperature=temperature,
        normalize=normalize,
        where=_WHERE,
    )
    np.testing.assert_allclose(terms["regression"], regression, rtol=1e-5)
    np.testing.assert_allclose(terms["soft_target"], soft, rtol=1e-5)
    np.testing.assert_allclose(loss, 0.5 * regression + 2.0 * soft, rtol=1e-5)


def test_gradient_of_soft_targets_is_the_difference_of_probabilities():
    """Hinton et al., eq. 2: T (q - p), here over the rows."""
    gradient = jax.grad(losses.soft_target_loss)(
        jnp.asarray(_LOGITS, jnp.float32), _TEACHER_LOGITS, temperature=2.0
    )
    want = 2.0 * (_softmax(_LOGITS / 2.0) - _softmax(_TEACHER_LOGITS / 2.0)) / 5
    np.testing.assert_allclose(gradient, want, atol=1e-6)


def test_teacher_is_a_constant_unless_asked():
    def total(teacher, logits, stop):
        return losses.cross_resolution_loss(
            _STUDENT, teacher, _LOGITS, logits, stop_teacher_gradient=stop
        )[0]

    arrays = jnp.asarray(_TEACHER), jnp.asarray(_TEACHER_LOGITS)
    for stop in (True, False):
        for gradient in jax.grad(total, argnums=(0, 1))(*arrays, stop):
            assert gradient.any() != stop


def test_extreme_logits_and_no_rows_are_finite():
    """Certain of opposite classes, at the scale of face logits and far beyond it."""
    for scale in (64.0, 1e6):
        logits = scale * jnp.array([[1.0, -1.0], [0.0, 0.0]])
        value, gradient = jax.value_and_grad(losses.soft_target_loss)(logits, -logits)
        np.testing.assert_allclose(value, scale, rtol=1e-5)
        assert np.isfinite(gradient).all()
    loss = lambda x: losses.feature_regression_loss(x, x + 1, where=np.zeros(5, bool))  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(_STUDENT))
    assert value == 0.0 and not gradient.any()


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="teacher_logits is None; give the logits of both"):
        losses.cross_resolution_loss(jnp.ones((1, 2)), jnp.ones((1, 2)), jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="temperature is -1; expected at least 1e-09"):
        losses.soft_target_loss(jnp.ones((1, 2)), jnp.ones((1, 2)), temperature=-1)
    for name in ("regression_weight", "soft_target_weight"):
        with pytest.raises(ValueError, match=f"{name} is -2; expected at least 0"):
            losses.cross_resolution_loss(jnp.ones((1, 2)), jnp.ones((1, 2)), **{name: -2})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(5, 3), (5, 4)], r"teacher has shape \(5, 4\); expected \[b=5, D=3\]"),
        ([(5,), (5,)], r"student has shape \(5,\); expected \[b, D\]"),
        (
            [(5, 3), (5, 3), (4, 2), (4, 2)],
            r"student_logits has shape \(4, 2\); expected \[b=5, C\]",
        ),
        (
            [(5, 3), (5, 3), (5, 2), (5, 4)],
            r"teacher_logits has shape \(5, 4\); expected \[b=5, C=2\]",
        ),
    ],
)
def test_wrong_shapes_are_named(shapes, message: str):
    with pytest.raises(AssertionError, match=message):
        losses.cross_resolution_loss(*(jnp.ones(shape) for shape in shapes))


def test_wrong_types_are_named():
    whole = jnp.ones((5, 3), int)
    with pytest.raises(AssertionError, match="teacher is of type int.*; expected floating point"):
        losses.feature_regression_loss(jnp.ones((5, 3)), whole)
    with pytest.raises(AssertionError, match="student_logits is of type int.*; expected floating"):
        losses.soft_target_loss(whole, jnp.ones((5, 3)))
    with pytest.raises(AssertionError, match="where is of type int.*; expected bool"):
        losses.soft_target_loss(jnp.ones((5, 3)), jnp.ones((5, 3)), where=np.ones(5, int))
