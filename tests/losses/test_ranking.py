"""Triplets and supervised contrast against their papers' equations, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_ROWS = np.random.default_rng(0).normal(size=(8, 4)) * np.linspace(1, 4, 8)[:, None]
# One identity with three rows, two with two, and one alone.
_LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 3])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _paper_batch_hard(rows: np.ndarray, margin: float | None, squared: bool) -> float:
    """Hermans et al., eq. 5, anchor by anchor."""
    values = []
    for a, anchor in enumerate(rows):
        distance = np.linalg.norm(rows - anchor, axis=1) ** (2 if squared else 1)
        positives = [i for i in range(len(rows)) if _LABELS[i] == _LABELS[a] and i != a]
        if positives:
            gap = distance[positives].max() - distance[_LABELS != _LABELS[a]].min()
            values.append(np.log1p(np.exp(gap)) if margin is None else max(gap + margin, 0.0))
    return np.mean(values)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("margin", "squared"), [(0.2, False), (None, False), (0.5, True)])
def test_batch_hard_triplet_loss_is_the_papers(margin, squared: bool, normalize: bool):
    options = dict(margin=margin, squared=squared, normalize=normalize)
    found = jax.jit(lambda x: losses.batch_hard_triplet_loss(x, _LABELS, **options))(
        _ROWS.astype(np.float32)
    )
    rows = _unit(_ROWS) if normalize else _ROWS
    np.testing.assert_allclose(found, _paper_batch_hard(rows, margin, squared), rtol=1e-5)


@pytest.mark.parametrize("variant", ["out", "in"])
def test_supervised_contrastive_loss_is_the_papers(variant: str):
    """Khosla et al., eq. 2 and 3, row by row."""
    z, tau, values = _unit(_ROWS), 0.3, []
    for i in range(8):
        others = [a for a in range(8) if a != i]
        total = sum(np.exp(z[i] @ z[a] / tau) for a in others)
        shares = [np.exp(z[i] @ z[p] / tau) / total for p in others if _LABELS[p] == _LABELS[i]]
        if shares:
            values.append(
                -np.mean(np.log(shares)) if variant == "out" else -np.log(np.mean(shares))
            )
    options = dict(temperature=tau, variant=variant)
    found = jax.jit(lambda x: losses.supervised_contrastive_loss(x, _LABELS, **options))(
        _ROWS.astype(np.float32)
    )
    np.testing.assert_allclose(found, np.mean(values), rtol=1e-5)


def test_both_variants_are_equal_with_one_positive_each():
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    found = jax.jit(
        lambda x: [
            losses.supervised_contrastive_loss(x, labels, variant=variant)
            for variant in ("out", "in")
        ]
    )(_ROWS.astype(np.float32))
    np.testing.assert_allclose(*found, rtol=1e-5)


_FUNCTIONS = {
    "triplet": losses.batch_hard_triplet_loss,
    "soft triplet": lambda *a: losses.batch_hard_triplet_loss(*a, margin=None, normalize=False),
    "contrastive": losses.supervised_contrastive_loss,
    "contrastive in": lambda *a: losses.supervised_contrastive_loss(*a, variant="in"),
}


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_poor_batches(name: str):
    """Without a positive, and in a batch of one row or none, the loss is 0 and so its gradient."""
    compiled = jax.jit(jax.value_and_grad(_FUNCTIONS[name]))
    for rows in (1, 4):
        value, gradient = compiled(jnp.asarray(_ROWS[:rows], jnp.float32), np.arange(rows))
        assert value == 0.0 and not gradient.any()
    # One identity: no triplet; contrast still spreads attraction over the rows.
    value, gradient = compiled(jnp.asarray(_ROWS[:4], jnp.float32), np.zeros(4, int))
    assert np.isfinite(gradient).all() and (value == 0.0) == ("triplet" in name)
    # Equal rows of two identities: all distances are 0.
    value, gradient = compiled(jnp.ones((4, 4)), np.array([0, 0, 1, 1]))
    want = {
        "triplet": 0.2,
        "soft triplet": np.log(2.0),
        "contrastive": np.log(3.0),
        "contrastive in": np.log(3.0),
    }
    np.testing.assert_allclose(value, want[name], rtol=1e-6)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


def test_near_duplicates_keep_their_distance():
    """Distances of 1e-4 would drown in the rounding of 2 - 2 cos."""
    rows = jnp.array([[1.0, 0.0], [1.0, 1e-4], [1.0, 3e-4]])
    found = losses.batch_hard_triplet_loss(rows, np.array([0, 0, 1]), margin=1.0)
    want = np.mean([1.0 + 1e-4 - 3e-4, 1.0 + 1e-4 - 2e-4])
    np.testing.assert_allclose(found, want, atol=2e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; expected at least 1e-09"),
        ({"variant": "mid"}, "variant is 'mid'; choose one of out, in"),
    ],
)
def test_bad_options_are_named(options, message: str):
    with pytest.raises(ValueError, match=message):
        losses.supervised_contrastive_loss(jnp.ones((2, 2)), np.zeros(2, int), **options)


def test_a_negative_margin_is_named():
    with pytest.raises(ValueError, match="margin is -0.1; expected at least 0, in units of the"):
        losses.batch_hard_triplet_loss(jnp.ones((2, 2)), np.zeros(2, int), margin=-0.1)


@pytest.mark.parametrize("name", _FUNCTIONS)
@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (np.ones((2, 2)), np.zeros(2), "labels is of type float.*; expected integers"),
        (np.ones((2, 2)), np.zeros(3, int), r"labels has shape \(3,\); expected \[b=2\]"),
        (np.ones(2), np.zeros(2, int), r"embeddings has shape \(2,\); expected \[b, D\]"),
        (np.ones((2, 2), int), np.zeros(2, int), "embeddings is of type int.*; expected floating"),
    ],
)
def test_wrong_arrays_are_named(name: str, embeddings, labels, message: str):
    with pytest.raises(AssertionError, match=message):
        _FUNCTIONS[name](embeddings, labels)


def test_temperature_may_be_learnt():
    """A traced number cannot be looked at: it passes, and has a gradient."""
    gradient = jax.grad(
        lambda t: losses.supervised_contrastive_loss(
            _ROWS.astype(np.float32), _LABELS, temperature=t
        )
    )(0.3)
    assert np.isfinite(gradient) and gradient != 0
