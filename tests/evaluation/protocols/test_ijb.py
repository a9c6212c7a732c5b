"""IJB-B and IJB-C: files of the same layout, insightface's numbers, 1:N worked out by hand."""

import pathlib

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols import open_protocols
from ddl_jax.evaluation.protocols.ijb import image_features

from .made_files import directions, write_names

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "evaluation.npz")
FARS = ["1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1"]
POINTS = "46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648"


def _write(root, kind, templates, medias, pairs, *, scores=None, lists_1n=None) -> None:
    """`meta` and `loose_crop`, image n is `n+1.jpg`."""
    names = [f"{number}.jpg" for number in range(1, len(templates) + 1)]
    write_names(root / "loose_crop", names)
    scores = np.ones(len(names)) if scores is None else scores
    meta = {
        f"{kind}_name_5pts_score.txt": [f"{n} {POINTS} {s:.6f}" for n, s in zip(names, scores)],
        f"{kind}_face_tid_mid.txt": [f"{n} {t} {m}" for n, t, m in zip(names, templates, medias)],
        f"{kind}_template_pair_label.txt": [" ".join(map(str, pair)) for pair in pairs],
    }
    for file, rows in (lists_1n or {}).items():
        meta[file] = ["TEMPLATE_ID,SUBJECT_ID,FILENAME", *rows]
    for file, lines in meta.items():
        (root / "meta").mkdir(parents=True, exist_ok=True)
        (root / "meta" / file).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """The images, templates and pairs of insightface's numbers, as IJB-C."""
    root = tmp_path_factory.mktemp("IJBC")
    pairs = np.stack([GOLDEN["ijb_p1"], GOLDEN["ijb_p2"], GOLDEN["ijb_label"]], axis=1)
    _write(root, "ijbc", GOLDEN["ijb_templates"], GOLDEN["ijb_medias"], pairs.tolist())
    return root


def test_1_to_1_has_insightfaces_numbers(golden):
    (protocol,) = open_protocols([f"ijbc:N1D1F1={golden}"])
    features = GOLDEN["ijb_features"]
    # Image and mirror image, which F1 adds.
    embeddings = np.stack([0.3 * features, 0.7 * features], axis=1)
    results = protocol.evaluate(embeddings)
    assert list(results) == ["ijbc/N1D1F1"]
    metrics = results["ijbc/N1D1F1"].metrics
    nearest = [metrics[f"tar_at_nearest_far_{far}"] for far in FARS]
    np.testing.assert_array_equal(nearest, GOLDEN["ijb_tpr"])
    assert (metrics["pairs"], metrics["templates"]) == (4000, len(GOLDEN["ijb_unique"]))
    scores, label = GOLDEN["ijb_scores"], GOLDEN["ijb_label"] == 1
    assert metrics["positive_mean"] == pytest.approx(scores[label].mean())
    assert metrics["negative_mean"] == pytest.approx(scores[~label].mean())
    # By hand: the largest TAR whose threshold lets a tenth of the impostors through at most.
    threshold = np.sort(scores[~label])[::-1][int(0.1 * np.sum(~label))]
    assert metrics["tar_at_far_0.1"] == np.mean(scores[label] > threshold)
    assert np.isnan(metrics["tar_at_far_1e-06"])  # 4,000 pairs cannot tell
    spread = np.sqrt((scores[label].var() + scores[~label].var()) / 2)
    assert metrics["d_prime"] == pytest.approx(metrics["separation"] / spread)


def test_the_flags_by_hand():
    image, mirror = np.array([[3.0, 4.0]]), np.array([[3.0, -4.0]])
    both, score = np.stack([image, mirror], axis=1), np.array([0.5])
    expected = {
        "N1D0F0": [3, 4],
        "N0D0F0": [0.6, 0.8],
        "N1D0F1": [6, 0],
        "N0D0F1": [1, 0],
        "N1D1F0": [1.5, 2],
        "N0D1F0": [0.3, 0.4],
        "N1D1F1": [3, 0],
        "N0D1F1": [0.5, 0],
    }
    for variant, features in expected.items():
        np.testing.assert_allclose(image_features(both, score, variant), [features])


@pytest.mark.parametrize(
    "variant, names",
    [
        ("", ["N1D1F1", "N0D0F0"]),
        (":insightface", ["N1D1F1"]),
        (":adaface", ["N1D0F1"]),
        (":tface", ["N0D0F0"]),
        (":all", [f"N{n}D{d}F{f}" for n in (1, 0) for d in (1, 0) for f in (1, 0)]),
    ],
)
def test_variants_by_name(golden, variant, names):
    (protocol,) = open_protocols([f"ijbc{variant}={golden}"])
    embeddings = np.random.default_rng(0).normal(size=(500, 2, 8)).astype(np.float32)
    assert list(protocol.evaluate(embeddings)) == [f"ijbc/{name}" for name in names]
    assert protocol.apart and "tface" in protocol.card["embedding"]


