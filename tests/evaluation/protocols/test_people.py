"""Who is who, for error bars over people: by names, by genuine pairs, by galleries."""

import numpy as np
import pytest

from ddl_jax.evaluation.protocols import open_protocols
from ddl_jax.evaluation.protocols.closed_set import closed_set
from ddl_jax.evaluation.protocols.images import people_by_name

from .made_files import directions, rows_of, write_names
from .test_ijb import _write as write_ijb
from .test_scface import _vectors
from .test_scface import _write as write_scface

FIRST, SECOND = np.array([0, 0, 2]), np.array([1, 2, 3])
SAME = np.array([True, False, True])


@pytest.mark.parametrize(
    "paths",
    [
        ["Ann/1.jpg", "Ann/2.jpg", "Bo/1.jpg", "Bo/2.jpg"],
        ["Ann_Lee_0001.jpg", "Ann_Lee_0002.png", "Bo_0001.jpg", "Bo_0012.jpg"],
        ["all/Ann_0001.jpg", "all/Ann_0002.jpg", "all/Bo_0001.jpg", "all/Bo_0003.jpg"],
        # The person's folder is neither the first nor the last.
        ["x/001/frontal/1.jpg", "x/001/profile/1.jpg", "x/2/frontal/1.jpg", "x/2/frontal/2.jpg"],
    ],
)
def test_people_by_folder_or_name(paths):
    people = people_by_name(paths, FIRST, SECOND, SAME)
    assert people[0] == people[1] != people[2] == people[3] and set(people) == {0, 1}


@pytest.mark.parametrize(
    "paths",
    [
        ["1.jpg", "2.jpg", "3.jpg", "4.jpg"],  # nothing is told
        ["Ann/1.jpg", "Bo/2.jpg", "Bo/1.jpg", "Bo/2.jpg"],  # the list says otherwise
        ["Ann_1.jpg", "Ann_2.jpg", "Ann_3.jpg", "Ann_4.jpg"],
    ],
)
def test_names_that_do_not_agree_with_the_pairs_tell_nobody(paths):
    assert people_by_name(paths, FIRST, SECOND, SAME) is None


def test_genuine_pairs_connect_ijbs_templates(tmp_path):
    # Templates 1 and 2, 2 and 3 are of one person, and so 1 and 3 are; 4 and 5 of another; 6 alone.
    templates, pairs = np.arange(1, 7), [(1, 2, 1), (2, 3, 1), (4, 5, 1), (1, 4, 0), (3, 6, 0)]
    write_ijb(tmp_path, "ijbc", templates, templates, pairs)
    (protocol,) = open_protocols([f"ijbc:tface={tmp_path}"])
    assert protocol.card["error bars"].startswith("over 3 people")
    rows = directions(0, 10, 30, 90, 95, 140)
    result = protocol.evaluate(np.stack([rows, rows], axis=1))["ijbc/N0D0F0"]
    assert result.evidence.rests_on == "3 people"
    # The least alike of one person: templates 2 and 3, images 1 and 2.
    assert (result.hardest[0].first, result.hardest[0].second) == (1, 2)


def test_pairs_that_contradict_each_other_are_resampled_as_pairs(tmp_path):
    pairs = [(1, 2, 1), (2, 3, 1), (1, 3, 0), (1, 4, 0)]
    write_ijb(tmp_path, "ijbc", np.arange(1, 5), np.arange(1, 5), pairs)
    (protocol,) = open_protocols([f"ijbc:tface={tmp_path}"])
    assert protocol.card["error bars"].startswith("over pairs, as genuine and impostor pairs")
    rows = directions(0, 10, 30, 90)
    result = protocol.evaluate(np.stack([rows, rows], axis=1))["ijbc/N0D0F0"]
    assert result.evidence.rests_on == "4 pairs"


def test_scfaces_hardest_pairs_are_its_images(tmp_path):
    subjects = range(1, 6)
    write_scface(tmp_path, subjects)
    (tmp_path / "list.txt").write_text("\n".join(f"{subject:03d}" for subject in subjects))
    (protocol,) = open_protocols([f"scface={tmp_path}@{tmp_path / 'list.txt'}"])
    wrong = {"003_cam2_1.jpg"}
    results = protocol.evaluate(rows_of(protocol, _vectors(subjects, wrong)))
    worst = results["scface5/d1"].hardest[0]
    names = [protocol.images[number]["path"].split("/")[-1] for number in worst[:2]]
    assert worst.genuine and names == ["003_cam2_1.jpg", "003_frontal.JPG"]
    assert results["scface5/d1"].evidence.rests_on == "5 people"


def test_coxs_hardest_pairs_are_its_images(tmp_path):
    names = [f"still/20110318_000{n}.jpg" for n in range(1, 4)]
    names += [f"cam1/20110318_000{n}/{frame}.jpg" for n in range(1, 4) for frame in (1, 2)]
    write_names(tmp_path, names)
    (protocol,) = open_protocols([f"cox={tmp_path}"])
    paths = [protocol.images[number]["path"] for number in range(len(protocol.images))]
    angle = {"0001": 0, "0002": 60, "0003": 120}
    degrees = [angle[path.split("_")[1][:4]] for path in paths]
    degrees = [each + 25 * ("cam1/20110318_0002" in path) for each, path in zip(degrees, paths)]
    results = protocol.evaluate(directions(*degrees))
    worst = results["cox/v2s/cam1"].hardest[0]
    assert [paths[number] for number in worst[:2]] == ["cam1/20110318_0002/1.jpg", names[1]]


def test_distractors_stay_and_people_are_resampled():
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(30), 3)
    people, others = rng.normal(size=(30, 6)), rng.normal(size=(200, 6))
    probe = people[ids] + 0.8 * rng.normal(size=(90, 6))
    gallery = np.concatenate([people, others])
    gallery_ids = np.concatenate([np.arange(30), np.full(200, -1)])
    result = closed_set(probe, ids, gallery, gallery_ids, ks=(1,), fars=[0.1], samples=200)
    for name in ("rank_1", "tar_at_far_0.1", "eer", "auc", "separation", "d_prime"):
        low, value, high = (result.metrics[f"{name}{end}"] for end in ("_low", "", "_high"))
        assert low < value < high, name
    assert result.evidence.rests_on == "30 people"
    ranks = result.evidence.right["rank_1"]
    assert len(ranks) == 90 and ranks.mean() == result.metrics["rank_1"]
