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


def _histogram(similarities: np.ndarray) -> np.ndarray:
    heights = np.exp(-50.0 * (similarities.astype(float)[:, None] - _NODES) ** 2).sum(axis=0)
    return heights / heights.sum()


def _without_each(similarities: np.ndarray) -> np.ndarray:
    return np.stack([_histogram(np.delete(similarities, i)) for i in range(similarities.size)])


def test_it_is_the_series_of_the_docstring():
    # All bumps lie within the nodes, so that each has the same share of the whole.
    p, q = np.array([0.1, 0.35, 0.2, 0.3]), np.array([0.0, 0.25, 0.4, -0.2, 0.2])
    u, v = (1.0 - _without_each(s) / _histogram(s) for s in (p, q))
    by_teacher = 3 / 4 * np.sum(u**2 / 2 + u**3 / 6 + u**4 / 12, axis=0)
    by_student = 4 / 5 * np.sum(v**2 / 2 + v**3 / 3 + v**4 / 4, axis=0)
    expected = np.sum(_histogram(p) * (by_teacher + by_student))
    found = _bias(p.astype(np.float32), q.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_it_is_nearly_the_jackknife_where_no_similarity_is_alone():
    """Both samples' leave-one-out estimates of the bias: what the series is cut from."""
    p, q = _histogram(_P), _histogram(_Q)
    kl = lambda p, q: np.sum(p * np.log(p / q), axis=-1)  # noqa: E731
    by_teacher = (_P.size - 1) * (kl(_without_each(_P), q).mean() - kl(p, q))
    by_student = (_Q.size - 1) * (kl(p, _without_each(_Q)).mean() - kl(p, q))
    np.testing.assert_allclose(_bias(_P, _Q), by_teacher + by_student, rtol=0.15)


# (KL, corrected) of the docstring's table: mean and standard deviation.
_EQUAL = {
    16: ((0.077, 0.071), (0.005, 0.069)),
    32: ((0.039, 0.033), (0.001, 0.032)),
    64: ((0.019, 0.017), (0.000, 0.016)),
    256: ((0.005, 0.004), (0.000, 0.004)),
}
_APART = {
    16: ((0.999, 0.461), (0.859, 0.451)),
    32: ((0.909, 0.304), (0.827, 0.298)),
    64: ((0.863, 0.206), (0.818, 0.203)),
    256: ((0.825, 0.098), (0.812, 0.097)),
}
_DRAWS = 1000


@jax.jit
def _kl_and_bias(pairs: np.ndarray) -> tuple[jax.Array, jax.Array]:
    def both(pair):
        p, q = (losses.similarity_histogram(s, nodes=_NODES) for s in pair)
        return losses.kl_divergence(p, q), _bias(*pair)

    return jax.lax.map(both, pairs, batch_size=20)


@pytest.mark.parametrize("count", [16, 32, 64, 256])
@pytest.mark.parametrize(
    ("means", "documented"), [((0.5, 0.5), _EQUAL), ((0.6, 0.4), _APART)], ids=["equal", "apart"]
)
def test_the_table_of_the_docstring(means, documented, count: int):
    draws = np.random.default_rng(count).normal(0.0, 0.12, (_DRAWS, 2, count))
    kl, bias = _kl_and_bias((draws + np.array(means)[:, None]).astype(np.float32))
    kl, bias = np.asarray(kl), np.asarray(bias)
    (mean, spread), (corrected, corrected_spread) = documented[count]
    # The table's rounding, and four standard errors of these draws and of the table's 2,000.
    errors = 4 * (1 / _DRAWS + 1 / 2000) ** 0.5
    np.testing.assert_allclose(kl.mean(), mean, atol=0.0005 + errors * spread)
    # Of one draw KL and its bias go together: the mean of the bias is known far better than theirs.
    np.testing.assert_allclose(bias.mean(), mean - corrected, atol=0.001 + errors * bias.std())
    # A spread s is known to about s / sqrt(draws) here: these distributions have long tails.
    np.testing.assert_allclose(kl.std(), spread, atol=0.0005 + errors * spread)
    np.testing.assert_allclose(
        (kl - bias).std(), corrected_spread, atol=0.0005 + errors * corrected_spread
    )
    # Of the same draws: the correction adds no noise, and brings the mean nearer to the truth.
    truth = 0.0 if means[0] == means[1] else 0.808
    assert (kl - bias).std() < kl.std()
    assert abs((kl - bias).mean() - truth) < abs(kl.mean() - truth)


def test_half_the_bias_of_mined_negatives_is_left():
    """Two rows that are each other's hardest negative enter twice: these are not independent."""

    def similarities(key):
        rows = jax.random.normal(key, (2, 16, 32))
        return jnp.stack([losses.hardest_negative_similarities(x)[0] for x in rows])

    pairs = jax.lax.map(jax.jit(similarities), jax.random.split(jax.random.key(0), _DRAWS))
    kl, bias = _kl_and_bias(pairs)
    left = 1.0 - float(bias.mean() / kl.mean())
    assert 0.4 < left < 0.6


def test_the_true_divergence_of_the_table():
    """Of densities, not samples: a Gaussian bump adds its variance of 1 / (2 gamma)."""
    p, q = (np.exp(-((_NODES - m) ** 2) / (2 * (0.12**2 + 0.01))) for m in (0.6, 0.4))
    found = losses.kl_divergence(p / p.sum(), q / q.sum())
    np.testing.assert_allclose(found, 0.808, atol=0.0005)


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


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda: _bias(_P[None], _Q), "teacher has shape (1, 40); expected [n]"),
        (
            lambda: _bias(_P, _Q, student_where=np.ones(3, bool)),
            "student_where has shape (3,); expected [n=30]",
        ),
        (
            lambda: _bias(_P, _Q, teacher_where=np.ones(40, np.int32)),
            "teacher_where is of type int32; expected bool",
        ),
        (
            lambda: losses.kl_bias(_P, _Q, nodes=_NODES[None]),
            "nodes has shape (1, 101); expected [R]",
        ),
    ],
    ids=["rank", "where", "where type", "nodes"],
)
def test_what_does_not_fit_is_told_in_one_line(compute, message: str):
    with pytest.raises(AssertionError) as error:
        compute()
    assert str(error.value) == message
