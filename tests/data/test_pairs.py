"""Positive pairs: which there are, and the file that keeps them."""

import dataclasses
import hashlib
import tracemalloc

import numpy as np
import pytest
from etils import epath

from ddl_jax.config import Batch
from ddl_jax.data import pairs as pairs_lib
from ddl_jax.data.source import RecordIndex, make_index
from ddl_jax.errors import UserError

BATCH = Batch(kind="ddl", domains=("easy", "hard"))


def _index(*records: str) -> RecordIndex:
    """An index of records "identity domain"; the image of number n has the path "n.png"."""
    identities, domains = zip(*(record.split() for record in records))
    return make_index(
        identities, [f"{n}.png" for n in range(len(records))], domains, range(len(records))
    )


@pytest.fixture
def index() -> RecordIndex:
    # Domains and identities lie scattered, as in a data set that was shuffled.
    return _index(
        "b hard", "a easy", "b easy", "a hard", "a easy", "b hard", "a easy", "c hard", "c easy"
    )


def _sets(rows: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row) for row in rows.tolist()}


def test_pairs_of_the_same_domain_by_hand(index):
    pairs = pairs_lib.make_pairs(index, BATCH, seed=0)
    assert list(pairs) == ["easy", "hard"]
    # a has the easy images 1, 4 and 6; b the hard ones 0 and 5; nobody else has two.
    assert _sets(pairs["easy"]) == {(1, 4), (1, 6), (4, 6)}
    assert _sets(pairs["hard"]) == {(0, 5)}


def test_easy_hard_pairs_by_hand(index):
    batch = dataclasses.replace(BATCH, pairs="easy_hard")
    pairs = pairs_lib.make_pairs(index, batch, seed=0)
    assert _sets(pairs["easy"]) == {(1, 4), (1, 6), (4, 6)}  # the teacher's are all easy
    assert _sets(pairs["hard"]) == {(1, 3), (4, 3), (6, 3), (2, 0), (2, 5), (8, 7)}


def test_the_teacher_is_the_first_domain_whatever_its_name(index):
    batch = Batch(kind="ddl", domains=("hard", "easy"), pairs="easy_hard")
    pairs = pairs_lib.make_pairs(index, batch, seed=0)
    assert list(pairs) == ["hard", "easy"]
    assert _sets(pairs["hard"]) == {(0, 5)}
    assert _sets(pairs["easy"]) == {(3, 1), (3, 4), (3, 6), (0, 2), (5, 2), (7, 8)}


def test_outliers_are_dropped_before_the_choice(index):
    def apart(rows: np.ndarray) -> np.ndarray:
        return np.abs(rows[:, 0] - rows[:, 1]) >= 3

    one = dataclasses.replace(BATCH, pairs_per_identity=1)
    for seed in range(5):
        pairs = pairs_lib.make_pairs(index, one, seed, apart)
        # Of a's easy pairs (1, 4), (1, 6) and (4, 6) the last is none, and never uses up the place.
        assert _sets(pairs["easy"]) <= {(1, 4), (1, 6)} and len(pairs["easy"]) == 1
        assert _sets(pairs["hard"]) == {(0, 5)}
    with pytest.raises(UserError, match="'hard' has no positive pair .* taken for outliers"):
        pairs_lib.make_pairs(index, BATCH, 0, lambda rows: rows[:, 1] - rows[:, 0] < 5)


