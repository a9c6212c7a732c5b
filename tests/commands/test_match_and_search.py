"""`eval.py match` and `search`: cosines of the network, and what the run's evaluation says."""

import csv
import json
import shutil

import numpy as np
import pytest
from etils import epath

from ddl_jax.commands import search
from ddl_jax.data.alignment import align, template_points
from ddl_jax.data.decode import fit
from ddl_jax.evaluation.evaluate import evaluation_directory, write_evaluation
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.evaluation.roc import RocCurve
from ddl_jax.evaluation.similarity import Similarities

from ..data.image_files import encode, pixels, write_image
from .conftest import direct

pytestmark = pytest.mark.usefixtures("quick_compilation")

SIZE = (32, 32, 3)
PEOPLE = {"ann": 3, "bob": 2, "eve": 1}


@pytest.fixture
def faces(home):
    """`people/NAME/N.png`, and `probe.png`, which is like bob's second image."""
    for name, count in PEOPLE.items():
        for number in range(count):
            write_image(home / "people", f"{name}/{number}.png", shape=SIZE)
    (home / "probe.png").write_bytes(encode(_probe()))
    return home


def _probe():
    image = pixels("bob/1.png", shape=SIZE).copy()
    image[:8] = 128
    return image


def cosines(workdir, first, images):
    unit = direct(workdir, np.stack([first, *images]).astype(np.uint8))
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return unit[1:] @ unit[0]


@pytest.fixture
def evaluated(workdir):
    """The network's work directory with thresholds, which it has no longer afterwards."""
    metrics = {"threshold_at_far_0.001": 0.9, "threshold_at_far_0.01": -0.5}
    similarities = Similarities(np.linspace(-0.5, 0.99, 150), np.linspace(-1, 0.5, 1000))
    roc = RocCurve.from_scores(similarities.positive, [similarities.negative])
    directory = evaluation_directory(workdir, 7)
    results = {"domains/easy": ProtocolResult(metrics, similarities, roc)}
    write_evaluation(directory, results, {"embedding": "image + mirror image"})
    yield workdir
    shutil.rmtree(directory.parent)


def test_a_match_is_the_cosine_and_what_it_means(faces, run, evaluated):
    other = pixels("bob/1.png", shape=SIZE)
    (cosine,) = cosines(evaluated, _probe(), [other])
    told = run("match", "probe.png", "people/bob/1.png")
    lines = told.splitlines()
    value = float(lines[0].split()[1])
    assert value == pytest.approx(cosine, abs=1e-4)
    assert lines[0].endswith(" of probe.png and people/bob/1.png") and len(lines) == 3
    word = "The same person: " if cosine >= 0.9 else "Undecided: "
    assert lines[1].startswith(word) and "1 of 1,000 pairs of different people" in lines[1]
    assert "Of 1,000 pairs of different people in domains/easy of " in lines[2]
    told = run("match", "probe.png", "probe.png")
    assert told.startswith("cosine 1.0000 ") and "The same person: 1.000 is not below 0.9" in told


def test_thresholds_of_people_that_are_trained_on_are_told(faces, run, evaluated):
    path = evaluation_directory(evaluated, 7) / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"people seen in training": 5}))
    for command in (("match", "probe.png", "people/bob/1.png"), ("search", "people", "probe.png")):
        assert "ATTENTION: 5 people of domains/easy of " in run(*command)


def test_a_match_that_nobody_can_explain_says_how_to_get_there(faces, run, workdir):
    told = run("match", "probe.png", "people/ann/0.png")
    assert told.startswith("cosine ") and "step 7 of " in told
    assert f"eval.py --workdir={workdir} --step=7 makes one, or give --threshold." in told
    told = run("match", "probe.png", "people/ann/0.png", "--threshold=-1")
    assert "The same person: " in told and "which is --threshold" in told


