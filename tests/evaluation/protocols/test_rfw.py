"""RFW in both of its forms, the deviation over races worked out by hand."""

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols import open_protocols
from ddl_jax.evaluation.protocols.rfw import RACES
from ddl_jax.interop import write_verification_bin

from .made_files import directions, write_names

# Of 20 genuine pairs a race has so many at cosine 0, where all of its 20 impostor pairs are: that
# many of 40 are wrong at the best threshold.
WRONG = {"Caucasian": 0, "Indian": 2, "Asian": 4, "African": 6}
# Accuracies 1, .95, .9, .85: mean .925; squares .075^2 + .025^2 twice each, over 3.
MEAN, DEVIATION = 0.925, np.sqrt((2 * 0.075**2 + 2 * 0.025**2) / 3)


def _write_bins(root) -> None:
    for race in RACES:
        images = [f"{race} {number}".encode() for number in range(80)]
        write_verification_bin(root / f"{race}_test.bin", images, [True] * 20 + [False] * 20)


def _write_lists(root, races=RACES) -> None:
    """`txts/RACE/RACE_pairs.txt` and `data/RACE/m.ID/m.ID_0001.jpg`, as test/ has them."""
    for race in races:
        lines = [f"m.{n:02d}\t1\t2" for n in range(20)]
        lines += [f"m.{n + 20:02d}\t1\tm.{n + 20:02d}x\t2" for n in range(20)]
        (root / f"txts/{race}").mkdir(parents=True)
        (root / f"txts/{race}/{race}_pairs.txt").write_text("\n".join(lines))
        for n in range(40):
            name = f"m.{n:02d}" + "x" * (n >= 20)
            write_names(root / f"data/{race}", [f"m.{n:02d}/m.{n:02d}_0001.jpg"])
            write_names(root / f"data/{race}", [f"{name}/{name}_0002.jpg"])


def _second(race: str, pair: int) -> int:
    """The angle of a pair's second image; its first is at 0 degrees."""
    return 90 if pair >= 20 - WRONG[race] else 20


def _assert_numbers(results) -> None:
    accuracies = [results[f"rfw/{race}"].metrics["accuracy"] for race in RACES]
    np.testing.assert_allclose(accuracies, [1, 0.95, 0.9, 0.85])
    summary = results["rfw"].metrics
    assert summary["accuracy_mean_of_races"] == pytest.approx(MEAN)
    assert summary["accuracy_std_of_races"] == pytest.approx(DEVIATION)
    assert summary["accuracy_lowest_of_races"] == pytest.approx(0.85)
    assert results["rfw"].roc is None
    assert summary["accuracy_mean_of_races_low"] < MEAN < summary["accuracy_mean_of_races_high"]
    # Samples of four equal races differ, so these are always above 0 and below the least.
    for name in ("accuracy_std_of_races", "accuracy_lowest_of_races"):
        assert f"{name}_low" not in summary and name not in results["rfw"].evidence.drawn


def test_four_bins(tmp_path):
    _write_bins(tmp_path)
    (protocol,) = open_protocols([f"rfw={tmp_path}"])
    assert len(protocol.images) == 320 and protocol.images[80]["image"] == b"Indian 0"
    degrees = [angle for race in RACES for n in range(40) for angle in (0, _second(race, n))]
    # Folds are contiguous: the first five hold genuine pairs only, the last five impostors.
    results = protocol.evaluate(directions(*degrees))
    _assert_numbers(results)


def test_four_lists_and_their_images(tmp_path):
    _write_lists(tmp_path)
    (protocol,) = open_protocols([f"rfw={tmp_path}"])
    parts = []
    for start, end, race in zip(protocol.images.starts, protocol.images.starts[1:], RACES):
        names = [protocol.images[i]["path"].rsplit("/", 1)[-1] for i in range(start, end)]
        pairs = [int(name[2:4]) for name in names]
        second = [name.endswith("_0002.jpg") for name in names]
        parts += [_second(race, pair) if two else 0 for pair, two in zip(pairs, second)]
    _assert_numbers(protocol.evaluate(directions(*parts)))
    assert "Indian: 40, 20 of them genuine, of 80 images" in protocol.card["pairs"]


def test_pairs_for_the_channel_probe_are_those_of_every_race(tmp_path):
    _write_bins(tmp_path)
    (protocol,) = open_protocols([f"rfw={tmp_path}"])
    assert len(protocol.pairs.same) == 160
    np.testing.assert_array_equal(
        np.sort([*protocol.pairs.first, *protocol.pairs.second]), range(320)
    )


def test_a_race_that_is_missing_is_told(tmp_path):
    _write_lists(tmp_path, RACES[:3])
    with pytest.raises(UserError, match="none of African_test.bin.*all four races are needed"):
        open_protocols([f"rfw={tmp_path}"])
    with pytest.raises(UserError, match="rfw: no folder .*nowhere"):
        open_protocols([f"rfw={tmp_path}/nowhere"])


def test_an_image_that_is_missing_is_told(tmp_path):
    _write_lists(tmp_path)
    (tmp_path / "data/Asian/m.07/m.07_0002.jpg").unlink()
    with pytest.raises(UserError, match="Asian_pairs.txt line 8: there is no image 'm.07_0002'"):
        open_protocols([f"rfw={tmp_path}"])