def test_a_named_file_takes_the_place_of_pairs_made(index, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("domain,first,second\neasy,1.png,6.png\nhard,0.png,5.png\n")
    batch = dataclasses.replace(BATCH, pairs_file=str(file))
    pairs, path = pairs_lib.load_or_make_pairs(index, batch, 0, [])
    assert path == epath.Path(file)
    assert {domain: rows.tolist() for domain, rows in pairs.items()} == {
        "easy": [[1, 6]],
        "hard": [[0, 5]],
    }
    batch = dataclasses.replace(BATCH, pairs_file="none.csv")
    with pytest.raises(UserError, match="no file 'none.csv'"):
        pairs_lib.load_or_make_pairs(index, batch, 0, [])


@pytest.mark.parametrize("how", ["same_domain", "easy_hard"])
def test_an_identity_gets_no_more_pairs_than_allowed(how):
    index = _index(*["a easy", "a hard"] * 5, *["b easy", "b hard"] * 2)
    batch = dataclasses.replace(BATCH, pairs=how, pairs_per_identity=4)
    counts = {}
    for domain, rows in pairs_lib.make_pairs(index, batch, seed=0).items():
        assert len(_sets(rows)) == len(rows)  # no pair twice
        counts[domain] = np.bincount(index.labels[rows[:, 0]]).tolist()
    # a has 10 or 25 pairs; b has one of its own two images, or each of two with each of two.
    assert counts == {"easy": [4, 1], "hard": [4, 1 if how == "same_domain" else 4]}


def test_which_pairs_are_kept_depends_on_the_seed_alone():
    index = _index(*["a easy"] * 9, *["a hard"] * 9)
    batch = dataclasses.replace(BATCH, pairs_per_identity=5)
    first, again, other = (pairs_lib.make_pairs(index, batch, seed) for seed in (0, 0, 1))
    for domain in BATCH.domains:
        np.testing.assert_array_equal(first[domain], again[domain])
        assert _sets(first[domain]) != _sets(other[domain])


@pytest.mark.parametrize(
    "how, outliers, drawn",
    [
        ("same_domain", False, "0af03f3be7b975ea"),
        ("same_domain", True, "c67e97452c66ff4d"),
        ("easy_hard", False, "c86cd42c6611a561"),
        ("easy_hard", True, "9184148e709aea19"),
    ],
)
def test_the_same_pairs_are_chosen_by_later_versions(how, outliers, drawn):
    """With images of one checksum here and there, which are no pair of easy and hard."""
    rng, count = np.random.default_rng(0), 600
    identities = [str(number) for number in rng.integers(0, 25, count)]
    domains = rng.choice(["easy", "hard", "dark"], count).tolist()
    paths, checksums = [str(n) for n in range(count)], rng.integers(0, 40, count).tolist()
    index = make_index(identities, paths, domains, checksums)
    batch = Batch(kind="ddl", domains=("easy", "hard", "dark"), pairs=how, pairs_per_identity=7)
    accept = (lambda rows: rows.sum(axis=1) % 3 > 0) if outliers else None
    pairs = pairs_lib.make_pairs(index, batch, 5, accept)
    content = b"".join(rows.astype(np.int64).tobytes() for rows in pairs.values())
    assert hashlib.sha256(content).hexdigest()[:16] == drawn


@pytest.mark.parametrize("images", [2000, 6000])
def test_an_identity_of_thousands_of_images_does_not_fill_the_memory(images):
    """6,000 images have 18 million pairs, as tuples 2 GB."""
    zeros = np.zeros(images, np.int64)
    paths = np.arange(images).astype(str)
    index = RecordIndex(zeros, zeros.astype(str), paths, np.full(images, "easy"), zeros)
    tracemalloc.start()
    try:
        pairs = pairs_lib.make_pairs(index, Batch(kind="ddl", domains=("easy",)), 0)["easy"]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20e6
    assert len(_sets(pairs)) == Batch().pairs_per_identity and (pairs[:, 0] < pairs[:, 1]).all()


@pytest.mark.parametrize(
    "how, records",
    [
        ("same_domain", ["a easy", "a easy", "a hard", "b hard"]),
        ("easy_hard", ["a easy", "a easy", "b hard", "b hard"]),
    ],
)
def test_a_domain_without_a_pair_is_refused(how, records):
    batch = dataclasses.replace(BATCH, pairs=how)
    with pytest.raises(UserError) as caught:
        pairs_lib.make_pairs(_index(*records), batch, seed=0)
    assert str(caught.value).startswith("domain 'hard' has no positive pair")
    assert "easy (2 images), hard (2 images)" in str(caught.value)


def test_the_file_holds_all_pairs_in_order(index, tmp_path):
    file, pairs = epath.Path(tmp_path / "pairs.csv"), pairs_lib.make_pairs(index, BATCH, seed=3)
    pairs_lib.write_pairs(file, index, pairs)
    again = pairs_lib.read_pairs(file, index, BATCH)
    assert list(again) == list(pairs)
    for domain in pairs:
        np.testing.assert_array_equal(again[domain], pairs[domain])
    assert file.read_text().splitlines()[0] == "domain,first,second"
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]  # nothing temporary is left


def test_names_with_commas_and_quotes_survive_the_file(tmp_path):
    paths = ["a, b.png", 'the "best".png', "ä.png", "d.png"]
    index = make_index("aaaa", paths, ["easy", "easy", "hard", "hard"], range(4))
    pairs = pairs_lib.make_pairs(index, BATCH, seed=0)
    file = epath.Path(tmp_path / "pairs.csv")
    pairs_lib.write_pairs(file, index, pairs)
    again = pairs_lib.read_pairs(file, index, BATCH)
    assert _sets(again["easy"]) == {(0, 1)}
    assert _sets(again["hard"]) == {(2, 3)}


def test_an_edited_file_is_used_as_it_stands(index, tmp_path):
    directories = [epath.Path(tmp_path)]
    pairs, file = pairs_lib.load_or_make_pairs(index, BATCH, 0, directories)
    assert file is None and not list(tmp_path.iterdir())  # making pairs writes nothing
    name = pairs_lib.pairs_name(index, BATCH, 0)
    kept = pairs_lib.keep_pairs(index, pairs, name, directories)
    # Someone struck out a pair, turned another around and left an empty line.
    kept.write_text("domain,first,second\nhard,0.png,5.png\n\neasy,6.png,1.png\n")
    edited, file = pairs_lib.load_or_make_pairs(index, BATCH, 0, directories)
    assert file == kept
    assert {name: rows.tolist() for name, rows in edited.items()} == {
        "easy": [[6, 1]],
        "hard": [[0, 5]],
    }


