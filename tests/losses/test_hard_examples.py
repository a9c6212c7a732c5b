"""OHEM, the focal weight and the mis-classified vectors against their papers' equations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddl_jax import losses

_LOSSES = np.array([0.3, 2.0, 0.7, 2.0, 0.1, 5.0, 0.0, 1.1])


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"share": 0.25}, [5, 1]),  # Of the two equal rows the first.
        ({"share": 0.01}, [5]),
        ({"share": 1.0}, range(8)),
        ({}, [5, 1, 3, 7, 2, 0]),  # round(0.7 * 8) = 6
        ({"number": 3}, [5, 1, 3]),
        ({"number": 100}, range(8)),
    ],
)
def test_ohem_keeps_the_hardest(options, kept):
    value, gradient = jax.value_and_grad(lambda x: losses.ohem_loss(x, **options))(
        jnp.asarray(_LOSSES, jnp.float32)
    )
    kept = list(kept)
    np.testing.assert_allclose(value, _LOSSES[kept].mean(), rtol=1e-6)
    want = np.zeros(8)
    want[kept] = 1 / len(kept)
    np.testing.assert_allclose(gradient, want, rtol=1e-6)
    assert set(np.flatnonzero(losses.hardest_rows(jnp.asarray(_LOSSES), **options))) == set(kept)


def test_ohem_takes_its_share_of_the_rows_that_count():
    where = jnp.array([True, False, True, True, False, False, True, False])
    np.testing.assert_allclose(
        losses.ohem_loss(jnp.asarray(_LOSSES), share=0.5, where=where), (2.0 + 0.7) / 2
    )
    nothing = jax.value_and_grad(lambda x: losses.ohem_loss(x, where=jnp.zeros(8, bool)))
    value, gradient = nothing(jnp.asarray(_LOSSES, jnp.float32))
    assert value == 0.0 and not gradient.any()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_is_the_softmax_form(gamma: float):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
    p = np.exp(logits)[np.arange(5), labels] / np.exp(logits).sum(axis=1)
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(
        jnp.asarray(logits, jnp.float32), labels
    )
    np.testing.assert_allclose(
        losses.focal_cross_entropy(entropy, gamma=gamma), -((1 - p) ** gamma) * np.log(p), rtol=1e-5
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_at_the_ends_is_finite(gamma: float):
    """Right beyond rounding, below 0 by rounding, and hopeless."""
    ends = jnp.array([0.0, -1e-7, 1e-30, 1e4])
    value, gradient = jax.vmap(
        jax.value_and_grad(lambda x: losses.focal_cross_entropy(x, gamma=gamma))
    )(ends)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    np.testing.assert_allclose(value[-1], 1e4)
    if gamma > 0:
        np.testing.assert_array_equal(value[:2], 0.0)
        np.testing.assert_array_equal(gradient[:2], 0.0)


def _paper_mv_softmax(cosine, labels, target, scale, t, weighting) -> np.ndarray:
    """Wang et al., the loss with its factor h at every exponential, class by class."""
    values = []
    for row, label in zip(cosine, labels):
        f = target(row[label])
        total = 0.0
        for k, c in enumerate(row):
            if k != label:
                is_misclassified = f - c < 0
                power = (t - 1) * (c + 1) if weighting == "adaptive" else (t - 1)
                total += np.exp(scale * power * is_misclassified) * np.exp(scale * c)
        values.append(-np.log(np.exp(scale * f) / (np.exp(scale * f) + total)))
    return np.array(values)


@pytest.mark.parametrize("weighting", ["adaptive", "fixed"])
@pytest.mark.parametrize("base", ["cosface", "arcface", "none"])
def test_mv_softmax_is_the_papers(base: str, weighting: str):
    target, margin = {
        "cosface": (lambda c: c - 0.35, losses.cosface_margin(margin=0.35, scale=8.0)),
        "arcface": (
            lambda c: np.cos(np.arccos(c) + 0.5),
            losses.arcface_margin(margin=0.5, scale=8.0),
        ),
        "none": (lambda c: c, losses.normface_margin(scale=8.0)),
    }[base]
    cosine = np.random.default_rng(1).uniform(-0.7, 0.9, (6, 5))
    labels = np.array([0, 1, 2, 3, 4, 0])

    @jax.jit
    def entropies(cosine):
        options = dict(margin=margin, emphasis=1.3, weighting=weighting)
        logits = (
            losses.mv_softmax_logits(cosine, labels, **options),
            losses.margin_logits(cosine, labels, margin)[0],
        )
        return [optax.losses.softmax_cross_entropy_with_integer_labels(x, labels) for x in logits]

    found, plain = entropies(cosine.astype(np.float32))
    want = _paper_mv_softmax(cosine, labels, target, 8.0, 1.3, weighting)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    assert (found >= plain - 1e-6).all() and (found > plain + 0.1).any()


def test_mv_softmax_without_emphasis_is_its_margin():
    cosine, labels = jnp.linspace(-0.9, 0.9, 12).reshape(3, 4), np.array([0, 1, 2])
    np.testing.assert_array_equal(
        losses.mv_softmax_logits(cosine, labels, emphasis=1.0),
        losses.cosface_logits(cosine, labels, margin=0.35),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.ohem_loss(jnp.ones(2), share=0.0),
            "share is 0.0; expected from 1e-09 to 1",
        ),
        (
            lambda: losses.ohem_loss(jnp.ones(2), share=1.5),
            "share is 1.5; expected from 1e-09 to 1",
        ),
        (lambda: losses.ohem_loss(jnp.ones(2), number=0), "number is 0; expected at least 1"),
        (
            lambda: losses.focal_cross_entropy(jnp.ones(2), gamma=-1),
            "gamma is -1; expected at least 0",
        ),
        (lambda: losses.mv_softmax_margin(emphasis=0.2), "emphasis is 0.2; expected at least 1"),
        (lambda: losses.mv_softmax_margin(weighting="x"), "weighting is 'x'; choose one of"),
    ],
)
def test_bad_options_are_named(call, message: str):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.ohem_loss(jnp.ones((2, 1))),
            r"row_losses has shape \(2, 1\); expected \[b\]",
        ),
        (lambda: losses.ohem_loss(jnp.ones(2, int)), "row_losses is of type int.*; expected float"),
        (
            lambda: losses.ohem_loss(jnp.ones(2), where=np.ones(3, bool)),
            r"where has shape \(3,\); expected \[n=2\]",
        ),
        (lambda: losses.ohem_loss(jnp.ones(2), number=0.5), "number is of type float.*; expected"),
        (
            lambda: losses.focal_cross_entropy(jnp.ones(2, int)),
            "cross_entropy is of type int.*; expected floating point numbers",
        ),
    ],
)
def test_wrong_arrays_are_named(call, message: str):
    with pytest.raises(AssertionError, match=message):
        call()
