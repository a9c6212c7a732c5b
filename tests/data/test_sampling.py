"""Which records a batch holds."""

import itertools

import numpy as np
import pytest

from ddl_jax.config import Batch
from ddl_jax.data.pairs import make_pairs
from ddl_jax.data.sampling import DDLSampler, ImageSampler
from ddl_jax.data.source import RecordIndex, make_index
from ddl_jax.errors import UserError

DOMAINS = ("easy", "dark", "profile")
IDENTITIES, B = 12, 4


@pytest.fixture(scope="module")
def index() -> RecordIndex:
    """Every identity has three images of every domain; in random order."""
    records = list(itertools.product(range(IDENTITIES), DOMAINS, range(3)))
    np.random.default_rng(0).shuffle(records)
    identities, domains, _ = zip(*records)
    return make_index(
        [str(i) for i in identities],
        [f"{n}" for n in range(len(records))],
        domains,
        range(len(records)),
    )


def _sampler(index: RecordIndex, *, pairs="same_domain", seed=0, batch_size=B) -> DDLSampler:
    batch = Batch(kind="ddl", domains=DOMAINS, pairs=pairs)
    return DDLSampler(index, make_pairs(index, batch, 0), batch_size=batch_size, seed=seed)


@pytest.mark.parametrize(
    "make", [_sampler, lambda index, seed=0: ImageSampler(np.arange(7), batch_size=B, seed=seed)]
)
def test_records_are_a_pure_function_of_seed_and_step(index, make):
    steps = [0, 1, 2, 3, 50, 7, 1000]
    forward, backward = make(index), make(index)
    records = {step: forward.records(step).copy() for step in steps}
    for step in reversed(steps):
        np.testing.assert_array_equal(backward.records(step), records[step])
        np.testing.assert_array_equal(forward.records(step), records[step])
        assert records[step].shape == (B, forward.images)
        assert (make(index, seed=1).records(step) != records[step]).any()
    for one, other in itertools.combinations(records.values(), 2):
        assert (one != other).any()


@pytest.mark.parametrize("pairs", ["same_domain", "easy_hard"])
def test_every_column_is_of_its_domain(index, pairs):
    sampler = _sampler(index, pairs=pairs)
    assert sampler.images == 3 * len(DOMAINS)
    for step in range(9):
        domains = index.domains[sampler.records(step)]
        for column, domain in zip(range(0, sampler.images, 3), DOMAINS):
            first = "easy" if pairs == "easy_hard" else domain
            assert set(domains[:, column]) == {domain}
            assert set(domains[:, column + 1]) == {first}
            assert set(domains[:, column + 2]) == {domain}


@pytest.mark.parametrize("pairs", ["same_domain", "easy_hard"])
def test_pairs_are_two_images_of_one_identity_and_no_identity_comes_twice(index, pairs):
    sampler = _sampler(index, pairs=pairs)
    for step in range(9):
        records = sampler.records(step)
        labels = index.labels[records]
        for column in range(0, sampler.images, 3):
            single, first, second = labels[:, column : column + 3].T
            assert len(set(single)) == B
            assert len(set(first)) == B
            np.testing.assert_array_equal(first, second)
            assert (records[:, column + 1] != records[:, column + 2]).all()


def test_an_epoch_goes_once_through_all_identities(index):
    sampler, steps = _sampler(index), IDENTITIES // B
    orders = []
    for epoch in range(3):
        rows = [sampler.records(epoch * steps + step) for step in range(steps)]
        labels = index.labels[np.concatenate(rows)]
        for column in labels.T:
            assert sorted(column) == list(range(IDENTITIES))
        # A domain's singles and pairs, and the domains, go through them in orders of their own.
        orders += [tuple(column) for i, column in enumerate(labels.T) if i % 3 < 2]
    assert len(set(orders)) == len(orders) == 3 * 2 * len(DOMAINS)


def test_what_is_left_of_an_epoch_is_dropped_not_the_same_identities_for_ever(index):
    sampler = _sampler(index, batch_size=5)  # two batches an epoch, two identities left over
    labels = index.labels[np.stack([sampler.records(step)[:, 0] for step in range(40)])]
    for epoch in labels.reshape(20, 10):
        assert len(set(epoch)) == 10
    assert set(labels.flat) == set(range(IDENTITIES))


def test_all_images_and_pairs_of_an_identity_get_their_turn(index):
    sampler = _sampler(index)
    records = np.concatenate([sampler.records(step) for step in range(150)])
    for column, domain in zip(range(0, sampler.images, 3), DOMAINS):
        assert set(records[:, column]) == set(index.rows_of(domain))
        pairs = {tuple(row) for row in records[:, column + 1 : column + 3].tolist()}
        assert len(pairs) == 3 * IDENTITIES  # three images make three pairs


def test_identities_without_a_pair_still_give_singles():
    index = make_index("aaab", "0123", ["easy", "easy", "hard", "hard"], range(4))
    pairs = {"easy": np.array([[0, 1]]), "hard": np.array([[0, 2]])}
    sampler = DDLSampler(index, pairs, batch_size=1, seed=0)
    records = np.concatenate([sampler.records(step) for step in range(40)])
    assert set(records[:, 3]) == {2, 3}
    assert set(records[:, 5]) == {2}


def test_fewer_identities_than_the_batch_takes_are_refused(index):
    with pytest.raises(UserError, match="'easy' has images of 12 identities, .*batch_size=13"):
        _sampler(index, batch_size=13)


def test_fewer_identities_with_pairs_than_the_batch_takes_are_refused(index):
    batch = Batch(kind="ddl", domains=DOMAINS)
    pairs = make_pairs(index, batch, 0)
    pairs["dark"] = pairs["dark"][index.labels[pairs["dark"][:, 0]] < 3]
    with pytest.raises(UserError, match="'dark' has positive pairs of 3 identities, .*size=4"):
        DDLSampler(index, pairs, batch_size=B, seed=0)


@pytest.mark.parametrize("batch_size", [1, 4, 9, 10])
def test_images_come_once_an_epoch_across_the_ends_of_batches(batch_size):
    rows = np.array([3, 5, 8, 13, 21, 34, 55, 89, 144, 233])
    sampler = ImageSampler(rows, batch_size=batch_size, seed=0)
    records = np.concatenate([sampler.records(step)[:, 0] for step in range(10 * len(rows))])
    epochs = records.reshape(-1, len(rows))
    for epoch in epochs:
        assert sorted(epoch) == rows.tolist()
    assert len({tuple(epoch) for epoch in epochs[:10]}) == 10  # each in an order of its own


def test_no_image_to_sample_is_refused():
    with pytest.raises(UserError, match="no training image"):
        ImageSampler(np.array([], np.int64), batch_size=2, seed=0)
    with pytest.raises(UserError, match="there are 3 training images, .*batch_size=4"):
        ImageSampler(np.arange(3), batch_size=4, seed=0)
