"""From step numbers to pixels: one global batch, whoever makes it."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

from ddl_jax.config import Batch
from ddl_jax.data.augment import Augment
from ddl_jax.data.decode import decode_image
from ddl_jax.data.degradations.recipe import parse_recipe
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.made_domains import MadeDomains
from ddl_jax.data.pairs import make_pairs
from ddl_jax.data.pipeline import HostBatches, batches
from ddl_jax.data.sampling import DDLSampler, IdentitySampler, ImageSampler, MixedSampler
from ddl_jax.errors import UserError

from .image_files import write_faces

SIZE = (18, 16)
STEPS = 5
B = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> ImageFolderSource:
    root = write_faces(tmp_path_factory.mktemp("faces"), 6, domains=("easy", "hard"), images=2)
    return ImageFolderSource(str(root), domain_rules=("*/easy/*=easy", "*=hard"))


def _rows(source, *, flip=True, seed=0, kind="ddl", augment=None, steps=STEPS, **hosts):
    domains, options = ("easy", source.index.domains[-1]), {"batch_size": B, "seed": seed}
    if kind == "ddl":
        pairs = make_pairs(source.index, Batch(kind="ddl", domains=domains), 0)
        sampler = DDLSampler(source.index, pairs, **options)
    elif kind == "mixed":
        sampler = MixedSampler(source.index, dict(zip(domains, (0.5, 0.5))), **options)
    elif kind == "identities":
        rows, labels = np.arange(len(source)), source.index.labels
        sampler = IdentitySampler(rows, labels, images_per_identity=2, **options)
    else:
        sampler = ImageSampler(np.arange(len(source)), **options)
    augment = augment or Augment(flip=flip, seed=seed)
    return HostBatches(source, sampler, size=SIZE, augment=augment, steps=steps, **hosts)


def _read(rows: HostBatches, step: int = 0, workers: int = 0) -> list[dict[str, np.ndarray]]:
    iterator = batches(rows, step=step, workers=workers)
    try:
        return list(iterator)
    finally:
        iterator.close()  # worker processes that are left warn, and a warning fails the test


def _assert_equal(some, others) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("kind, images", [("images", 1), ("ddl", 6)])
def test_batches_have_the_documented_shapes_and_types(source, kind, images):
    read = _read(_rows(source, kind=kind))
    assert len(read) == STEPS
    for batch in read:
        assert set(batch) == {"image", "label"}
        assert (batch["image"].shape, batch["image"].dtype) == ((B, images, *SIZE, 3), np.uint8)
        assert (batch["label"].shape, batch["label"].dtype) == ((B, images), np.int32)


def test_pixels_and_labels_are_those_of_the_sampled_records(source):
    rows = _rows(source, flip=False)
    for step, batch in enumerate(_read(rows)):
        records = rows._sampler.records(step)
        np.testing.assert_array_equal(batch["label"], source.index.labels[records])
        for row, images in zip(records, batch["image"]):
            for number, image in zip(row, images):
                expected = decode_image(source[int(number)]["image"], "x", SIZE)
                np.testing.assert_array_equal(image, expected)


def test_images_are_mirrored_one_by_one_half_of_the_time(source):
    straight, flipped = (_read(_rows(source, flip=flip)) for flip in (False, True))
    mirrored = []
    for before, after in zip(straight, flipped):
        np.testing.assert_array_equal(before["label"], after["label"])
        same = (after["image"] == before["image"]).all((2, 3, 4))
        turned = (after["image"] == before["image"][..., ::-1, :]).all((2, 3, 4))
        assert (same ^ turned).all()
        mirrored.append(turned)
    mirrored = np.concatenate(mirrored)  # [rows, images of a row]
    assert 0.3 < mirrored.mean() < 0.7  # of 120 images: 4.4 standard deviations
    assert (mirrored.any(1) & ~mirrored.all(1)).any()  # not whole rows
    assert (mirrored.any(0) & ~mirrored.all(0)).all()  # not always the same place of a row
    _assert_equal(flipped, _read(_rows(source)))


def test_another_seed_mirrors_others(source):
    one, other = (
        HostBatches(
            source,
            ImageSampler(np.arange(len(source)), batch_size=B, seed=0),
            size=SIZE,
            augment=Augment(seed=seed),
            steps=STEPS,
        )
        for seed in (0, 1)
    )
    images = [np.stack([batch["image"] for batch in _read(rows)]) for rows in (one, other)]
    assert (images[0] != images[1]).any()


KINDS = ("ddl", "images", "mixed", "identities")
DEGRADING = Augment(
    shares=[(0.5, parse_recipe("rotate:5..20+noise:5..20"))],
    made={"cctv": parse_recipe("cctv")},
    seed=3,
)


def _joined(parts: list[list[dict[str, np.ndarray]]]) -> list[dict[str, np.ndarray]]:
    """The global batches of those of all hosts."""
    return [
        {name: np.concatenate([part[name] for part in batch]) for name in batch[0]}
        for batch in zip(*parts)
    ]


@pytest.fixture(scope="module")
def made(source) -> MadeDomains:
    return MadeDomains(source, "easy", ("cctv",))


@pytest.fixture(scope="module")
def whole(made) -> dict[str, list[dict[str, np.ndarray]]]:
    """All batches of every kind, from one host, its threads, and the first step on."""
    return {kind: _read(_rows(made, kind=kind, augment=DEGRADING)) for kind in KINDS}


def test_made_domains_are_degraded_in_the_batch(made, whole):
    records = _rows(made)._sampler.records(0)
    assert set(made.index.domains[records[:, 3:]].ravel()) == {"cctv"}
    straight = _read(_rows(made, augment=Augment(flip=False)))[0]["image"]
    changed = (whole["ddl"][0]["image"] != straight).any((2, 3, 4))
    assert changed[:, 3:].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hosts", [1, 2, 4])
@pytest.mark.parametrize("step", range(STEPS))
def test_hosts_and_restarts_make_the_same_global_batches(made, whole, kind, hosts, step):
    parts = [
        _read(_rows(made, kind=kind, augment=DEGRADING, host=host, hosts=hosts), step)
        for host in range(hosts)
    ]
    _assert_equal(_joined(parts), whole[kind][step:])


class _OneAfterTheOther:
    """Batches of every kind for every host of 1, 2 and 4, as one run has its own by step.

    Worker processes take seconds to start: so they make all of them in one go.
    """

    def __init__(self, parts: list[HostBatches]):
        self._parts, self.nbytes = parts, max(part.nbytes for part in parts)

    def __len__(self) -> int:
        return STEPS * len(self._parts)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return self._parts[number // STEPS][number % STEPS]


@pytest.fixture(scope="module")
def everything(made) -> _OneAfterTheOther:
    return _OneAfterTheOther(
        [
            _rows(made, kind=kind, augment=DEGRADING, host=host, hosts=hosts)
            for kind in KINDS
            for hosts in (1, 2, 4)
            for host in range(hosts)
        ]
    )


@pytest.fixture(scope="module")
def expected(whole) -> list[dict[str, np.ndarray]]:
    """The same batches, cut out of those of one host and its threads."""
    return [
        {name: array[host * B // hosts : (host + 1) * B // hosts] for name, array in batch.items()}
        for kind in KINDS
        for hosts in (1, 2, 4)
        for host in range(hosts)
        for batch in whole[kind]
    ]


def _starts(workers: int, count: int) -> list:
    return [(workers, start) for start in np.random.default_rng(workers).permutation(140)[:count]]


@pytest.mark.parametrize(
    "workers, start",
    [(2, 1), (3, 2)]
    + [pytest.param(*one, marks=pytest.mark.long) for w in (1, 2, 3, 4) for one in _starts(w, 8)],
)
def test_workers_make_the_same_batches_for_any_host_from_any_step(
    everything, expected, workers, start
):
    assert len(everything) == len(expected) == 140
    _assert_equal(_read(everything, start, workers), expected[start:])


def test_a_batch_that_hosts_cannot_share_is_refused(source):
    with pytest.raises(UserError, match="batch_size is 4, which 3 hosts cannot share"):
        _rows(source, hosts=3)


def test_an_image_that_cannot_be_read_any_more_is_named(tmp_path):
    root = write_faces(tmp_path, 6)
    source = ImageFolderSource(str(root))
    for path in source.index.paths:
        (root / path).write_bytes(b"")
    with pytest.raises(UserError, match="easy/.*png is not a readable image"):
        _read(_rows(source, kind="images"))


def _kill_worker() -> None:
    """As the kernel does to the process that has taken the last memory."""
    worker = multiprocessing.active_children()[0]
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()


def test_a_worker_that_is_killed_costs_no_batch(made):
    said: list[str] = []
    rows = _rows(made, augment=DEGRADING, steps=20)  # more than workers make ahead
    iterator = batches(rows, step=0, workers=2, tell=said.append)
    found = [next(iterator)]
    _kill_worker()
    found += iterator
    _assert_equal(found, _read(rows))
    assert len(said) == 1 and said[0].startswith("ATTENTION: a data worker process ended before")


class _Deadly:
    """A source whose images take the process down that reads them."""

    def __init__(self, source):
        self._source, self.index = source, source.index

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int):
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._source[number]


def test_workers_that_always_die_end_the_run_with_the_reason(source):
    said: list[str] = []
    rows = _rows(_Deadly(source), kind="images")
    with pytest.raises(UserError, match="step 3 .*exit code -9.* again .*config.data.workers"):
        next(batches(rows, step=2, workers=1, tell=said.append))
    assert len(said) == 1