def test_the_landmarks_are_those_of_each_image(golden):
    (protocol,) = open_protocols([f"ijbc={golden}"])
    record = protocol.images[41]
    assert record["path"] == "42.jpg" and record["image"] == b"42.jpg"
    np.testing.assert_allclose(record["landmarks"][0], [46.06, 62.026], rtol=1e-6)
    np.testing.assert_allclose(record["landmarks"][4], [86.45, 98.648], rtol=1e-6)


# 1:N: templates 1..3 are gallery G1 (subjects 11..13), 4..6 gallery G2 (14..16), from 7 on probes.
# Gallery templates point to 0, 30, 60 and 100, 130, 160 degrees; probes are (subject, degrees).
PROBES = [(11, 5), (11, 20), (12, 31), (13, 58), (14, 101), (15, 128), (16, 159), (14, 118)]
GALLERY = [0, 30, 60, 100, 130, 160]


def _write_1n(root) -> np.ndarray:
    """IJB-B with 1:N -> the embeddings of its images, one a template and twice the first."""
    templates = [1, *range(1, 7), *range(7, 7 + len(PROBES))]
    subjects = {t: 10 + t for t in range(1, 7)} | {7 + i: s for i, (s, _) in enumerate(PROBES)}
    pairs = [(1, 7, 1), (2, 9, 1), (1, 9, 0), (3, 11, 0)]
    row = lambda t: f"{t},{subjects[t]},img/{t}.jpg"  # noqa: E731
    lists = {
        "ijbb_1N_gallery_S1.csv": [row(1), row(1), row(2), row(3)],  # a line an image
        "ijbb_1N_gallery_S2.csv": [row(4), row(5), row(6)],
        "ijbb_1N_probe_mixed.csv": [row(7 + i) for i in range(len(PROBES))],
    }
    _write(root, "ijbb", templates, range(len(templates)), pairs, lists_1n=lists)
    degrees = [GALLERY[0], *GALLERY, *(angle for _, angle in PROBES)]
    return np.stack([directions(*degrees)] * 2, axis=1)


def test_1_to_n_by_hand(tmp_path):
    embeddings = _write_1n(tmp_path)
    (protocol,) = open_protocols([f"ijbb:tface={tmp_path}"])
    results = protocol.evaluate(embeddings)
    # Gallery 1, degrees to the own and to the nearest other template. Inside: 5 (25), 20 (10:
    # subject 12 at 30 is nearer), 1 (29), 2 (28). Outside, nearest of all: 41, 68, 99, 58.
    first = results["ijbb_1n/N0D0F0/gallery_1"].metrics
    assert (first["rank_1"], first["rank_5"]) == (0.75, 1.0)
    # Gallery 2. Inside: 1, 2, 1 and 18 (12: subject 15 is nearer). Outside: 95, 80, 69, 42.
    second = results["ijbb_1n/N0D0F0/gallery_2"].metrics
    assert (second["rank_1"], second["rank_5"]) == (0.75, 1.0)
    mean = results["ijbb_1n/N0D0F0"].metrics
    assert (mean["rank_1"], mean["rank_5"], mean["rank_10"]) == (0.75, 1.0, 1.0)
    # Four probes outside cannot tell what happens to one in ten.
    assert np.isnan(mean["tpir_at_fpir_0.1"]) and np.isnan(mean["tpir_at_fpir_0.01"])
    # All six together, as the older scripts: 20 and 118 still miss. The impostor cosines that are
    # highest are those of 10 and 12 degrees: ceil(.1 * 8) = 1, so own ones nearer than 10 count.
    joined = results["ijbb_1n/N0D0F0/joined_gallery"].metrics
    assert (joined["rank_1"], joined["tpir_at_joined_fpir_0.1"]) == (0.75, 0.75)
    assert "3 templates of ijbb_1N_gallery_S1.csv" in protocol.card["1:N"]


def test_without_the_lists_of_1_to_n_the_card_says_so(golden):
    (protocol,) = open_protocols([f"ijbc={golden}"])
    assert protocol.card["1:N"].startswith("not evaluated: meta has none of ijbc_1N_gallery_G1.csv")


