"""From step numbers to pixels: one global batch, whoever makes it."""

import numpy as np
import pytest

from ddl_jax.config import Batch
from ddl_jax.data.decode import decode_image
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.pairs import make_pairs
from ddl_jax.data.pipeline import BatchRows, batches
from ddl_jax.data.sampling import DDLSampler, ImageSampler
from ddl_jax.errors import UserError

from .image_files import write_faces

SIZE = (18, 16)
STEPS = 5
B = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> ImageFolderSource:
    root = write_faces(tmp_path_factory.mktemp("faces"), 6, domains=("easy", "hard"), images=2)
    return ImageFolderSource(str(root), domain_rules=("*/easy/*=easy", "*=hard"))


def _rows(source, *, flip=True, seed=0, kind="ddl", **hosts) -> BatchRows:
    if kind == "ddl":
        pairs = make_pairs(source.index, Batch(kind="ddl", domains=("easy", "hard")), 0)
        sampler = DDLSampler(source.index, pairs, batch_size=B, seed=seed)
    else:
        sampler = ImageSampler(np.arange(len(source)), batch_size=B, seed=seed)
    return BatchRows(source, sampler, size=SIZE, flip=flip, seed=seed, steps=STEPS, **hosts)


def _read(rows: BatchRows, step: int = 0, workers: int = 0) -> list[dict[str, np.ndarray]]:
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
        BatchRows(
            source,
            ImageSampler(np.arange(len(source)), batch_size=B, seed=0),
            size=SIZE,
            flip=True,
            seed=seed,
            steps=STEPS,
        )
        for seed in (0, 1)
    )
    images = [np.stack([batch["image"] for batch in _read(rows)]) for rows in (one, other)]
    assert (images[0] != images[1]).any()


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("step", [0, 3])
def test_the_rows_of_all_hosts_make_the_global_batch(source, hosts, step):
    whole = _read(_rows(source))[step:]
    parts = [_read(_rows(source, host=host, hosts=hosts), step) for host in range(hosts)]
    joined = [
        {name: np.concatenate([part[name] for part in batch]) for name in batch[0]}
        for batch in zip(*parts)
    ]
    _assert_equal(joined, whole)


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_run_that_goes_on_sees_the_batches_it_would_have_seen(source, step):
    _assert_equal(_read(_rows(source), step), _read(_rows(source))[step:])


def test_worker_processes_make_the_same_batches(source):
    rows = _rows(source, host=1, hosts=2)
    rows[0]  # a cache that has been used must not hinder the way to other processes
    _assert_equal(_read(rows, step=2, workers=2), _read(rows, step=2))


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