def test_photos_are_matched_as_faces(home, run, workdir):
    points = template_points("arcface_112", (112, 112))
    photos, lines = [], []
    for number in (0, 1):
        write_image(home, f"photos/{number}.png", shape=(200, 220, 3))
        moved = points * (1 + number / 4) + 10 * number
        lines.append(f"{number}.png " + " ".join(map(str, moved.ravel())))
        photo = pixels(f"photos/{number}.png", shape=(200, 220, 3))
        photos.append(fit(align(photo, moved), (32, 32)))
    (home / "points.txt").write_text("\n".join(lines) + "\n")
    given = ("match", "photos/0.png", "photos/1.png")
    told = run(*given)
    assert "ATTENTION: photos/0.png is 220x200, an aligned face 32x32 (2 such among 2)" in told
    told = run(*given, "--landmarks=points.txt")
    (cosine,) = cosines(workdir, photos[0], photos[1:])
    assert float(told.split()[1]) == pytest.approx(cosine, abs=1e-4) and "ATTENTION" not in told


def found(faces, run, *arguments):
    """Rows of the CSV file, and what was printed."""
    told = run("search", *arguments, "--out=found.csv")
    with (faces / "found.csv").open() as file:
        return list(csv.DictReader(file)), told


def test_a_search_ranks_people_by_their_most_similar_image(faces, run, evaluated):
    rows, told = found(faces, run, "people", "probe.png", "--top=2")
    names = [f"{name}/{number}.png" for name, count in PEOPLE.items() for number in range(count)]
    values = cosines(evaluated, _probe(), [pixels(name, shape=SIZE) for name in names])
    best = {
        person: max((v, n) for v, n in zip(values, names) if n.startswith(person))
        for person in PEOPLE
    }
    wanted = sorted(best, key=best.get, reverse=True)[:2]
    assert [row["person"] for row in rows] == wanted and wanted[0] == "bob"
    assert [row["image"] for row in rows] == [best[person][1] for person in wanted]
    np.testing.assert_allclose(
        [float(row["cosine"]) for row in rows], [best[person][0] for person in wanted], atol=1e-5
    )
    assert [row["rank"] for row in rows] == ["1", "2"]
    lines = told.splitlines()
    assert lines[0].split() == ["probe", "rank", "person", "cosine", "image"]
    assert lines[1].split()[:3] == ["probe.png", "1", "bob"] and rows[0]["verdict"] in lines[1]
    assert (
        "same: from 0.900, which 1 of 1,000 pairs of different people reach; of 150 pairs of one "
        "person 93.3 % are below it; different: below -0.490, which 0.667 % of 150 pairs of one "
        "person do not reach; measured on domains/easy of " in told
    )
    # 1 - 0.999^6
    assert (
        "none of these 3 people is compared with 6 images: up to 0.6 % of such searches reach "
        "0.900 by chance." in told
    )


def test_a_folder_searched_in_itself_does_not_find_itself(faces, run):
    rows, told = found(faces, run, "people", "people", "--top=9")
    assert "\neve/0.png is eve/0.png of the gallery\n" in told
    assert told.count(" of the gallery\n") == 6 and "No image is compared with itself." in told
    assert all(row["image"] != row["probe"] for row in rows)
    of_eve = [row for row in rows if row["probe"] == "eve/0.png"]
    assert {row["person"] for row in of_eve} == {"ann", "bob"}  # eve has no other image
    assert all(row["verdict"] == "" for row in rows) and "Nobody measured" in told


def test_a_probe_is_not_compared_with_copies_of_itself_wherever_they_lie(faces, run):
    (faces / "link.png").symlink_to("people/bob/0.png")
    shutil.copy("people/bob/0.png", "copy.png")
    shutil.copy("people/bob/0.png", "people/eve/again.png")
    for probe in ("people/bob/0.png", "link.png", "copy.png", "people/eve/../bob/0.png"):
        rows, told = found(faces, run, "people", probe, "--top=9")
        images = {row["image"] for row in rows}
        assert not images & {"bob/0.png", "eve/again.png"} and "bob/1.png" in images
        assert f"\n{probe} is bob/0.png, eve/again.png of the gallery\n" in told


def test_who_a_probe_of_the_gallery_is_is_told(faces, run):
    # eve's one image: nothing else of hers could be ranked.
    shutil.copy("people/eve/0.png", "unknown.png")
    run("search", "people", "unknown.png", "--out=found.json")
    content = json.loads((faces / "found.json").read_text())
    assert {row["person"] for row in content["results"]} == {"ann", "bob"}
    assert "unknown.png is eve/0.png of the gallery" in content["meaning"]
    told = run("search", "people/eve", "unknown.png", status=2)
    assert "but unknown.png itself to compare it with: unknown.png is 0.png of the gallery" in told
    assert "of the gallery" not in run("search", "people", "probe.png")


