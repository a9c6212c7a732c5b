"""Which records a batch holds."""

import hashlib
import itertools
import pickle
import tracemalloc

import numpy as np
import pytest

from ddl_jax.config import Batch
from ddl_jax.data.pairs import make_pairs
from ddl_jax.data.sampling import DDLSampler, IdentitySampler, ImageSampler, MixedSampler
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


def _images(index: RecordIndex, seed=0) -> ImageSampler:
    return ImageSampler(np.arange(7), batch_size=B, seed=seed)


def _mixed(index: RecordIndex, *, seed=0, shares=(0.5, 0.25, 0.25), batch_size=B) -> MixedSampler:
    return MixedSampler(index, dict(zip(DOMAINS, shares)), batch_size=batch_size, seed=seed)


def _identities(index: RecordIndex, *, seed=0, each=2, batch_size=B, rows=None) -> IdentitySampler:
    return IdentitySampler(
        np.arange(len(index)) if rows is None else rows,
        index.labels,
        batch_size=batch_size,
        images_per_identity=each,
        seed=seed,
    )


@pytest.mark.parametrize("make", [_sampler, _images, _mixed, _identities])
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


@pytest.mark.parametrize(
    "make, drawn",
    [
        (_sampler, "dacfb76a4d7f8fe4"),
        (_images, "c4b1564adae3ea1f"),
        (_mixed, "9e90a36b84c8990a"),
        (_identities, "995779553bcdd414"),
    ],
)
def test_a_run_that_goes_on_with_a_later_version_sees_the_same_records(index, make, drawn):
    """A checkpoint is a step number alone: what is drawn for it may never change."""
    sampler = make(index)
    records = np.concatenate([sampler.records(step).ravel() for step in (0, 1, 5, 40, 1000)])
    assert hashlib.sha256(records.astype(np.int64).tobytes()).hexdigest()[:16] == drawn


def test_memory_does_not_grow_with_the_epochs_and_orders_do_not_travel():
    size = 200_000
    sampler = ImageSampler(np.arange(size), batch_size=size // 2 + 1, seed=0)
    tracemalloc.start()
    try:
        for step in range(40):
            sampler.records(step)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2.2 * 4 * size  # two orders of 4 bytes an image
    sent = pickle.dumps(sampler)
    assert len(sent) < 1.1 * 8 * size  # the rows' numbers
    np.testing.assert_array_equal(pickle.loads(sent).records(7), sampler.records(7))


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


@pytest.mark.parametrize(
    "shares, batch_size, counts",
    [
        ((0.5, 0.25, 0.25), 8, (4, 2, 2)),
        ((0.6, 0.3, 0.1), 10, (6, 3, 1)),
        ((1 / 3, 1 / 3, 1 / 3), 10, (4, 3, 3)),  # the first of equal remainders
        ((0.45, 0.45, 0.1), 16, (7, 7, 2)),  # 7.2, 7.2, 1.6
    ],
)
def test_every_batch_has_its_shares_of_the_domains(index, shares, batch_size, counts):
    sampler = _mixed(index, shares=shares, batch_size=batch_size)
    for step in range(20):
        domains = index.domains[sampler.records(step)[:, 0]]
        assert tuple(int((domains == domain).sum()) for domain in DOMAINS) == counts


def test_a_mixed_domain_goes_through_its_images_once_an_epoch(index):
    sampler = _mixed(index, shares=(0.5, 0.25, 0.25), batch_size=12)
    records = np.concatenate([sampler.records(step)[:, 0] for step in range(36)])
    for domain, epochs in zip(DOMAINS, (6, 3, 3)):
        own = index.rows_of(domain)
        drawn = records[index.domains[records] == domain].reshape(epochs, len(own))
        for epoch in drawn:
            assert sorted(epoch) == own.tolist()
        assert len({tuple(epoch) for epoch in drawn}) == epochs


def test_mixed_domains_are_scattered_over_the_batch(index):
    sampler = _mixed(index)
    first = [index.domains[sampler.records(step)[0, 0]] for step in range(200)]
    assert 70 < first.count("easy") < 130  # of 200 at one half: 4 standard deviations
    assert min(map(first.count, DOMAINS)) > 20


@pytest.mark.parametrize("shares, told", [((0.9, 0.05, 0.05), "0 of the 4"), ((1, 0, 0), "'dark'")])
def test_a_share_that_is_no_image_is_refused(index, shares, told):
    with pytest.raises(UserError, match=told):
        _mixed(index, shares=shares)


def test_a_share_of_more_images_than_there_are_is_refused(index):
    with pytest.raises(UserError, match="'easy' 40 of the 80 images of a batch; it has 36"):
        _mixed(index, batch_size=80)


@pytest.mark.parametrize("each", [2, 4, 9])
def test_a_batch_has_so_many_different_images_of_each_identity(index, each):
    sampler = _identities(index, each=each, batch_size=4 * each)
    for step in range(9):
        records = sampler.records(step).reshape(4, each)
        labels = index.labels[records]
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == 4
        assert len(set(records.ravel())) == 4 * each


def test_an_epoch_of_identities_goes_once_through_all_of_them(index):
    sampler = _identities(index)  # two identities a batch
    epochs = []
    for epoch in range(3):
        records = [sampler.records(6 * epoch + step)[::2, 0] for step in range(6)]
        epochs.append(tuple(index.labels[np.concatenate(records)]))
        assert sorted(epochs[-1]) == list(range(IDENTITIES))
    assert len(set(epochs)) == 3
    seen = np.concatenate([sampler.records(step)[:, 0] for step in range(300)])
    assert set(seen) == set(range(len(index)))


def test_identities_with_few_images_repeat_them_evenly(index):
    rows = index.rows_of("dark")  # three of each
    sampler = _identities(index, each=8, batch_size=16, rows=rows)
    for step in range(6):
        for group in sampler.records(step).reshape(2, 8):
            _, counts = np.unique(group, return_counts=True)
            assert sorted(counts) == [2, 3, 3]


def test_fewer_identities_than_the_batch_takes_are_refused_for_images_too(index):
    with pytest.raises(UserError, match="images of 12 identities, but a batch takes 13"):
        _identities(index, each=2, batch_size=26)
    with pytest.raises(UserError, match="images of 0 identities"):
        _identities(index, rows=np.array([], np.int64))
