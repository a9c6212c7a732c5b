"""Record numbers, labels and identities: parts of a source, and fingerprints of the whole."""

import dataclasses

import numpy as np
import pytest

from ddl_jax.data.source import (
    RecordIndex,
    Subset,
    check_labels,
    make_index,
    natural_key,
    select_identities,
)
from ddl_jax.errors import UserError

NAMES = ("s2", "s10", "s1", "s10", "s3", "s2")


class Listed:
    """A source of records without pixels, one for each name."""

    def __init__(self, identities=NAMES):
        paths = [f"{number}.png" for number in range(len(identities))]
        self.index = make_index(
            identities, paths, ["easy"] * len(identities), range(len(identities))
        )

    def __len__(self):
        return len(self.index)

    def __getitem__(self, number):
        index = self.index
        return {
            "image": b"%d" % number,
            "label": int(index.labels[number]),
            "identity": str(index.identities[number]),
            "path": str(index.paths[number]),
            "domain": str(index.domains[number]),
        }


def test_natural_order():
    names = ["s10", "s2", "s2b", "s", "2", "10", "s2.5", "S1", "s02", "1a1", "1a"]
    assert sorted(names, key=natural_key) == [
        "1a",
        "1a1",
        "2",
        "10",
        "S1",
        "s",
        "s02",
        "s2",
        "s2.5",
        "s2b",
        "s10",
    ]


def test_labels_number_the_identities_in_natural_order():
    assert Listed().index.labels.tolist() == [1, 3, 0, 3, 2, 1]
    assert Listed().index.classes == 4


def test_rows_of_a_domain_are_in_order():
    index = make_index(["a"] * 4, list("wxyz"), ["hard", "easy", "hard", "dark"], range(4))
    assert index.rows_of("hard").tolist() == [0, 2]
    assert index.rows_of("nowhere").tolist() == []


@pytest.mark.parametrize(
    "ranges, expected",
    [
        ("s1..s3", ["s2", "s1", "s3", "s2"]),
        ("s3..s10", ["s10", "s10", "s3"]),
        ("s10", ["s10", "s10"]),
        ("s1, s10", ["s10", "s1", "s10"]),
        ("s1..s2,s2..s3", ["s2", "s1", "s3", "s2"]),
    ],
)
def test_identities_are_chosen_by_ranges_with_both_ends(ranges, expected):
    part = select_identities(Listed(), ranges, "config.data.identities")
    assert part.index.identities.tolist() == expected
    # The images of an identity stay its own, and the labels have no gaps.
    for number in range(len(part)):
        record = part[number]
        assert record["identity"] == expected[number]
        assert NAMES[int(record["image"])] == expected[number]
        assert record["label"] == part.index.labels[number]
        assert record["path"] == part.index.paths[number]
    names = sorted(set(expected), key=natural_key)
    assert part.index.labels.tolist() == [names.index(name) for name in expected]


def test_no_ranges_are_all_identities():
    source = Listed()
    assert select_identities(source, "", "x") is source


@pytest.mark.parametrize(
    "ranges, told",
    [
        ("s4", "'s4', which is not there; identities go from s1 to s10"),
        ("s1..s9", "'s9', which is not there"),
        ("s1,", "''"),
        ("s10..s2", "empty range 's10..s2'"),
    ],
)
def test_ranges_that_name_nobody_are_refused(ranges, told):
    with pytest.raises(UserError) as caught:
        select_identities(Listed(), ranges, "config.data.identities")
    assert str(caught.value).startswith("config.data.identities") and told in str(caught.value)


def test_a_subset_of_a_subset_reads_the_right_records():
    part = Subset(Subset(Listed(), np.array([5, 3, 2, 1])), np.array([3, 0]))
    assert [record["image"] for record in part] == [b"1", b"5"]
    assert [record["label"] for record in part] == [1, 0]


@pytest.mark.parametrize("column", [field.name for field in dataclasses.fields(RecordIndex)])
def test_the_fingerprint_changes_with_every_column(column):
    numbers = [str(n) for n in range(len(NAMES))]
    index = make_index(NAMES, numbers, numbers, range(len(NAMES)))
    values = getattr(index, column).copy()
    values[[0, 1]] = values[[1, 0]]
    swapped = dataclasses.replace(index, **{column: values})
    assert swapped.fingerprint() != index.fingerprint()
    again = make_index(NAMES, numbers, numbers, range(len(NAMES)))
    assert again.fingerprint() == index.fingerprint()
    same_names = swapped.fingerprint(contents=False) == index.fingerprint(contents=False)
    assert same_names == (column == "checksums")


def test_the_fingerprint_changes_with_the_order_and_the_number_of_records():
    whole = Listed(("a", "a", "b"))
    prints = [Subset(whole, np.array(rows)).index.fingerprint() for rows in ([0, 1], [1, 0], [0])]
    assert len({*prints, whole.index.fingerprint()}) == 4


def _labels(labels) -> tuple[np.ndarray, list[str]]:
    return np.array(labels, np.int64), [f"image {label}" for label in labels]


@pytest.mark.parametrize(
    "labels, told",
    [
        ([0, 1, 3], "reach 3 but none is 2"),
        ([1, 2], "reach 2 but none is 0"),
        ([0, 10**9], "reach 1000000000 but none is 1,"),
        ([0, -1, 1], "image -1 has label -1"),
        ([], "has no image"),
    ],
)
def test_labels_that_are_no_class_numbers_are_refused(labels, told):
    with pytest.raises(UserError) as caught:
        check_labels(*_labels(labels), "here")
    assert str(caught.value).startswith("here") and told in str(caught.value)


def test_class_numbers_in_any_order_are_taken():
    check_labels(*_labels([2, 0, 1, 0]), "here")


def test_a_subset_may_have_domains_of_its_own():
    part = Subset(Listed(), np.array([3, 1]), ["hard", "dark"])
    assert [record["domain"] for record in part] == ["hard", "dark"]
    assert part.index.domains.tolist() == ["hard", "dark"]