def test_many_probes_of_the_gallery_are_cut(faces, run):
    for number in range(22):
        write_image(faces, f"probes/{number:02}.png", shape=SIZE)
        shutil.copy(f"probes/{number:02}.png", f"people/ann/x{number:02}.png")
    for number in range(6):
        shutil.copy("probes/00.png", f"people/ann/y{number}.png")
    lines = run("search", "people", "probes", "--top=1").splitlines()
    named = [line for line in lines if line.endswith(" of the gallery")]
    assert len(named) == 20 and named[-1] == "19.png is ann/x19.png of the gallery"
    of_first = "ann/x00.png, ann/y0.png, ann/y1.png, ann/y2.png, ann/y3.png and 2 more"
    assert named[0] == f"00.png is {of_first} of the gallery"
    assert "and 2 more probes are in the gallery" in lines


def _landmarks(home, *paths):
    """A file of landmarks, each path's of its own place -> those by path."""
    points = template_points("arcface_112", (112, 112))
    moved = {path: points * 1.2 + 7 * number for number, path in enumerate(paths)}
    lines = (f"{path} {' '.join(map(str, each.ravel()))}" for path, each in moved.items())
    (home / "points.txt").write_text("\n".join(lines) + "\n")
    return moved


def test_landmarks_are_of_the_photo_that_they_name(home, run, workdir):
    names = ("gallery/ann/0.png", "probes/ann/0.png")
    for name in names:
        write_image(home, name, shape=(200, 220, 3))
    # The second folder's photo is called as the first one's: its own path tells them apart.
    moved = _landmarks(home, "gallery/ann/0.png", "probes/ann/0.png")
    run("search", "gallery", "probes", "--landmarks=points.txt", "--out=found.json")
    (row,) = json.loads((home / "found.json").read_text())["results"]
    first, second = (
        fit(align(pixels(name, shape=(200, 220, 3)), moved[name]), (32, 32)) for name in names
    )
    assert row["cosine"] == pytest.approx(cosines(workdir, first, [second])[0], abs=1e-4)


@pytest.mark.parametrize(
    "named, command, told",
    [
        (
            ["ann/0.png"],
            ["search", "gallery", "probes"],
            "'ann/0.png' of points.txt could be gallery/ann/0.png and probes/ann/0.png",
        ),
        (
            ["0.png"],
            ["match", "gallery/ann/0.png", "probes/ann/0.png"],
            "'0.png' of points.txt could be gallery/ann/0.png and probes/ann/0.png",
        ),
        (
            ["0.png", "probes/ann/0.png"],
            ["match", "gallery/ann/0.png", "probes/ann/0.png"],
            "points.txt has '0.png' and 'probes/ann/0.png', and gallery/ann/0.png could be either",
        ),
        (
            ["0", "x/0.png"],  # as VGGFace2 writes them
            ["embed", "--images=gallery", "--out=a.npz"],
            "points.txt has '0' and 'x/0.png', and gallery/ann/0.png could be either",
        ),
        (
            ["1.png", "bob/1.png", "ann/0.png"],
            ["embed", "--images=gallery", "--out=a.npz"],
            "points.txt has '1.png' and 'bob/1.png', and gallery/ann/1.png could be either",
        ),
    ],
)
def test_landmarks_that_could_be_another_photos_are_refused(named, command, told, home, run):
    for name in ("gallery/ann/0.png", "probes/ann/0.png"):
        write_image(home, name, shape=(200, 220, 3))
    if "1.png" in named:
        for name in ("gallery/ann/1.png", "gallery/bob/1.png"):
            write_image(home, name, shape=(200, 220, 3))
    _landmarks(home, *named)
    assert told in run(*command, "--landmarks=points.txt", status=2)


def test_one_photo_by_two_paths_needs_its_landmarks_once(home, run):
    write_image(home, "people/ann/0.png", shape=(200, 220, 3))
    write_image(home, "people/bob/1.png", shape=(200, 220, 3))
    _landmarks(home, "0.png", "bob/1.png")
    told = run("search", "people", "people/ann/../ann/0.png", "--landmarks=points.txt")
    assert "people/ann/../ann/0.png is ann/0.png of the gallery" in told


