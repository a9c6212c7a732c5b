"""Pairs by hand, and the reader's refusals by line."""

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation import pairs_protocol, read_pairs, verification_accuracy

ROWS = [f"{i % 2},{i}/a.jpg,{i}/b.jpg,{i // 2 % 2}" for i in range(12)]


def write(tmp_path, rows, header="fold,first,second,same"):
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def test_agrees_with_verification_accuracy():
    rng = np.random.default_rng(0)
    embeddings, same = rng.normal(size=(30, 4)), rng.random(200) < 0.5
    first, second = rng.integers(0, 30, (2, 200))
    result = pairs_protocol(embeddings, first, second, same).metrics
    interleaved = embeddings[np.stack([first, second], axis=1).ravel()]
    expected = verification_accuracy(interleaved, same)
    assert result["accuracy"] == expected["accuracy"]
    assert result["threshold"] == pytest.approx(np.mean(expected["thresholds"]))


def test_by_hand():
    # Rows at 0, 60 and 90 degrees. Genuine cosines 1/2, sqrt(3)/2; impostors 0, 0.
    degrees = np.deg2rad([0, 60, 90])
    embeddings = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    result = pairs_protocol(
        embeddings, [0, 0, 1, 2], [1, 2, 2, 0], [1, 0, 1, 0], fold=[0, 0, 1, 1], fars=[0.5, 0.1]
    ).metrics
    assert result["separation"] == pytest.approx((0.5 + 3**0.5 / 2) / 2)
    assert result["eer"] == 0 and result["pairs"] == 4
    assert result["auc"] == 1 and result["overlap"] == 0
    assert result["false_accepts_at_far_0.5"] == 0
    assert np.isnan(result["tar_at_far_0.5"]) and np.isnan(result["tar_at_far_0.1"])  # 2 impostors


@pytest.mark.parametrize("same, message", [([1, 1], "both kinds"), ([1], "as many of each")])
def test_refuses(same, message):
    with pytest.raises(ValueError, match=message):
        pairs_protocol(np.eye(2), [0, 0], [1, 1], same)


def test_reads(tmp_path):
    pairs = read_pairs(write(tmp_path, [*ROWS[:6], "", *ROWS[6:]]))
    np.testing.assert_array_equal(pairs.fold, [0, 1] * 6)
    np.testing.assert_array_equal(pairs.same, [False, False, True, True] * 3)
    numbers = [int(line.rsplit(" ", 1)[1]) for line in pairs.lines]
    assert numbers == [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14]
    assert len(pairs.images) == 24
    first, second = pairs.rows(pairs.images)
    assert [pairs.images[i] for i in first] == list(pairs.first)
    assert [pairs.images[i] for i in second] == list(pairs.second)


def test_fold_may_be_left_out(tmp_path):
    rows = [row.split(",", 1)[1] for row in ROWS]
    assert read_pairs(write(tmp_path, rows, "first,second,same")).fold is None


def test_names_the_line_of_an_image_that_is_not_there(tmp_path):
    pairs = read_pairs(write(tmp_path, ROWS))
    with pytest.raises(UserError, match="line 5: there is no image '3/a.jpg'"):
        pairs.rows([image for image in pairs.images if image != "3/a.jpg"])


@pytest.mark.parametrize(
    "row, message",
    [
        ("1,a.jpg,b.jpg", "line 4: not as many values"),
        ("1,a.jpg,b.jpg,1,1", "line 4: not as many values"),
        ('1,"a"x,b.jpg,1', "line 4: "),
        ("1,a.jpg,b.jpg,yes", "line 4: same is 'yes'"),
        ("x,a.jpg,b.jpg,1", "line 4: fold is 'x'"),
        ("1,/a.jpg,b.jpg,1", "line 4: first is '/a.jpg'"),
        ("1,a.jpg,../b.jpg,1", "line 4: second is '../b.jpg'"),
        ("1,a.jpg,,1", "line 4: second is ''"),
        ("1,a.jpg,a.jpg,1", "line 4: 'a.jpg' is paired with itself"),
    ],
)
def test_refuses_a_bad_row_by_its_line(tmp_path, row, message):
    with pytest.raises(UserError, match=message) as error:
        read_pairs(write(tmp_path, [*ROWS[:2], row, *ROWS[2:]]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "rows, header, message",
    [
        (ROWS, "fold,a,b,same", "line 1: no column 'first', only fold,a,b,same"),
        (ROWS[:4], "fold,first,second,same", "4 pairs in 2 folds"),
        (ROWS[::2] * 2, "fold,first,second,same", "12 pairs in 1 folds"),
        ([row[2:] for row in ROWS[:4]], "first,second,same", "csv: 4 pairs: give at least 10"),
        ([row[:-1] + "1" for row in ROWS], "fold,first,second,same", "same is 1 on every line"),
    ],
)
def test_refuses_a_file(tmp_path, rows, header, message):
    with pytest.raises(UserError, match=message):
        read_pairs(write(tmp_path, rows, header))


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_pairs(tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="only an empty line"):
        read_pairs(tmp_path / "empty.csv")
    (tmp_path / "excel.csv").write_text("first,second,same\n", encoding="utf-16")
    with pytest.raises(UserError, match="not UTF-8 text"):
        read_pairs(tmp_path / "excel.csv")


def test_bounds_over_identities():
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(40), 3)
    embeddings = rng.normal(size=(40, 8))[ids] + 0.8 * rng.normal(size=(120, 8))
    first, second = rng.integers(0, 120, (2, 4000))
    first[::3], second[::3] = 3 * (first[::3] // 3), 3 * (first[::3] // 3) + 1
    same = ids[first] == ids[second]
    plain = pairs_protocol(embeddings, first, second, same, fars=[0.1, 1e-3]).metrics
    found = pairs_protocol(
        embeddings, first, second, same, fars=[0.1, 1e-3], identities=ids, samples=200
    ).metrics
    bounded = ("accuracy", "tar_at_far_0.1", "eer", "auc", "overlap", "separation", "d_prime")
    for name, value in plain.items():
        if not name.endswith(("_low", "_high")):
            np.testing.assert_equal(found[name], value)
    for name in bounded:
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"], name
    assert np.isnan(found["tar_at_far_0.001_low"])  # as the value: too few impostors
    # The same numbers for people of other names.
    named = np.array([f"person {i}" for i in range(40)])[ids]
    again = pairs_protocol(
        embeddings, first, second, same, fars=[0.1, 1e-3], identities=named, samples=200
    ).metrics
    assert again["pairs"] == found["pairs"] and again["accuracy"] == found["accuracy"]


@pytest.mark.parametrize(
    "identities, message",
    [([1, 2, 3], r"identities \(3,\) of 2 images"), ([1, 1], "pair 1 is of identities 1 and 1")],
)
def test_refuses_identities_that_contradict(identities, message):
    with pytest.raises(ValueError, match=message):
        pairs_protocol(
            np.eye(2),
            [0, 0, 0, 0],
            [0, 1, 1, 0],
            [1, 0, 0, 1],
            fold=[0, 0, 1, 1],
            identities=identities,
        )
