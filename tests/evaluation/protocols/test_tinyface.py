"""TinyFace in its own layout, with and without the .mat lists; ranks worked out by hand."""

import numpy as np
import pytest
from scipy.io import savemat

from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols import open_protocols

from .made_files import directions, rows_of, write_names

# Identities 7 and 9 at 0 and 90 degrees; the gallery has 9 twice.
DEGREES = {
    "7_1.jpg": 10,  # probe: 7_2 at 0 is 10 away, the distractor at 14 only 4: rank 2
    "9_1.jpg": 88,  # probe: 9_3 is 1 away: rank 1
    "9_2.jpg": 30,  # probe: three distractors nearer than 9_4 at 60, and 7_2: rank 5
    "7_2.jpg": 0,
    "9_3.jpg": 89,
    "9_4.jpg": 60.5,
    "1.jpg": 14,
    "2.jpg": 20,
    "3.jpg": 33,
}
PROBES, GALLERY = ["7_1.jpg", "9_1.jpg", "9_2.jpg"], ["7_2.jpg", "9_3.jpg", "9_4.jpg"]


def _write(root) -> None:
    write_names(root / "Testing_Set/Probe", PROBES)
    write_names(root / "Testing_Set/Gallery_Match", GALLERY)
    write_names(root / "Testing_Set/Gallery_Distractor", ["1.jpg", "2.jpg", "3.jpg"])


def _write_lists(folder, *, probes=PROBES, probe_ids=(7, 9, 9)) -> None:
    for file, names_key, names, ids_key, ids in (
        ("probe_img_ID_pairs.mat", "probe_set", probes, "probe_ids", probe_ids),
        ("gallery_match_img_ID_pairs.mat", "gallery_set", GALLERY, "gallery_ids", (7, 9, 9)),
    ):
        cells = np.array([[name] for name in names], object)
        column = np.array([[number] for number in ids], np.uint16)
        savemat(folder / file, {names_key: cells, ids_key: column})


def _assert_numbers(protocol, suffix=".jpg") -> None:
    vectors = {name.replace(".jpg", suffix): directions(d)[0] for name, d in DEGREES.items()}
    result = protocol.evaluate(rows_of(protocol, vectors))["tinyface"].metrics
    assert result["rank_1"] == pytest.approx(1 / 3)
    assert result["rank_5"] == pytest.approx(1)
    assert result["rank_20"] == 1
    assert (result["probes"], result["gallery"], result["identities"]) == (3, 6, 2)


def test_identities_by_name(tmp_path):
    _write(tmp_path)
    (protocol,) = open_protocols([f"tinyface={tmp_path}"])
    _assert_numbers(protocol)
    assert protocol.card["identities"] == "by the images' names"
    assert "not the 3,728, 4,443, 153,428 published" in protocol.card["images"]


def test_identities_by_the_lists_beside_the_folders(tmp_path):
    _write(tmp_path)
    _write_lists(tmp_path / "Testing_Set")
    (protocol,) = open_protocols([f"tinyface={tmp_path}"])
    _assert_numbers(protocol)
    assert protocol.card["identities"] == "by the .mat lists"


def test_aligned_copies_of_another_suffix_with_lists_elsewhere(tmp_path):
    _write(tmp_path / "raw")
    _write_lists(tmp_path / "raw/Testing_Set")
    for path in (tmp_path / "raw/Testing_Set").rglob("*.jpg"):
        place = tmp_path / "aligned_pad_0.1_pad_high" / path.parent.name
        write_names(place, [f"{path.stem}.png"])
    (protocol,) = open_protocols(
        [f"tinyface={tmp_path}/aligned_pad_0.1_pad_high@{tmp_path}/raw/Testing_Set"]
    )
    _assert_numbers(protocol, ".png")


def test_the_channel_probe_takes_probes_with_their_own_and_with_another_identity(tmp_path):
    _write(tmp_path)
    (protocol,) = open_protocols([f"tinyface={tmp_path}"])
    names = [protocol.images[i]["path"].rsplit("/", 1)[-1] for i in range(len(protocol.images))]
    pairs = protocol.pairs
    same = [names[a][0] == names[b][0] for a, b in zip(pairs.first, pairs.second)]
    np.testing.assert_array_equal(same, pairs.same)
    assert pairs.same.sum() == 3


@pytest.mark.parametrize(
    "told, change",
    [
        ("no folder Probe or Testing_Set/Probe", lambda s: (s / "Probe").rename(s / "Prob")),
        (
            "has no folder Gallery_Distractor, only Probe",
            lambda s: (s / "Gallery_Distractor").rename(s / "x"),
        ),
        (
            "Gallery_Distractor holds no image",
            lambda s: [path.unlink() for path in (s / "Gallery_Distractor").iterdir()],
        ),
        (
            "identity 8 of Probe/8_1.jpg has no image in Gallery_Match",
            lambda s: write_names(s / "Probe", ["8_1.jpg"]),
        ),
        ("Probe/x.jpg does not begin with", lambda s: write_names(s / "Probe", ["x.jpg"])),
        (
            "the image 5_5.jpg is missing",
            lambda s: _write_lists(s, probes=[*PROBES, "5_5.jpg"], probe_ids=(7, 9, 9, 7)),
        ),
        ("3 probe_set and 2 probe_ids", lambda s: _write_lists(s, probe_ids=(7, 9))),
        (
            "has one of probe_img",
            lambda s: _write_lists(s) or (s / "probe_img_ID_pairs.mat").unlink(),
        ),
        (
            "probe_img_ID_pairs.mat is no list of probe_set",
            lambda s: (s / "probe_img_ID_pairs.mat").write_bytes(b"MATLAB"),
        ),
    ],
)
def test_bad_data_are_one_line(tmp_path, told, change):
    _write(tmp_path)
    change(tmp_path / "Testing_Set")
    with pytest.raises(UserError, match=told) as raised:
        open_protocols([f"tinyface={tmp_path}"])
    assert "\n" not in str(raised.value)