@pytest.mark.parametrize("probe", ["people/bob/0.png", "./people/bob/0.png", "link.png"])
def test_a_probe_of_the_gallery_is_named_by_its_path_below_the_gallery(probe, home, run, workdir):
    names = ("ann/0.png", "bob/0.png")
    for name in names:
        write_image(home, f"people/{name}", shape=(200, 220, 3))
    (home / "link.png").symlink_to("people/bob/0.png")
    moved = _landmarks(home, *names)
    run("search", "people", probe, "--landmarks=points.txt", "--out=found.json")
    (row,) = json.loads((home / "found.json").read_text())["results"]
    first, second = (
        fit(align(pixels(f"people/{name}", shape=(200, 220, 3)), moved[name]), (32, 32))
        for name in names
    )
    assert row["image"] == "ann/0.png"
    assert row["cosine"] == pytest.approx(cosines(workdir, first, [second])[0], abs=1e-4)


def test_lone_images_stand_for_themselves_and_json(faces, run):
    write_image(faces, "loose/a.png", shape=SIZE)
    write_image(faces, "loose/b.png", shape=SIZE)
    run("search", "loose", "probe.png", "--out=found.json", "--threshold=-1")
    content = json.loads((faces / "found.json").read_text())
    assert {row["person"] for row in content["results"]} == {"a.png", "b.png"}
    assert {row["verdict"] for row in content["results"]} == {"same"}
    assert content["meaning"] == ["same: from -1.000, which is --threshold."]


def test_people_of_a_folder_in_a_bucket_are_its_folders():
    names = ["ann/0.png", "ann/1.png", "bob/0.png"]
    with epath.testing.mock_epath(isdir=lambda _, path: True):
        assert search._people("gs://bucket/people", names) == ["ann", "ann", "bob"]


def test_the_second_search_embeds_only_the_probe(faces, run):
    run("search", "people", "probe.png")
    told = run("search", "people", "people/ann/0.png")
    assert "embeddings of 6 images were kept from before" in told


@pytest.mark.parametrize(
    "told, arguments",
    [
        ("match takes two images, not 1", ["match", "probe.png"]),
        ("match takes two images, not 3", ["match", "probe.png", "a", "b"]),
        ("people is a folder; match takes two", ["match", "people", "probe.png"]),
        ("no 'nothing.png'; give an image", ["match", "probe.png", "nothing.png"]),
        ("corrupt.png is not a readable image; mend", ["match", "probe.png", "corrupt.png"]),
        ("note.txt is not a readable image", ["match", "note.txt", "probe.png"]),
        ("--threshold is 2.0; give a cosine", ["match", "probe.png", "probe.png", "--threshold=2"]),
        ("--protocol: no 'lfw'", ["match", "probe.png", "probe.png", "--protocol=lfw"]),
        ("no evaluation 'x' of step 7", ["match", "probe.png", "probe.png", "--name=x"]),
        (
            "--name and --threshold both say",
            ["search", "people", "probe.png", "--name=x", "--threshold=0"],
        ),
        ("search takes GALLERY and PROBE, not 1", ["search", "people"]),
        ("empty holds no image", ["search", "empty", "probe.png"]),
        ("no 'nothing'; give an image", ["search", "people", "nothing"]),
        (
            "found.txt ends in none of .csv, .json",
            ["search", "people", "probe.png", "--out=found.txt"],
        ),
        (
            "--out=no/found.csv: no directory 'no'; make it",
            ["search", "people", "probe.png", "--out=no/found.csv"],
        ),
        ("--top=0: 0 is not a positive integer", ["search", "people", "probe.png", "--top=0"]),
        ("probe.png has nothing but probe.png itself", ["search", "probe.png", "probe.png"]),
    ],
)
def test_what_is_wrong_is_one_line(told, arguments, faces, run):
    (faces / "corrupt.png").write_bytes((faces / "probe.png").read_bytes()[:-40])
    (faces / "note.txt").write_text("hello")
    (faces / "empty").mkdir()
    assert told in run(*arguments, status=2)


@pytest.mark.parametrize("command", ["match", "search"])
def test_a_network_that_has_diverged_is_one_line(command, faces, run, workdir):
    network = (f"--workdir={workdir}", "--step=8")
    told = run(command, "people/ann/0.png", "probe.png", *network, status=2, network=False)
    assert "the embedding of " in told and "is not finite" in told
