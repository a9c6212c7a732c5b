"""The estimate of the small-sample bias of KL, against its own definition and against draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_NODES = np.linspace(-1.0, 1.0, 101).astype(np.float32)
_RNG = np.random.default_rng(0)
_P = _RNG.normal(0.5, 0.12, 40).astype(np.float32)
_Q = _RNG.normal(0.4, 0.12, 30).astype(np.float32)


def _bias(p, q, **where) -> jax.Array:
    return losses.kl_bias(p, q, nodes=_NODES, **where)


def _jackknife() -> float:
    """Both samples' leave-one-out estimates of the bias, in float64, the uncut series."""

    def histogram(similarities):
        heights = np.exp(-50.0 * (similarities.astype(float)[:, None] - _NODES) ** 2).sum(axis=0)
        return heights / heights.sum()

    def kl(p, q):
        p, q = histogram(p), histogram(q)
        return np.sum(p * np.log(p / q))

    without_p = [kl(np.delete(_P, i), _Q) for i in range(_P.size)]
    without_q = [kl(_P, np.delete(_Q, j)) for j in range(_Q.size)]
    whole = kl(_P, _Q)
    return (_P.size - 1) * (np.mean(without_p) - whole) + (_Q.size - 1) * (
        np.mean(without_q) - whole
    )


def test_it_is_nearly_the_jackknife_where_no_similarity_is_alone():
    np.testing.assert_allclose(_bias(_P, _Q), _jackknife(), rtol=0.15)


def _corrected(mean: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """KL of 1000 draws of N(.5, .12) from N(mean, .12), and KL corrected."""
    draws = np.random.default_rng(count).normal(0.0, 0.12, (2, 1000, count)).astype(np.float32)

    def both(pair):
        p, q = (losses.similarity_histogram(s, nodes=_NODES) for s in pair)
        kl = losses.kl_divergence(p, q)
        return kl, kl - _bias(*pair)

    pairs = draws[0] + np.float32(0.5), draws[1] + np.float32(mean)
    plain, corrected = jax.jit(lambda x: jax.lax.map(both, x, batch_size=20))(pairs)
    return np.asarray(plain), np.asarray(corrected)


@pytest.mark.parametrize(("count", "documented"), [(16, 0.005), (32, 0.001), (64, 0.0)])
def test_equal_distributions_have_the_documented_mean(count: int, documented: float):
    plain, corrected = _corrected(0.5, count)
    error_of_mean = corrected.std() / 1000**0.5
    np.testing.assert_allclose(corrected.mean(), documented, atol=3 * error_of_mean)
    assert plain.mean() > 10 * error_of_mean
    # The correction does not make the estimate noisier.
    assert corrected.std() < plain.std()


def test_distributions_apart_come_nearer_to_the_true_divergence():
    plain, corrected = _corrected(0.3, 32)
    np.testing.assert_allclose(corrected.mean(), 0.827, atol=0.04)
    assert abs(corrected.mean() - 0.808) < 0.5 * abs(plain.mean() - 0.808)


def test_a_rare_second_mode_does_not_break_it():
    # One similarity alone makes the bins where the teacher is.
    alone = _bias(np.full(16, 0.8, np.float32), np.append(np.full(15, 0.1), 0.8).astype(np.float32))
    assert 0.0 <= alone < 1.2


def test_where_equals_slicing():
    p_where, q_where = _P > 0.4, _Q < 0.5
    assert 2 < p_where.sum() < 39 and 2 < q_where.sum() < 29
    # What does not count may lie anywhere.
    q = np.where(q_where, _Q, 1e4).astype(np.float32)
    found = _bias(_P, q, teacher_where=p_where, student_where=q_where)
    np.testing.assert_allclose(found, _bias(_P[p_where], _Q[q_where]), rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_have_no_bias(count: int):
    where = np.arange(3) < count
    value, gradient = jax.value_and_grad(lambda s: _bias(s, s, teacher_where=where))(_P[:3])
    both = _bias(_P[:3], _P[:3], teacher_where=where, student_where=where)
    np.testing.assert_allclose(both, 0.0, atol=1e-6)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(AssertionError):
        _bias(_P[None], _Q)
    with pytest.raises(AssertionError):
        _bias(_P, _Q, student_where=np.ones(3, bool))
    with pytest.raises(AssertionError):
        losses.kl_bias(_P, _Q, nodes=jnp.asarray(_NODES)[None])
