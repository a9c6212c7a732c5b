"""No value and no gradient is NaN or infinite, whatever arrives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

from .loss_table import EMBEDDINGS, LOSSES, Loss, cast, random_inputs, weighted_sum

# 1e-40 is a subnormal number of float32, which some devices flush to 0.
_NORMS = (0.0, 1e-40, 1e-30, 1e-12, 1.0, 1e15, 1e25)
_OF_COSINES = ("cosine", "cosine and norms", "similarities", "sets", "domains")
_OF_EMBEDDINGS = [loss for loss in LOSSES if loss.inputs in EMBEDDINGS]


def _assert_finite(tree):
    for leaf in jax.tree.leaves(tree):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()


@functools.cache
def _compiled(loss: Loss):
    """Values, and the gradient with respect to every array."""
    gradient = jax.grad(lambda arrays: weighted_sum(loss)(*arrays))
    return jax.jit(lambda *arrays: (loss.value(*arrays), gradient(arrays)))


def _with_norms(array: np.ndarray, norms: np.ndarray) -> np.ndarray:
    unit = array / np.linalg.norm(array, axis=-1, keepdims=True)
    return (unit * norms.reshape(-1, *[1] * (array.ndim - 1))).astype(np.float32)


@pytest.mark.parametrize("loss", _OF_EMBEDDINGS, ids=[loss.name for loss in _OF_EMBEDDINGS])
def test_every_norm_alone_and_mixed(loss: Loss):
    arrays = random_inputs(loss)
    for norm in _NORMS:
        _assert_finite(_compiled(loss)(*(_with_norms(x, np.full(len(x), norm)) for x in arrays)))
    mixed = [_with_norms(x, np.resize(np.roll(_NORMS, i), len(x))) for i, x in enumerate(arrays)]
    _assert_finite(_compiled(loss)(*mixed))


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0, 1.0 + 2e-7, -1.0 - 2e-7])
@pytest.mark.parametrize(
    "loss",
    [loss for loss in LOSSES if loss.inputs in _OF_COSINES],
    ids=lambda loss: loss.name,
)
def test_cosines_at_and_beyond_the_ends(loss: Loss, value: float):
    arrays = (np.full(x.shape, value, np.float32) for x in random_inputs(loss))
    _assert_finite(_compiled(loss)(*arrays))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("loss", _OF_EMBEDDINGS, ids=[loss.name for loss in _OF_EMBEDDINGS])
def test_equal_and_opposite_embeddings(loss: Loss, sign: float):
    first, *rest = random_inputs(loss)
    # Row i of every array is row i of the first, up to its sign: cosine exactly +-1 and beyond.
    arrays = [first, *(sign * first[: len(x)] for x in rest)]
    _assert_finite(_compiled(loss)(*cast(tuple(arrays), jnp.float32)))
    one = [np.repeat(x[:1], len(x), axis=0) for x in arrays]
    _assert_finite(_compiled(loss)(*cast(tuple(one), jnp.float32)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", ["margin_softmax_loss[arcface]", "pair_similarities"])
def test_half_precision(name: str, dtype):
    loss = next(loss for loss in LOSSES if loss.name == name)
    _assert_finite(_compiled(loss)(*cast(random_inputs(loss), dtype)))
    zeros = [jnp.zeros(x.shape, dtype) for x in random_inputs(loss)]
    _assert_finite(_compiled(loss)(*zeros))


_ROWS = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("margin", "class_chunk"))
def _softmax_and_gradients(rows, centers, labels, class_where, *, margin, class_chunk):
    def total(rows, centers):
        loss, aux = losses.margin_softmax_loss(
            rows,
            centers,
            labels,
            margin=margin,
            class_where=class_where,
            class_chunk=class_chunk,
            key=jax.random.key(0),
        )
        for leaf in jax.tree.leaves(aux.state):
            loss += 0.0 * leaf  # a statistic that is not finite shows
        return jnp.sum(loss)

    return jax.value_and_grad(total, (0, 1))(rows, centers)


@pytest.mark.parametrize("class_chunk", [None, 2])
@pytest.mark.parametrize("margin", losses.MARGIN_NAMES)
@pytest.mark.parametrize(
    ("labels", "is_class"),
    [
        ([-1, 3, 2**31 - 1, -(2**31)], [True, True, True]),
        ([0, 1, 2, 0], [False, False, False]),
        ([1, 1, 1, 1], [False, True, False]),
    ],
    ids=["no labels", "no classes", "one class"],
)
def test_margin_softmax_loss_with_nothing_to_compare(margin: str, class_chunk, labels, is_class):
    arrays = _ROWS, _ROWS[:3], np.array(labels, np.int32), np.array(is_class)
    value, gradients = _softmax_and_gradients(*arrays, margin=margin, class_chunk=class_chunk)
    np.testing.assert_allclose(value, 0.0, atol=1e-5)
    for gradient in gradients:
        np.testing.assert_allclose(gradient, 0.0, atol=1e-4)


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
def _distillation_and_gradients(singles, first, second, identities):
    domain = losses.pair_similarities(singles, first, second, identities)
    loss, terms = losses.distribution_distillation_loss(domain, [domain, domain])
    return loss, (terms, domain)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("case", ["ordinary", "no positives", "one identity", "nothing at all"])
def test_distillation_of_a_poor_batch(case: str, rows: int):
    singles = _ROWS[:rows]
    second = singles if case in ("ordinary", "one identity") else -singles
    labels = np.arange(rows) * (case in ("ordinary", "no positives"))
    (loss, (terms, domain)), gradients = _distillation_and_gradients(
        singles, singles, second, labels
    )
    _assert_finite((loss, terms, gradients))
    assert domain.positive_where.any() == (case in ("ordinary", "one identity"))
    if case == "nothing at all":
        assert loss == 0.0


@pytest.mark.parametrize("weights", ["all masked", "no rows"])
def test_distillation_without_any_similarity(weights: str):
    count = 3 if weights == "all masked" else 0
    values, where = jnp.linspace(0.1, 0.9, count), jnp.zeros(count, bool)

    def loss(values):
        domain = losses.PairSimilarities(values, values, where, where)
        return losses.distribution_distillation_loss(domain, [domain])[0]

    value, gradient = jax.value_and_grad(loss)(values)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros(count))
