"""SCface in its own layout; ranks worked out by hand."""

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols import open_protocols

from .made_files import rows_of, write_names

NEAR, MIDDLE, FAR = 3, 2, 1  # the last part of a file's name


def _write(root, subjects) -> None:
    for subject in subjects:
        write_names(root / "mugshot_frontal_cropped_all", [f"{subject:03d}_frontal.JPG"])
        for d in (1, 2, 3):
            for camera in range(1, 8):
                folder = root / f"surveillance_cameras_distance_{d}/cam_{camera}"
                write_names(folder, [f"{subject:03d}_cam{camera}_{d}.jpg"])


def _vectors(subjects, wrong):
    """Subject s points to axis s; `wrong` images point to the next subject's."""
    axes = np.eye(len(subjects))
    vectors = {}
    for row, subject in enumerate(subjects):
        vectors[f"{subject:03d}_frontal.JPG"] = axes[row]
        for d in (1, 2, 3):
            for camera in range(1, 6):
                name = f"{subject:03d}_cam{camera}_{d}.jpg"
                other = name in wrong
                vectors[name] = axes[(row + other) % len(subjects)] + 0.1 * axes[row]
    return vectors


@pytest.fixture(scope="module")
def everybody(tmp_path_factory):
    root = tmp_path_factory.mktemp("scface")
    _write(root, range(1, 131))
    return root


@pytest.mark.parametrize("variant, first, probes", [("80", 51, 400), ("130", 1, 650)])
def test_both_protocols(everybody, variant, first, probes):
    (protocol,) = open_protocols([f"scface:{variant}={everybody}"])
    assert len(protocol.images) == probes // 5 + 3 * probes
    assert "001_cam6_1.jpg" not in [protocol.images[i]["path"] for i in range(len(protocol.images))]
    subjects = range(first, 131)
    wrong = {f"{s:03d}_cam2_1.jpg" for s in (60, 61, 100)} | {"060_cam1_2.jpg"}
    results = protocol.evaluate(rows_of(protocol, _vectors(subjects, wrong)))
    assert list(results) == [f"scface{variant}/{d}" for d in ("d3", "d2", "d1")]
    ranks = [result.metrics["rank_1"] for result in results.values()]
    np.testing.assert_allclose(ranks, [1, 1 - 1 / probes, 1 - 3 / probes])
    for result in results.values():
        assert result.metrics["probes"] == probes and result.metrics["rank_5"] == 1
        assert result.metrics["gallery"] == probes // 5
    assert "DCR" in protocol.card["subjects"] or variant == "130"


def test_a_list_of_subjects(everybody, tmp_path):
    (tmp_path / "list.txt").write_text("003\n001\n120\n")
    (protocol,) = open_protocols([f"scface={everybody}@{tmp_path / 'list.txt'}"])
    results = protocol.evaluate(rows_of(protocol, _vectors([3, 1, 120], {"120_cam5_3.jpg"})))
    np.testing.assert_allclose(results["scface3/d3"].metrics["rank_1"], 14 / 15)
    assert results["scface3/d3"].metrics["rank_5"] == 1
    # The channel probe takes the nearest images, with their own and with another's mugshot.
    paths = [protocol.images[i]["path"].rsplit("/", 1)[-1] for i in protocol.pairs.first]
    mugshots = [protocol.images[i]["path"].rsplit("/", 1)[-1] for i in protocol.pairs.second]
    assert all(path[-5] == "3" for path in paths)
    same = [path[:3] == mugshot[:3] for path, mugshot in zip(paths, mugshots)]
    np.testing.assert_array_equal(same, protocol.pairs.same)


def test_of_several_mugshots_the_cropped_one_counts(tmp_path):
    _write(tmp_path, (1, 2))
    write_names(tmp_path / "mugshot_frontal_original_all", ["001_frontal.jpg", "002_frontal.jpg"])
    (tmp_path / "list").write_text("001 002")
    (protocol,) = open_protocols([f"scface={tmp_path}@{tmp_path}/list"])
    assert protocol.images[0]["path"] == "mugshot_frontal_cropped_all/001_frontal.JPG"
    assert "of mugshot_frontal_cropped_all" in protocol.card["gallery"]


@pytest.mark.parametrize(
    "told, entry, change",
    [
        ("write scface:80=FOLDER", "scface={root}", None),
        ("write scface:80=FOLDER", "scface:90={root}", None),
        ("no folder 'nowhere'", "scface:80=nowhere", None),
        ("the image 051_frontal is missing", "scface:80={root}", None),
        ("no file '.*nolist'", "scface={root}@{root}/nolist", None),
        (
            "the image 002_cam3_1 is missing; add it",
            "scface={root}@{root}/list",
            lambda root: (root / "surveillance_cameras_distance_1/cam_3/002_cam3_1.jpg").unlink(),
        ),
        (
            "has one image twice, .*001_cam1_1.jpg and .*001_cam1_1.jpg",
            "scface={root}@{root}/list",
            lambda root: write_names(root / "zz", ["001_cam1_1.jpg"]),
        ),
        (
            "list: '1'; write each three-digit",
            "scface={root}@{root}/list",
            lambda root: (root / "list").write_text("1 2"),
        ),
        (
            "has 1 subjects",
            "scface={root}@{root}/list",
            lambda root: (root / "list").write_text("001"),
        ),
    ],
)
def test_bad_data_are_one_line(tmp_path, told, entry, change):
    _write(tmp_path, (1, 2))
    (tmp_path / "list").write_text("001 002")
    if change:
        change(tmp_path)
    with pytest.raises(UserError, match=told) as raised:
        open_protocols([entry.format(root=tmp_path)])
    assert "\n" not in str(raised.value)
