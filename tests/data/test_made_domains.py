"""Domains made of the easy images: records like any others."""

import pickle

import numpy as np
import pytest

from ddl_jax.config import Batch
from ddl_jax.data.image_folder import ImageFolderSource
from ddl_jax.data.made_domains import MadeDomains
from ddl_jax.data.pairs import make_pairs, pairs_name, read_pairs, write_pairs
from ddl_jax.errors import UserError

from .image_files import write_faces

MADE = ("cctv", "night")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> ImageFolderSource:
    root = write_faces(tmp_path_factory.mktemp("faces"), 4, domains=("easy", "hard"), images=3)
    return ImageFolderSource(str(root), domain_rules=("*/easy/*=easy", "*=hard"))


@pytest.fixture
def source(real) -> MadeDomains:
    return MadeDomains(real, "easy", MADE)


def test_real_images_keep_their_numbers_and_made_ones_follow(real, source):
    assert len(source) == len(source.index) == 24 + 2 * 12
    assert [source[number] for number in range(len(real))] == list(real)
    assert source.index.classes == real.index.classes
    for domain in MADE:
        easy, made = real.index.rows_of("easy"), source.index.rows_of(domain)
        for one, other in zip(easy, made, strict=True):
            record = real[int(one)]
            path = f"{record['path']}#{domain}"
            assert source[int(other)] == record | {"path": path, "domain": domain}
            assert source.index.paths[other] == path
            assert source.index.checksums[other] == real.index.checksums[one]
    assert len(set(source.index.paths.tolist())) == len(source)


def test_worker_processes_get_numbers_and_no_text(real, source):
    assert source.index is source.index
    sent = pickle.dumps(source)
    assert len(sent) < len(pickle.dumps(real)) + 8 * 12 + 500  # the rows of the easy images
    there = pickle.loads(sent)
    assert list(there) == list(source)
    np.testing.assert_array_equal(there.index.paths, source.index.paths)


def test_the_data_are_other_data_with_every_made_domain(real, source):
    one = MadeDomains(real, "easy", MADE[:1])
    prints = {s.index.fingerprint() for s in (real, one, source)}
    assert len(prints) == 3


def test_a_domain_that_is_there_is_not_made(real):
    with pytest.raises(UserError, match="makes 'hard', but the data have images of this domain"):
        MadeDomains(real, "easy", ("hard",))


@pytest.mark.parametrize("pairs", ["same_domain", "easy_hard"])
def test_pairs_of_a_made_domain_are_of_two_images(source, pairs, tmp_path):
    batch = Batch(kind="ddl", domains=("easy", *MADE), pairs=pairs)
    made = make_pairs(source.index, batch, 0)
    index = source.index
    for domain in MADE:
        first, second = made[domain].T
        assert set(index.domains[first]) == {"easy" if pairs == "easy_hard" else domain}
        assert set(index.domains[second]) == {domain}
        np.testing.assert_array_equal(index.labels[first], index.labels[second])
        assert (index.checksums[first] != index.checksums[second]).all()
        # Of three images three pairs; with one of the two degraded, twice as many.
        assert len(made[domain]) == 4 * (6 if pairs == "easy_hard" else 3)
    write_pairs(tmp_path / "pairs.csv", index, made)
    read = read_pairs(tmp_path / "pairs.csv", index, batch)
    for domain, rows in made.items():
        np.testing.assert_array_equal(read[domain], rows)


def test_pairs_stay_with_another_recipe_and_not_with_another_domain(real, source):
    batch = Batch(kind="ddl", domains=("easy", *MADE), degradations=("cctv=cctv", "night=night"))
    other = Batch(kind="ddl", domains=("easy", *MADE), degradations=("cctv=jpeg:9", "night=night"))
    assert pairs_name(source.index, batch, 0) == pairs_name(source.index, other, 0)
    again = MadeDomains(real, "easy", ("cctv", "dusk"))
    assert pairs_name(again.index, batch, 0) != pairs_name(source.index, batch, 0)
