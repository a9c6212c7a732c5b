"""Margins with a state or an eye on the embeddings' lengths, against reference implementations."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddl_jax import losses

_GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "margins.npz")
_LABELS = _GOLDEN["labels"].astype(np.int32)
_CENTERS = _GOLDEN["kernel"].T
_ROWS = _GOLDEN["embeddings"]
_NORMS = np.linalg.norm(_ROWS, axis=1)
_COSINE = losses.cosine_logits(_ROWS, _CENTERS)


def _cross_entropy(logits: np.ndarray) -> np.ndarray:
    return optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), _LABELS)


def test_three_steps_of_curricularface_are_those_of_the_reference():
    t = 0.0
    for step in range(3):
        logits, new_t = losses.curricularface_logits(_COSINE, _LABELS, t, update_rate=0.1)
        np.testing.assert_allclose(logits, _GOLDEN[f"curricular_step{step}"], rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(new_t, _GOLDEN[f"curricular_t{step}"], rtol=1e-4)
        margin = losses.curricularface_margin(update_rate=0.1)
        loss, aux = losses.margin_softmax_loss(
            _ROWS, _CENTERS, _LABELS, margin=margin, margin_state=t
        )
        np.testing.assert_allclose(loss, _cross_entropy(logits), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(aux.state, new_t, rtol=1e-5)
        t = new_t


def test_two_steps_of_adaface_are_those_of_the_reference():
    state = losses.AdaFaceState()
    for step in range(2):
        logits, new_state = losses.adaface_logits(_COSINE, _LABELS, _NORMS, state)
        np.testing.assert_allclose(logits, _GOLDEN[f"adaface_step{step}"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(new_state.mean, _GOLDEN[f"adaface_mean{step}"], rtol=1e-5)
        np.testing.assert_allclose(new_state.std, _GOLDEN[f"adaface_std{step}"], rtol=1e-5)
        loss, aux = losses.margin_softmax_loss(
            _ROWS, _CENTERS, _LABELS, margin="adaface", margin_state=state
        )
        np.testing.assert_allclose(loss, _cross_entropy(logits), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(aux.state.std, new_state.std, rtol=1e-5)
        state = new_state


def test_magface_is_the_reference():
    rows = _GOLDEN["mag_embeddings"]
    cosine, norms = losses.cosine_logits(rows, _CENTERS), np.linalg.norm(rows, axis=1)
    logits, regularizer = losses.magface_logits(cosine, _LABELS, norms)
    np.testing.assert_allclose(logits, _GOLDEN["magface_logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(jnp.mean(regularizer), _GOLDEN["magface_g"], rtol=1e-5)
    loss, aux = losses.margin_softmax_loss(rows, _CENTERS, _LABELS, margin="magface")
    np.testing.assert_allclose(jnp.mean(loss), _GOLDEN["magface_ce"], rtol=1e-5)
    np.testing.assert_allclose(jnp.mean(aux.regularizer), _GOLDEN["magface_g"], rtol=1e-5)


def test_the_file_holds_lengths_inside_and_beyond_magfaces_interval():
    norms = np.linalg.norm(_GOLDEN["mag_embeddings"], axis=1)
    assert norms.min() < 100 and norms.max() > 110


def test_magfaces_lengths_have_the_gradient_of_the_formula_and_adafaces_none():
    def total(norms, function):
        return jnp.sum(function(norms)[0])

    norms = jnp.full(24, 40.0)
    magface = lambda norms: losses.magface_logits(_COSINE, _LABELS, norms)  # noqa: E731
    adaface = lambda norms: losses.adaface_logits(  # noqa: E731
        _COSINE, _LABELS, norms, losses.AdaFaceState(40.0, 10.0)
    )
    np.testing.assert_array_equal(jax.grad(total)(norms, adaface), np.zeros(24))
    # d s cos(theta + m(a)) / da = -s sin(theta + m(a)) dm/da, dm/da = .35 / 100.
    theta = np.arccos(np.asarray(_COSINE, np.float64)[np.arange(24), _LABELS])
    moved = theta + 0.45 + 0.35 * (40.0 - 10.0) / 100.0
    below_pi = moved < np.pi
    expected = -64.0 * np.sin(moved) * 0.35 / 100.0
    found = jax.grad(total)(norms, magface)
    np.testing.assert_allclose(found[below_pi], expected[below_pi], rtol=1e-4)


@pytest.mark.parametrize(("quality", "kind"), [(-3.0, "arcface"), (0.0, "cosface")])
def test_adaface_of_low_and_of_mean_quality_is_arcface_and_cosface(quality: float, kind: str):
    # A rate of 0 keeps the state: a length 3 deviations below the mean has z-hat -1.
    norms, state = jnp.full(24, 20.0 + 2.0 * quality), losses.AdaFaceState(20.0, 2.0)
    logits, _ = losses.adaface_logits(
        _COSINE, _LABELS, norms, state, margin=0.3, h=0.35, update_rate=0.0
    )
    expected = losses.named_margin(kind, margin=0.3)
    expected, _ = losses.margin_logits(_COSINE, _LABELS, expected)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=2e-3)


def test_rows_without_class_do_not_move_the_states():
    labels = _LABELS.copy()
    labels[5:] = -1
    first = slice(None, 5)
    _, t = losses.curricularface_logits(_COSINE, labels, 0.2)
    _, expected = losses.curricularface_logits(_COSINE[first], labels[first], 0.2)
    np.testing.assert_allclose(t, expected, rtol=1e-5)
    _, state = losses.adaface_logits(_COSINE, labels, _NORMS, losses.AdaFaceState())
    _, expected = losses.adaface_logits(
        _COSINE[first], labels[first], _NORMS[first], losses.AdaFaceState()
    )
    np.testing.assert_allclose(state, expected, rtol=1e-5)
    nobody = np.full_like(labels, -1)
    assert losses.curricularface_logits(_COSINE, nobody, 0.2)[1] == np.float32(0.2)
    state = losses.adaface_logits(_COSINE, nobody, _NORMS, losses.AdaFaceState())[1]
    assert state == losses.AdaFaceState(20.0, 100.0)


def test_one_row_moves_adafaces_mean_and_leaves_its_deviation():
    state = losses.adaface_logits(
        _COSINE[:1], _LABELS[:1], jnp.array([30.0]), losses.AdaFaceState(), update_rate=0.5
    )[1]
    np.testing.assert_allclose(state, [25.0, 100.0])


@pytest.mark.parametrize("name", ["adaface", "magface"])
def test_lengths_that_are_missing_are_told_in_one_line(name: str):
    with pytest.raises(ValueError, match=f"{name} got no norms; give the lengths"):
        losses.margin_logits(_COSINE, _LABELS, losses.named_margin(name))
