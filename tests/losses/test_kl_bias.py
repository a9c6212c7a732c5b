"""The estimate of the small-sample bias of KL, against its own definition and against draws."""

import jax
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


@pytest.mark.parametrize(
    ("first", "second", "documented"),
    [
        (0.5, 0.5, {16: 0.077, 32: 0.039, 64: 0.019, 256: 0.005}),
        (0.6, 0.4, {16: 0.999, 32: 0.909, 64: 0.863, 256: 0.825}),
    ],
    ids=["equal", "apart"],
)
def test_kl_of_small_sets_has_the_documented_mean(first, second, documented: dict[int, float]):
    means = np.array([first, second], np.float32)[:, None, None]
    histogram = lambda s: losses.similarity_histogram(s, nodes=_NODES)  # noqa: E731
    kl = jax.jit(jax.vmap(lambda p, q: losses.kl_divergence(histogram(p), histogram(q))))
    for count, mean in documented.items():
        draws = np.random.default_rng(count).normal(0.0, 0.12, (2, 500, count)) + means
        found = np.asarray(kl(*draws.astype(np.float32)))
        # The table's own rounding, and four standard errors of 500 draws and of the table's 2,000.
        error = found.std() * (1 / 500 + 1 / 2000) ** 0.5
        np.testing.assert_allclose(found.mean(), mean, atol=0.0005 + 4 * error, err_msg=str(count))


def test_the_true_divergence_of_the_table():
    """Of densities, not samples: a Gaussian bump adds its variance of 1 / (2 gamma)."""
    p, q = (np.exp(-((_NODES - m) ** 2) / (2 * (0.12**2 + 0.01))) for m in (0.6, 0.4))
    found = losses.kl_divergence(p / p.sum(), q / q.sum())
    np.testing.assert_allclose(found, 0.808, atol=0.0005)


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