def _replace(file, old, new):
    def change(root):
        path = root / "meta" / file
        path.write_text(path.read_text().replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    "told, change",
    [
        (
            "no file '.*ijbb_face_tid_mid.txt'",
            lambda r: (r / "meta/ijbb_face_tid_mid.txt").unlink(),
        ),
        ("no folder '.*meta'", lambda r: (r / "meta").rename(r / "meat")),
        ("no folder '.*loose_crop'", lambda r: (r / "loose_crop").rename(r / "crop")),
        (
            r"the image 3.jpg is missing \(2 such\)",
            lambda r: [(r / f"loose_crop/{n}.jpg").unlink() for n in (3, 5)],
        ),
        (
            "name_5pts_score.txt and ijbb_face_tid_mid.txt: line 2 differs",
            _replace("ijbb_face_tid_mid.txt", "2.jpg", "x.jpg"),
        ),
        (
            "15 and 14 images",
            _replace("ijbb_face_tid_mid.txt", "15.jpg 14 14\n", ""),
        ),
        (
            "name_5pts_score.txt line 1: '1.jpg nan .*; write a name and 11 numbers",
            _replace("ijbb_name_5pts_score.txt", "46.060", "nan"),
        ),
        (
            "face_tid_mid.txt line 2: '2.jpg x 1'; write a name and 2 numbers",
            _replace("ijbb_face_tid_mid.txt", "2.jpg 1 1", "2.jpg x 1"),
        ),
        (
            "pair_label.txt: template 99 has no image in the face_tid_mid list",
            _replace("ijbb_template_pair_label.txt", "1 7 1", "99 7 1"),
        ),
        ("pair_label.txt: .*restore", _replace("ijbb_template_pair_label.txt", "1 7 1", "1 7 one")),
        (
            "write two templates and the label",
            _replace("ijbb_template_pair_label.txt", "1 7 1", "1 7 2"),
        ),
        (
            "pair_label.txt: 0 of 2 pairs are genuine",
            _replace("ijbb_template_pair_label.txt", "1 7 1\n2 9 1\n", ""),
        ),
        (
            "probe_mixed.csv: template 77 has no image",
            _replace("ijbb_1N_probe_mixed.csv", "7,11", "77,11"),
        ),
        (
            "template 1 is of two subjects",
            _replace("ijbb_1N_gallery_S1.csv", "1,11", "1,12"),
        ),
        (
            "gallery_S1.csv: subject 12 has two templates",
            _replace("ijbb_1N_gallery_S1.csv", "3,13", "3,12"),
        ),
        (
            "subject 14 is in ijbb_1N_gallery_S1.csv and in ijbb_1N_gallery_S2.csv",
            _replace("ijbb_1N_gallery_S1.csv", "3,13", "3,14"),
        ),
        (
            "probe_mixed.csv: subject 13 is in neither gallery",
            _replace("ijbb_1N_gallery_S1.csv", "3,13", "3,33"),
        ),
        (
            "no file '.*ijbb_1N_gallery_S2.csv', but the other lists",
            lambda r: (r / "meta/ijbb_1N_gallery_S2.csv").unlink(),
        ),
    ],
)
def test_bad_files_are_one_line(tmp_path, told, change):
    _write_1n(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=told) as raised:
        open_protocols([f"ijbb={tmp_path}"])
    assert "\n" not in str(raised.value)


def test_a_wrong_variant_and_embeddings_that_do_not_fit(golden):
    with pytest.raises(UserError, match="no variant 'N2D1F1'; choose insightface, adaface, tface"):
        open_protocols([f"ijbc:N2D1F1={golden}"])
    (protocol,) = open_protocols([f"ijbc={golden}"])
    with pytest.raises(ValueError, match="499 embeddings for 500 images"):
        protocol.evaluate(np.ones((499, 2, 4)))


def test_tpir_is_the_share_of_recognized_probes_at_the_other_gallerys_threshold(tmp_path):
    # 400 probes of 40 people in each gallery, random directions around the person's own.
    rng = np.random.default_rng(0)
    people = np.arange(80)
    gallery = rng.normal(size=(80, 16))
    ids = np.repeat(people, 10)
    probe = gallery[ids] + 1.2 * rng.normal(size=(800, 16))
    templates = np.arange(880) + 1
    lists = {
        "ijbc_1N_gallery_G1.csv": [f"{t + 1},{t}" for t in people[:40]],
        "ijbc_1N_gallery_G2.csv": [f"{t + 1},{t}" for t in people[40:]],
        "ijbc_1N_probe_mixed.csv": [f"{81 + row},{who}" for row, who in enumerate(ids)],
    }
    _write(tmp_path, "ijbc", templates, templates, [(1, 81, 1), (2, 81, 0)], lists_1n=lists)
    (protocol,) = open_protocols([f"ijbc:tface={tmp_path}"])
    rows = np.concatenate([gallery, probe])
    results = protocol.evaluate(np.stack([rows, rows], axis=1))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    tpirs = []
    for number, side in ((1, slice(0, 40)), (2, slice(40, 80))):
        cosines = unit[80:] @ unit[side].T
        inside = np.isin(ids, people[side])
        outside = np.sort(cosines[~inside].max(axis=1))[::-1]
        own = cosines[inside, ids[inside] - people[side][0]]
        hit = own == cosines[inside].max(axis=1)
        tpirs.append(np.mean(hit & (own > outside[40])))  # a tenth of 400 may be above
        found = results[f"ijbc_1n/N0D0F0/gallery_{number}"].metrics
        assert found["tpir_at_fpir_0.1"] == pytest.approx(tpirs[-1])
        assert found["rank_1"] == pytest.approx(np.mean(hit))
        assert 0.2 < tpirs[-1] < np.mean(hit) < 1
    assert results["ijbc_1n/N0D0F0"].metrics["tpir_at_fpir_0.1"] == pytest.approx(np.mean(tpirs))
