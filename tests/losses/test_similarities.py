"""Unit vectors, cosines, and the mining of positive and hardest negative similarities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_RNG = np.random.default_rng(0)
_X = _RNG.normal(size=(6, 5)).astype(np.float32)
_Y = _RNG.normal(size=(6, 5)).astype(np.float32)
_IDENTITIES = np.array([0, 1, 0, 2, 1, 3])


def _cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x.astype(np.float64), y.astype(np.float64)
    return (x @ y.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)[None, :]


def _circle(*degrees: float) -> jax.Array:
    angles = jnp.radians(jnp.array(degrees))
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)


def _cos(*degrees: float) -> np.ndarray:
    return np.cos(np.radians(degrees))


def test_unit_vectors_have_length_1_and_keep_the_direction():
    unit = losses.unit_vectors(_X)
    np.testing.assert_allclose(jnp.sum(unit**2, axis=1), np.ones(6), rtol=1e-6)
    np.testing.assert_allclose(np.diag(_cosines(np.asarray(unit), _X)), np.ones(6), rtol=1e-6)


@pytest.mark.parametrize("norm", [1e-11, 1e-6, 1e6, 1e15, 1e30])
def test_unit_vectors_do_not_depend_on_the_norm(norm: float):
    unit, expected = losses.unit_vectors(np.float32(norm) * _X), losses.unit_vectors(_X)
    np.testing.assert_allclose(unit, expected, rtol=1e-6)


def test_a_vector_shorter_than_1e_12_has_no_direction():
    short = jnp.array([[0.9e-12, 0.0], [0.0, -1.1e-12]])
    np.testing.assert_array_equal(losses.unit_vectors(short), [[0.0, 0.0], [0.0, -1.0]])
    gradient = jax.grad(lambda x: jnp.sum(losses.unit_vectors(x)))(short)
    np.testing.assert_array_equal(gradient[0], [0.0, 0.0])


def test_cosine_logits_are_the_cosines_of_the_angles():
    cosine = losses.cosine_logits(2.0 * _circle(0.0, 90.0), 3.0 * _circle(60.0, 0.0, 180.0))
    np.testing.assert_allclose(cosine, [_cos(60, 0, 180), _cos(30, 90, 90)], atol=1e-6)
    np.testing.assert_allclose(losses.cosine_logits(_X, _Y), _cosines(_X, _Y), rtol=1e-5)


def test_positive_similarities_are_the_cosines_of_the_rows():
    found = losses.positive_similarities(_circle(0.0, 10.0), 5.0 * _circle(60.0, 190.0))
    np.testing.assert_allclose(found, _cos(60, 180), atol=1e-6)
    np.testing.assert_allclose(
        losses.positive_similarities(_X, _Y), np.diag(_cosines(_X, _Y)), rtol=1e-5
    )


def test_the_hardest_negative_is_the_nearest_other_row():
    similarity, where = losses.hardest_negative_similarities(_circle(0.0, 60.0, 90.0, 200.0))
    np.testing.assert_allclose(similarity, _cos(60, 30, 30, 110), atol=1e-6)
    assert where.all()


def test_rows_of_the_same_identity_are_no_negatives():
    rows, identities = _circle(0.0, 60.0, 90.0, 200.0), jnp.array([7, 8, 8, 7])
    similarity, where = losses.hardest_negative_similarities(rows, identities)
    np.testing.assert_allclose(similarity, _cos(60, 60, 90, 110), atol=1e-6)
    assert where.all()


def test_negative_maxima_stay_negative_unless_mined_as_tface_does():
    rows = _circle(0.0, 120.0, 240.0)
    similarity, _ = losses.hardest_negative_similarities(rows)
    np.testing.assert_allclose(similarity, _cos(120, 120, 120), atol=1e-6)
    similarity, where = losses.hardest_negative_similarities(rows, mining="tface")
    np.testing.assert_array_equal(similarity, [0.0, 0.0, 0.0])
    assert where.all()


def test_tface_mining_is_the_row_maximum_of_the_strict_upper_triangle():
    expected = np.triu(_cosines(_X, _X), 1).max(axis=1)
    similarity, where = losses.hardest_negative_similarities(_X, mining="tface")
    np.testing.assert_allclose(similarity, expected, rtol=1e-5, atol=1e-6)
    assert similarity[-1] == 0.0 and where.all()
    different = _IDENTITIES[:, None] != _IDENTITIES[None, :]
    expected = np.triu(np.where(different, _cosines(_X, _X), 0.0), 1).max(axis=1)
    similarity, _ = losses.hardest_negative_similarities(_X, _IDENTITIES, mining="tface")
    np.testing.assert_allclose(similarity, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3])
def test_one_identity_has_no_negatives(rows: int):
    identities = np.full(rows, 5)
    similarity, where = losses.hardest_negative_similarities(_X[:rows], identities)
    np.testing.assert_array_equal(similarity, np.zeros(rows))
    assert not where.any()


def test_the_first_of_equal_maxima_has_the_gradient():
    rows = _circle(0.0, 60.0, -60.0)
    total = lambda x: losses.hardest_negative_similarities(x)[0][0]  # noqa: E731
    gradient = jax.grad(total)(rows)
    # The pull of each of the two on the other is sin 60.
    lengths = jnp.linalg.norm(gradient, axis=1)
    np.testing.assert_allclose(lengths, [0.8660254, 0.8660254, 0.0], atol=1e-6)


@pytest.mark.parametrize("mining", ["paper", "tface"])
def test_the_backward_pass_has_no_matrix_product(mining: str):
    total = lambda x: jnp.sum(losses.hardest_negative_similarities(x, mining=mining)[0])  # noqa: E731
    products = lambda f: str(jax.make_jaxpr(f)(_X)).count("dot_general")  # noqa: E731
    assert products(total) == products(jax.grad(total)) == 1


def test_the_order_of_rows_does_not_matter():
    order = np.array([3, 1, 5, 0, 4, 2])
    similarity, _ = losses.hardest_negative_similarities(_X, _IDENTITIES)
    moved, _ = losses.hardest_negative_similarities(_X[order], _IDENTITIES[order])
    np.testing.assert_allclose(moved, similarity[order], rtol=1e-6)


def test_pair_similarities_put_the_parts_together():
    found = losses.pair_similarities(_X, _X, _Y, _IDENTITIES, minimum_positive=0.1)
    negative, negative_where = losses.hardest_negative_similarities(_X, _IDENTITIES)
    positive = losses.positive_similarities(_X, _Y)
    np.testing.assert_array_equal(found.positive, positive)
    np.testing.assert_array_equal(found.positive_where, positive > 0.1)
    np.testing.assert_array_equal(found.negative, negative)
    np.testing.assert_array_equal(found.negative_where, negative_where)
    assert found.positive_where.any() and not found.positive_where.all()


def test_a_positive_at_the_minimum_does_not_count():
    found = losses.pair_similarities(jnp.eye(3), jnp.eye(3), jnp.eye(3), minimum_positive=1.0)
    assert not found.positive_where.any()
    orthogonal = losses.pair_similarities(jnp.eye(3), jnp.eye(3), jnp.roll(jnp.eye(3), 1, axis=0))
    assert not orthogonal.positive_where.any()


def test_unknown_mining_is_told_in_one_line():
    with pytest.raises(ValueError) as error:
        losses.hardest_negative_similarities(_X, mining="easy")
    assert str(error.value) == "mining is 'easy'; choose one of paper, tface"


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (
            lambda: losses.cosine_logits(_X[0], _Y),
            "embeddings has shape (5,); expected [B, D]",
        ),
        (
            lambda: losses.cosine_logits(_X, _Y[:, :4]),
            "class_centers has shape (6, 4); expected [C, D=5]",
        ),
        (
            lambda: losses.positive_similarities(_X, _Y[:5]),
            "second has shape (5, 5); expected [b=6, D=5]",
        ),
        (
            lambda: losses.positive_similarities(_X[0], _Y[0]),
            "first has shape (5,); expected [b, D]",
        ),
        (
            lambda: losses.hardest_negative_similarities(_X[0]),
            "embeddings has shape (5,); expected [b, D]",
        ),
        (
            lambda: losses.hardest_negative_similarities(_X, _IDENTITIES[:5]),
            "labels has shape (5,); expected [b=6]",
        ),
        (
            lambda: losses.hardest_negative_similarities(_X, _IDENTITIES[:, None]),
            "labels has shape (6, 1); expected [b=6]",
        ),
        (
            lambda: losses.pair_similarities(_X, _X, _Y[:, :4]),
            "second has shape (6, 4); expected [b=6, D=5]",
        ),
        (
            lambda: losses.pair_similarities(_X[:5], _X, _Y),
            "first has shape (6, 5); expected [b=5, D=5]",
        ),
    ],
    ids=[
        "cosine rank",
        "cosine size",
        "pair rows",
        "pair rank",
        "single rank",
        "label count",
        "label rank",
        "pair size",
        "single count",
    ],
)
def test_what_does_not_fit_is_told_in_one_line(find, message: str):
    with pytest.raises(AssertionError) as error:
        find()
    assert str(error.value) == message