@pytest.mark.parametrize(
    "row, told",
    [
        ("hard,0.png,9.png", "'9.png' is not in the data"),
        ("dark,0.png,5.png", "'dark' is not in the data"),
        ("hard,0.png", "not as many values as columns"),
        ("hard,0.png,3.png", "different identities"),
        ("hard,5.png,5.png", "both images are 5.png"),
        ("hard,1.png,3.png", "1.png is not of domain 'hard'"),
        ("hard,3.png,1.png", "1.png is not of domain 'hard'"),
        ("easy,1.png,3.png", "3.png is not of domain 'easy'"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(index, tmp_path, row, told):
    file = epath.Path(tmp_path / "pairs.csv")
    file.write_text(f"domain,first,second\neasy,1.png,4.png\n\nhard,0.png,5.png\n{row}\n")
    with pytest.raises(UserError) as caught:
        pairs_lib.read_pairs(file, index, BATCH)
    assert str(caught.value).startswith(f"{file} line 5: ") and told in str(caught.value)


def test_the_first_of_an_easy_hard_pair_is_easy(index, tmp_path):
    batch = dataclasses.replace(BATCH, pairs="easy_hard")
    file = epath.Path(tmp_path / "pairs.csv")
    file.write_text("domain,first,second\neasy,1.png,4.png\nhard,1.png,3.png\n")
    assert pairs_lib.read_pairs(file, index, batch)["hard"].tolist() == [[1, 3]]
    file.write_text("domain,first,second\neasy,1.png,4.png\nhard,0.png,5.png\n")
    with pytest.raises(UserError, match="0.png is not of domain 'easy'"):
        pairs_lib.read_pairs(file, index, batch)


@pytest.mark.parametrize("content", [b"", b"domain;first;second\n", b"\xff\xfed\0o\0"])
def test_a_file_that_is_no_table_of_pairs_is_refused(index, tmp_path, content):
    file = epath.Path(tmp_path / "pairs.csv")
    file.write_bytes(content)
    with pytest.raises(UserError, match="no column 'domain'|not UTF-8"):
        pairs_lib.read_pairs(file, index, BATCH)


@pytest.mark.parametrize(
    "content", ["domain,first,second\n", "domain,first,second\neasy,1.png,4.png\n"]
)
def test_a_file_without_pairs_of_a_domain_is_refused(index, tmp_path, content):
    file = epath.Path(tmp_path / "pairs.csv")
    file.write_text(content)
    with pytest.raises(UserError, match="has no pair of domain"):
        pairs_lib.read_pairs(file, index, BATCH)


def test_of_two_runs_that_start_together_the_second_takes_the_same_place(index, tmp_path):
    pairs, folder = pairs_lib.make_pairs(index, BATCH, seed=0), epath.Path(tmp_path)
    for _ in range(2):  # both have seen no file, and both write it
        assert pairs_lib.keep_pairs(index, pairs, "p.csv", [folder]) == folder / "p.csv"
    assert [path.name for path in folder.iterdir()] == ["p.csv"]


def test_pairs_go_to_the_first_directory_that_can_be_written(index, tmp_path):
    (tmp_path / "data").write_text("a file, which nobody can write into, root included")
    directories = [epath.Path(tmp_path / "data" / ".ddl_jax"), epath.Path(tmp_path / "run")]
    pairs = pairs_lib.make_pairs(index, BATCH, seed=0)
    name = pairs_lib.pairs_name(index, BATCH, 0)
    assert pairs_lib.keep_pairs(index, pairs, name, directories) == directories[1] / name
    _, file = pairs_lib.load_or_make_pairs(index, BATCH, 0, directories)
    assert file == directories[1] / name
    with pytest.raises(UserError, match="cannot be written to any of"):
        pairs_lib.keep_pairs(index, pairs, name, directories[:1])


def test_pairs_beside_the_data_come_before_those_of_the_run(index, tmp_path):
    directories = [epath.Path(tmp_path / "data" / ".ddl_jax"), epath.Path(tmp_path / "run")]
    pairs = pairs_lib.make_pairs(index, BATCH, seed=0)
    name = pairs_lib.pairs_name(index, BATCH, 0)
    for places in (directories[1:], directories):
        pairs_lib.keep_pairs(index, pairs, name, places)
        _, file = pairs_lib.load_or_make_pairs(index, BATCH, 0, directories)
        assert file == places[0] / name


def test_other_settings_or_data_have_another_file(index):
    batches = [
        BATCH,
        dataclasses.replace(BATCH, domains=("hard", "easy")),
        dataclasses.replace(BATCH, pairs="easy_hard"),
        dataclasses.replace(BATCH, pairs_per_identity=3),
    ]
    names = [pairs_lib.pairs_name(index, batch, 0) for batch in batches]
    names.append(pairs_lib.pairs_name(index, BATCH, 1))
    renamed = dataclasses.replace(index, paths=np.char.add("x", index.paths))
    names.append(pairs_lib.pairs_name(renamed, BATCH, 0))
    assert len(set(names)) == len(names)
    # What does not change the pairs does not change the file.
    aligned = dataclasses.replace(index, checksums=index.checksums + 1)
    assert pairs_lib.pairs_name(aligned, BATCH, 0) == names[0]
    assert pairs_lib.pairs_name(index, dataclasses.replace(BATCH, flip=False), 0) == names[0]
