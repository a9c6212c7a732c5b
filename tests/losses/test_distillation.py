"""The DDL loss against the authors' released code, and what it must do by its own definition."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import losses

_GOLDEN = Path(__file__).parents[1] / "golden"
_RNG = np.random.default_rng(0)


def _domain(mean: float, negative_mean: float = 0.1, count: int = 24) -> losses.PairSimilarities:
    positive = _RNG.normal(mean, 0.1, count).astype(np.float32)
    negative = _RNG.normal(negative_mean, 0.1, count).astype(np.float32)
    return losses.PairSimilarities(jnp.asarray(positive), jnp.asarray(negative))


_EASY, _HARD, _HARDER = _domain(0.7), _domain(0.5, 0.2), _domain(0.4, 0.25)


# The released code's nodes, made in float64 as torch.arange makes them.
_TFACE_NODES = np.arange(0.0, 1.0, 0.001)


def _tface_loss(singles, first, second):
    """As the released code, by its preset: from raw features `[K+1, b, D]`, teacher first."""
    faces = jnp.stack([singles, first, second], axis=2)  # [K+1, b, 3, D]
    faces = jnp.concatenate(list(faces), axis=1)
    # Its negatives do not look at labels.
    labels = jnp.zeros(faces.shape[:2], int)
    loss, terms = losses.preset_distillation_loss(faces, labels, preset="tface")
    domains = losses.domain_pairs(faces, labels, preset="tface")
    nodes = jnp.asarray(_TFACE_NODES, singles.dtype)
    histogram = functools.partial(losses.similarity_histogram, nodes=nodes, gamma=50.0)
    histograms = {
        "pos_hist": [histogram(d.positive, where=d.positive_where) for d in domains],
        "neg_hist": [histogram(d.negative, where=d.negative_where) for d in domains],
    }
    return loss, (terms, domains, histograms)


def _assert_relative(actual, expected, tolerance: float):
    """Close relative to the largest expected number."""
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tolerance * np.abs(expected).max())


# In float32 a divergence of small value carries the rounding of its histograms' sums.
@pytest.mark.parametrize(
    ("dtype", "tolerance", "divergence_tolerance"),
    [(jnp.float64, 1e-6, 1e-6), (jnp.float32, 1e-5, 2e-4)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("name", ["b12_d32_k3", "b16_d64_k1", "b32_d128_k1"])
def test_it_is_the_released_code(name: str, dtype, tolerance: float, divergence_tolerance: float):
    golden = np.load(_GOLDEN / f"ddl_tface_{name}.npz")
    with jax.enable_x64(dtype == jnp.float64):
        faces = [jnp.asarray(golden[key], dtype) for key in ("neg", "first", "second")]
        (loss, (terms, domains, histograms)), gradients = jax.jit(
            jax.value_and_grad(_tface_loss, argnums=(0, 1, 2), has_aux=True)
        )(*faces)
        assert loss.dtype == dtype
        for i, domain in enumerate(domains):
            positive = np.asarray(domain.positive)[np.asarray(domain.positive_where)]
            _assert_relative(positive, golden[f"pos_sim_{i}"], tolerance)
            _assert_relative(domain.negative, golden[f"neg_sim_{i}"], tolerance)
        for key, histogram in histograms.items():
            _assert_relative(np.stack(histogram), golden[key], tolerance)
        # The order's terms run over negative domains, then positive ones.
        means = np.asarray(terms["negative_mean"])[:, None] - np.asarray(terms["positive_mean"])
        _assert_relative(means.ravel(), golden["order"], tolerance)
        _assert_relative(terms["order"], golden["order"].sum(), tolerance)
        _assert_relative(terms["positive_divergence"], golden["pos_kl"], divergence_tolerance)
        _assert_relative(terms["negative_divergence"], golden["neg_kl"], divergence_tolerance)
        _assert_relative(loss, golden["loss"], tolerance)
        for key, gradient in zip(("neg", "first", "second"), gradients, strict=True):
            _assert_relative(gradient, golden[f"grad_{key}"], 10 * tolerance)


def test_the_files_exercise_dropped_positives():
    golden = np.load(_GOLDEN / "ddl_tface_b12_d32_k3.npz")
    assert len(golden["pos_sim_3"]) < len(golden["neg_sim_3"])


def test_the_loss_is_the_weighted_sum_of_its_terms():
    weights = dict(positive_weight=0.3, negative_weight=0.7, order_weight=0.2)
    loss, terms = losses.distribution_distillation_loss(_EASY, [_HARD, _HARDER], **weights)
    expected = 0.3 * terms["positive_divergence"].sum() + 0.7 * terms["negative_divergence"].sum()
    np.testing.assert_allclose(loss, expected + 0.2 * terms["order"], rtol=1e-5)
    domains = [_EASY, _HARD, _HARDER]
    means = [domain.positive.mean() for domain in domains]
    np.testing.assert_allclose(terms["positive_mean"], means, rtol=1e-5)
    means = [domain.negative.mean() for domain in domains]
    np.testing.assert_allclose(terms["negative_mean"], means, rtol=1e-5)
    np.testing.assert_allclose(terms["order"], losses.order_loss(domains), rtol=1e-6)


def test_divergences_are_those_of_teacher_from_each_student():
    nodes = jnp.linspace(-1.0, 1.0, 101)  # the default
    histogram = functools.partial(losses.similarity_histogram, nodes=nodes)
    _, terms = losses.distribution_distillation_loss(_EASY, [_HARD, _HARDER])
    for sign in ("positive", "negative"):
        p, *q = (histogram(getattr(domain, sign)) for domain in (_EASY, _HARD, _HARDER))
        expected = [losses.kl_divergence(p, student) for student in q]
        np.testing.assert_allclose(terms[f"{sign}_divergence"], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "divergence",
    [
        losses.kl_divergence,
        losses.js_divergence,
        functools.partial(losses.earth_mover_distance, nodes=jnp.linspace(-1.0, 1.0, 101)),
    ],
    ids=["kl", "js", "emd"],
)
def test_identical_domains_have_divergence_0(divergence):
    _, terms = losses.distribution_distillation_loss(_EASY, [_EASY], divergence=divergence)
    np.testing.assert_allclose(terms["positive_divergence"], [0.0], atol=1e-6)
    np.testing.assert_allclose(terms["negative_divergence"], [0.0], atol=1e-6)
    _, apart = losses.distribution_distillation_loss(_EASY, [_HARD], divergence=divergence)
    assert apart["positive_divergence"][0] > 0.1


def test_raising_a_students_positives_lowers_the_loss():
    def loss(shift):
        hard = _HARD._replace(positive=_HARD.positive + shift)
        return losses.distribution_distillation_loss(_EASY, [hard])[0]

    values = [loss(shift) for shift in (0.0, 0.05, 0.1, 0.15)]
    assert (np.diff(values) < 0).all()


def test_order_loss_counts_every_pair_of_domains():
    domains = [
        losses.PairSimilarities(jnp.array([0.8, 0.6]), jnp.array([0.1])),
        losses.PairSimilarities(jnp.array([0.5]), jnp.array([0.3, 0.1])),
        losses.PairSimilarities(jnp.array([0.3]), jnp.array([0.0])),
    ]
    # Means .7 .5 .3 above .1 .2 .0: three times each, 3 * (.3 - 1.5).
    np.testing.assert_allclose(losses.order_loss(domains), -3.6, rtol=1e-6)
    np.testing.assert_allclose(losses.order_loss(domains[::-1]), -3.6, rtol=1e-6)
    np.testing.assert_allclose(losses.order_loss(domains[:1]), -0.6, rtol=1e-6)


def test_a_stopped_teacher_moves_by_the_order_alone():
    def loss(teacher, student, *, stop, **weights):
        return losses.distribution_distillation_loss(
            teacher, [student], stop_teacher_gradient=stop, **weights
        )[0]

    gradient = jax.grad(loss, argnums=(0, 1))
    teacher, student = gradient(_EASY, _HARD, stop=True)
    order_only = gradient(_EASY, _HARD, stop=True, positive_weight=0.0, negative_weight=0.0)[0]
    np.testing.assert_array_equal(teacher.positive, order_only.positive)
    np.testing.assert_array_equal(teacher.negative, order_only.negative)
    free_teacher, free_student = gradient(_EASY, _HARD, stop=False)
    np.testing.assert_allclose(student.positive, free_student.positive, rtol=1e-5, atol=1e-7)
    assert np.abs(free_teacher.positive - teacher.positive).max() > 1e-3


def _where(domain: losses.PairSimilarities, positive, negative) -> losses.PairSimilarities:
    return domain._replace(positive_where=positive, negative_where=negative)


def test_where_equals_slicing():
    positive, negative = _HARD.positive > 0.5, _HARD.negative < 0.2
    masked = _where(_HARD, positive, negative)
    sliced = losses.PairSimilarities(_HARD.positive[positive], _HARD.negative[negative])
    assert 1 < sliced.positive.size < 23 and 1 < sliced.negative.size < 23
    for domains in ((masked, sliced), (_EASY, masked, sliced)):
        expected = losses.order_loss([*domains[:-2], sliced, sliced])
        np.testing.assert_allclose(losses.order_loss(domains), expected, rtol=1e-5)
    loss, terms = losses.distribution_distillation_loss(_EASY, [masked])
    expected, expected_terms = losses.distribution_distillation_loss(_EASY, [sliced])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for key, value in expected_terms.items():
        np.testing.assert_allclose(terms[key], value, rtol=1e-4, err_msg=key)


def test_the_order_of_similarities_does_not_matter():
    order = np.random.default_rng(1).permutation(24)
    moved = losses.PairSimilarities(_HARD.positive[order], _HARD.negative[order[::-1]])
    loss, _ = losses.distribution_distillation_loss(_EASY, [_HARD])
    np.testing.assert_allclose(
        losses.distribution_distillation_loss(_EASY, [moved])[0], loss, rtol=1e-5
    )


@pytest.mark.parametrize("domain", ["teacher", "student"])
@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_a_set_of_which_nothing_counts_has_no_term(domain: str, sign: str):
    empty = {f"{sign}_where": jnp.zeros(24, bool)}
    teacher, student = _EASY, _HARD
    if domain == "teacher":
        teacher = teacher._replace(**empty)
    else:
        student = student._replace(**empty)
    _, terms = losses.distribution_distillation_loss(teacher, [student])
    _, full_terms = losses.distribution_distillation_loss(_EASY, [_HARD])
    assert terms[f"{sign}_divergence"][0] == 0.0
    assert terms[f"{sign}_mean"][int(domain == "student")] == 0.0
    other = "negative" if sign == "positive" else "positive"
    np.testing.assert_array_equal(terms[f"{other}_divergence"], full_terms[f"{other}_divergence"])
    # Two of the four comparisons are left.
    remaining = getattr(_HARD if domain == "teacher" else _EASY, sign).mean()
    others = _EASY, _HARD
    expected = sum(remaining - getattr(d, other).mean() for d in others)
    expected = expected if sign == "negative" else -expected
    np.testing.assert_allclose(terms["order"], expected, rtol=1e-5)


_DOMAIN = losses.PairSimilarities(np.array([0.5, 0.7]), np.array([0.1, 0.2]))


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        (dict(students=_DOMAIN), AssertionError, "students is one PairSimilarities; expected a"),
        (dict(teacher=np.ones((3, 4))), AssertionError, "a domain is of type ndarray; expected"),
        (
            dict(past=losses.empty_similarity_queue(4)),
            AssertionError,
            "past is one SimilarityQueue; give a list, one for each domain",
        ),
        (
            dict(past=[losses.empty_embedding_queue(4, 2)] * 2),
            AssertionError,
            "a queue of past is of type EmbeddingQueue; expected SimilarityQueue",
        ),
        (dict(nodes=[-1.0, 0.0, 1.0]), AssertionError, "nodes is of type list; expected an array"),
        (dict(order_weight=np.nan), ValueError, "order_weight is nan; expected at least 0"),
        (dict(divergence=lambda p, q: p - q), AssertionError, r"the divergence has shape \(101,\)"),
        (dict(divergence="js"), ValueError, "divergence is 'js'; give the function, such as"),
    ],
)
def test_what_is_no_domain_and_no_divergence_is_told(changed, kind, message: str):
    given = dict(teacher=_DOMAIN, students=[_DOMAIN]) | changed
    with pytest.raises(kind, match=message):
        losses.distribution_distillation_loss(given.pop("teacher"), given.pop("students"), **given)


@pytest.mark.parametrize("options", [{}, {"log_space": True}, {"correct_bias": True}], ids=str)
def test_what_does_not_count_may_be_anything(options):
    where = jnp.array([True, True, False, False])

    def loss(values):
        domain = losses.PairSimilarities(values, jnp.array([0.1, 0.3]), where)
        return losses.distribution_distillation_loss(_EASY, [domain], **options)[0]

    value, gradient = jax.value_and_grad(loss)(jnp.array([0.9, 0.5, jnp.nan, jnp.inf]))
    wanted, wanted_gradient = jax.value_and_grad(loss)(jnp.array([0.9, 0.5, 0.0, 0.0]))
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=1e-5)


def test_no_student_and_no_domain_are_told_in_one_line():
    with pytest.raises(ValueError, match=r"^distribution_distillation_loss got no student; .*$"):
        losses.distribution_distillation_loss(_EASY, [])
    with pytest.raises(ValueError, match=r"^order_loss got no domain; .*$"):
        losses.order_loss([])


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (
            _where(_HARD, jnp.ones(3, bool), None),
            "positive_where has shape (3,); expected [n=24]",
        ),
        (
            _where(_HARD, None, jnp.ones(1, bool)),
            "negative_where has shape (1,); expected [n=24]",
        ),
        (
            _where(_HARD, jnp.ones(24), None),
            "positive_where is of type float32; expected bool",
        ),
        (
            _HARD._replace(negative=_HARD.negative[None]),
            "negative has shape (1, 24); expected [m]",
        ),
    ],
    ids=["positive mask", "negative mask", "mask type", "rank"],
)
def test_what_does_not_fit_is_told_in_one_line(domain, message: str):
    for compute in (losses.order_loss, lambda d: losses.distribution_distillation_loss(_EASY, d)):
        with pytest.raises(AssertionError) as error:
            compute([domain])
        assert str(error.value) == message


def test_the_earth_mover_is_given_the_nodes():
    nodes = jnp.linspace(0.0, 1.0, 50)
    bound = functools.partial(losses.earth_mover_distance, nodes=nodes)
    found, expected = (
        losses.distribution_distillation_loss(_EASY, [_HARD], nodes=nodes, divergence=divergence)
        for divergence in (losses.earth_mover_distance, bound)
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_log_space_has_the_same_terms_where_epsilon_hides_nothing():
    loss, terms = losses.distribution_distillation_loss(_EASY, [_HARD], log_space=True)
    expected, expected_terms = losses.distribution_distillation_loss(
        _EASY, [_HARD], divergence=functools.partial(losses.kl_divergence, epsilon=1e-20)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    for key, value in expected_terms.items():
        np.testing.assert_allclose(terms[key], value, rtol=1e-3, err_msg=key)


def test_log_space_pulls_where_the_default_does_not():
    teacher = losses.PairSimilarities(jnp.full(4, 0.95), jnp.zeros(4))
    student = losses.PairSimilarities(jnp.full(4, -0.95), jnp.zeros(4))

    def divergence(student, log_space):
        _, terms = losses.distribution_distillation_loss(teacher, [student], log_space=log_space)
        return terms["positive_divergence"][0]

    dead, alive = (jax.grad(divergence)(student, on).positive for on in (False, True))
    np.testing.assert_allclose(dead, np.zeros(4), atol=1e-3)
    assert (alive < -10).all()


@pytest.mark.parametrize("log_space", [False, True])
def test_the_corrected_divergence_is_the_divergence_less_the_bias(log_space: bool):
    nodes = jnp.linspace(-1.0, 1.0, 101)
    options = dict(log_space=log_space)
    _, plain = losses.distribution_distillation_loss(_EASY, [_HARD, _HARDER], **options)
    _, terms = losses.distribution_distillation_loss(
        _EASY, [_HARD, _HARDER], correct_bias=True, **options
    )
    for sign in ("positive", "negative"):
        teacher, *students = (getattr(d, sign) for d in (_EASY, _HARD, _HARDER))
        bias = [losses.kl_bias(teacher, student, nodes=nodes) for student in students]
        np.testing.assert_allclose(terms[f"{sign}_bias"], bias, rtol=1e-5)
        expected = plain[f"{sign}_divergence"] - jnp.stack(bias)
        np.testing.assert_allclose(terms[f"{sign}_divergence"], expected, rtol=1e-4, atol=1e-5)
        assert f"{sign}_bias" not in plain


def _past(domain: losses.PairSimilarities) -> losses.SimilarityQueue:
    return losses.push_pairs(losses.empty_similarity_queue(30), domain)


def test_the_past_enters_the_histograms_and_nothing_else():
    whole = [_EASY, _HARD]
    past = [_past(_domain(0.6)), _past(_domain(0.3, 0.2, count=8))]
    joined = [
        losses.PairSimilarities(
            jnp.concatenate([d.positive, q.positive[: q.positive_filled]]),
            jnp.concatenate([d.negative, q.negative[: q.negative_filled]]),
        )
        for d, q in zip(whole, past)
    ]
    options = dict(correct_bias=True)
    _, terms = losses.distribution_distillation_loss(_EASY, [_HARD], past=past, **options)
    _, expected = losses.distribution_distillation_loss(joined[0], joined[1:], **options)
    _, batch = losses.distribution_distillation_loss(_EASY, [_HARD], **options)
    for key in terms:
        same = expected if key.endswith(("divergence", "bias")) else batch
        np.testing.assert_allclose(terms[key], same[key], rtol=1e-4, err_msg=key)
    assert np.abs(expected["order"] - batch["order"]) > 0.01


def test_an_empty_past_changes_nothing_and_a_full_one_is_constant():
    def loss(past, *domains):
        return losses.distribution_distillation_loss(domains[0], domains[1:], past=past)[0]

    empty = [losses.empty_similarity_queue(5)] * 2
    expected, gradient = jax.value_and_grad(loss, 1)(None, _EASY, _HARD)
    found, found_gradient = jax.value_and_grad(loss, 1)(empty, _EASY, _HARD)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found_gradient.positive, gradient.positive, rtol=1e-4, atol=1e-7)

    def of_values(values):
        return loss([_past(_EASY)._replace(positive=values)] * 2, _EASY, _HARD)

    np.testing.assert_array_equal(jax.grad(of_values)(jnp.full(30, 0.5)), np.zeros(30))


def test_a_past_can_stand_in_for_a_batch_of_which_nothing_counts():
    empty = _where(_HARD, jnp.zeros(24, bool), jnp.zeros(24, bool))
    _, terms = losses.distribution_distillation_loss(
        _EASY, [empty], past=[_past(_EASY), _past(_HARD)]
    )
    assert terms["positive_divergence"][0] > 0.1 and terms["positive_mean"][1] == 0.0


@pytest.mark.parametrize("option", ["log_space", "correct_bias"])
def test_what_only_kl_can_do_is_told_in_one_line(option: str):
    with pytest.raises(ValueError) as error:
        losses.distribution_distillation_loss(
            _EASY, [_HARD], divergence=losses.js_divergence, **{option: True}
        )
    assert str(error.value) == (
        "divergence is js_divergence; log_space and correct_bias take kl_divergence alone"
    )


def test_a_queue_too_few_is_told_in_one_line():
    with pytest.raises(ValueError, match="^past has 1 queues; give 2, one a domain$"):
        losses.distribution_distillation_loss(_EASY, [_HARD], past=[_past(_EASY)])
