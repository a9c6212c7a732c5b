"""Lists of pairs in every layout, against insightface's numbers and folds worked out by hand."""

import pathlib

import numpy as np
import pytest

from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols import open_protocols
from ddl_jax.interop import write_verification_bin

from .made_files import directions, rows_of, write_lfw, write_names

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "evaluation.npz")


def _open(entry: str):
    (protocol,) = open_protocols([entry])
    return protocol


def _write_bin(path: pathlib.Path, same, images=None) -> str:
    images = images or [b"image %d" % number for number in range(2 * len(same))]
    write_verification_bin(path, images, same)
    return str(path)


def test_a_bin_has_insightfaces_numbers(tmp_path):
    protocol = _open(f"lfw={_write_bin(tmp_path / 'lfw.bin', GOLDEN['issame'])}")
    assert len(protocol.images) == 1200 and protocol.images[7]["image"] == b"image 7"
    metrics = protocol.evaluate(GOLDEN["embeddings"])["lfw"].metrics
    assert metrics["accuracy"] == GOLDEN["accuracy_mean"]
    assert metrics["accuracy_std"] == GOLDEN["accuracy_std"]
    assert metrics["pairs"] == 600
    assert (
        protocol.card["pairs"] == f"600, {GOLDEN['issame'].sum()} of them genuine, of 1200 images"
    )


def test_a_picture_of_several_pairs_is_embedded_once(tmp_path):
    # Each pair shares its first picture with the pair before.
    images = [b"%d" % ((number + 1) // 2) for number in range(80)]
    protocol = _open(f"lfw={_write_bin(tmp_path / 'a.bin', [True, False] * 20, images)}")
    assert len(protocol.images) == 41
    np.testing.assert_array_equal(protocol.pairs.first, np.arange(40))
    np.testing.assert_array_equal(protocol.pairs.second, np.arange(40) + 1)


def test_lfws_list_has_the_numbers_of_the_same_pairs_in_a_bin(tmp_path):
    path = write_lfw(tmp_path, each=3)
    rng = np.random.default_rng(0)
    vectors = {}
    for fold in range(10):
        for k in range(3):
            person = rng.normal(size=8)
            for n in (1, 2):
                vectors[f"Ann_{fold}_{k}_000{n}.jpg"] = person + 0.9 * rng.normal(size=8)
    protocol = _open(f"lfw={path}@{tmp_path / 'lfw'}")
    assert len(protocol.images) == 60 and protocol.card["folds"] == "published"
    assert protocol.card["accuracy"].startswith("10 folds; ")
    result = protocol.evaluate(rows_of(protocol, vectors))["lfw"]

    order, same = [], []
    for fold in range(10):
        for k in range(3):
            order += [f"Ann_{fold}_{k}_0001.jpg", f"Ann_{fold}_{k}_0002.jpg"]
            same.append(True)
        for k in range(3):
            order += [f"Ann_{fold}_{k}_0001.jpg", f"Ann_{fold}_{(k - 1) % 3}_0002.jpg"]
            same.append(False)
    names = [name.encode() for name in order]
    bins = _open(f"bin={_write_bin(tmp_path / 'b.bin', same, names)}")
    embeddings = [vectors[bins.images[i]["image"].decode()] for i in range(len(bins.images))]
    in_bin = bins.evaluate(np.array(embeddings))["bin"]
    found, theirs = (
        {
            name: value
            for name, value in each.metrics.items()
            if not name.endswith(("_low", "_high"))
        }
        for each in (result, in_bin)
    )
    assert found == theirs and "accuracy_low" in result.metrics
    # Only the list says who is who.
    assert result.evidence.rests_on == "30 people" and in_bin.evidence.rests_on == "60 pairs"
    assert "30 people" in protocol.card["error bars"] and "pairs" in bins.card["error bars"]
    assert 0.5 < found["accuracy"] < 1


def test_images_are_found_by_name_whatever_their_folder_and_suffix(tmp_path):
    path = write_lfw(tmp_path)
    for image in (tmp_path / "lfw").rglob("*.jpg"):
        (tmp_path / "flat").mkdir(exist_ok=True)
        image.rename(tmp_path / "flat" / f"{image.stem}.png")
    assert _open(f"xqlfw={path}").images[0]["path"] == "flat/Ann_0_0_0001.png"


def _calfw(label) -> list[str]:
    """Two lines a pair; genuine pairs first, as CALFW has them: labels 1..10, and 0."""
    lines = [f"G{n}_{i}.jpg {label(n)}" for n in range(20) for i in (1, 2)]
    return lines + [f"I{n}_{i}.jpg 0" for n in range(20) for i in (1, 2)]


@pytest.mark.parametrize(
    "label, folds",
    [
        # CPLFW: 1 for the same person. Two genuine and two impostor pairs a fold.
        (lambda n: 1, np.repeat(np.arange(10), 2)),
        # CALFW says the fold of a genuine pair: here the even ones, then the odd ones.
        (lambda n: n % 10 + 1, np.tile(np.arange(10), 2)),
    ],
)
def test_calfw_and_cplfw_have_two_lines_a_pair(tmp_path, label, folds):
    lines = _calfw(label)
    (tmp_path / "pairs_CALFW.txt").write_text("\r\n".join(lines))
    write_names(tmp_path / "aligned images", [line.split()[0] for line in lines])
    protocol = _open(f"calfw={tmp_path / 'pairs_CALFW.txt'}")
    # Genuine pairs are at cosine 0.9 but in the first three folds; impostors at cosine 0, too.
    degrees = {}
    for n in range(20):
        inside = folds[n] < 3
        degrees[f"G{n}_1.jpg"], degrees[f"G{n}_2.jpg"] = 0, 90 if inside else 20
        degrees[f"I{n}_1.jpg"], degrees[f"I{n}_2.jpg"] = 0, 90
    vectors = {name: directions(value)[0] for name, value in degrees.items()}
    metrics = protocol.evaluate(rows_of(protocol, vectors))["calfw"].metrics
    # Whichever fold is left out, the best threshold lies between: 3 folds of 50 %, 7 of 100 %.
    assert metrics["accuracy"] == pytest.approx(0.85)
    assert metrics["accuracy_std"] == pytest.approx(np.std([0.5] * 3 + [1.0] * 7))
    assert metrics["pairs"] == 40 and metrics["impostors"] == 20


def test_a_csv_of_pairs_beside_a_folder(tmp_path):
    rows = [f"a{n}.png,b{n}.png,{n % 2},{n // 4}" for n in range(20)]
    (tmp_path / "mine.csv").write_text("\n".join(["first,second,same,fold", *rows]))
    write_names(tmp_path / "faces", [f"{kind}{n}.png" for n in range(20) for kind in "ab"])
    protocol = _open(f"mine={tmp_path / 'mine.csv'}@{tmp_path / 'faces'}")
    vectors = {f"a{n}.png": [1.0, 0.0] for n in range(20)}
    vectors |= {f"b{n}.png": directions(0 if n % 2 else 90)[0] for n in range(20)}
    assert protocol.evaluate(rows_of(protocol, vectors))["mine"].metrics["accuracy"] == 1.0
    assert protocol.card["accuracy"].startswith("5 folds; ")


def test_the_data_hash_is_that_of_list_and_images(tmp_path):
    path = write_lfw(tmp_path)
    before = _open(f"lfw={path}").card["data"]
    assert _open(f"lfw={path}").card["data"] == before
    (tmp_path / "lfw/Ann_0_0/Ann_0_0_0001.jpg").write_bytes(b"another")
    assert _open(f"lfw={path}").card["data"] != before


def _list(text: str):
    def write(root: pathlib.Path) -> str:
        write_lfw(root)
        (root / "pairs.txt").write_text(text)
        return f"lfw={root}/pairs.txt"

    return write


def _without(name: str):
    def write(root: pathlib.Path) -> str:
        write_lfw(root)
        (root / name).unlink()
        return f"lfw={root}/pairs.txt"

    return write


@pytest.mark.parametrize(
    "told, write",
    [
        ("no file '.*none.bin'; give the .bin", lambda root: f"lfw={root}/none.bin"),
        ("no file '.*none.txt'", lambda root: f"lfw={root}/none.txt"),
        ("ends in none of .bin, .txt, .csv", lambda root: f"lfwx={root}"),
        ("'lfw' has no variants; leave out :x", lambda root: f"lfw:x={root}/a.bin"),
        ("no folder '.*nowhere'", lambda root: f"lfw={write_lfw(root)}@{root}/nowhere"),
        (
            "has its images inside; leave out @x",
            lambda root: f"a={_write_bin(root / 'a.bin', [1, 0] * 10)}@x",
        ),
        (
            "a.bin: 2 genuine and 10 impostor pairs; 10 folds need",
            lambda root: f"a={_write_bin(root / 'a.bin', [1] * 2 + [0] * 10)}",
        ),
        (
            "a.bin: 20 genuine and 0 impostor pairs",
            lambda root: f"a={_write_bin(root / 'a.bin', [1] * 20)}",
        ),
        (
            "pairs.txt line 2: there is no image 'Ann_0_0_0002' below .*; add it",
            _without("lfw/Ann_0_0/Ann_0_0_0002.jpg"),
        ),
        ("line 1: 'Ann 1 2 3 4' is no pair", _list("Ann 1 2 3 4")),
        ("0 genuine and 0 impostor", _list("")),
        ("0 genuine and 0 impostor", _list("10 300\n")),
        (
            "20 pairs, but its first line announces 10 folds of 2",
            _list("10 2\n" + "a 1 2\na 1 b 1\n" * 10),
        ),
        (
            "line 3: not the kind of pair that belongs here",
            _list("10 2\n" + "Ann_0_0 1 2\nAnn_0_0 1 Ann_0_1 1\n" * 20),
        ),
        ("label 1, and 0 on the pair's second line", _list("a.jpg 1\nb.jpg 0\n")),
        ("3 lines; a pair has two", _list("a.jpg 1\nb.jpg 1\nc.jpg 1\n")),
        ("line 2: 'b.jpg x'; write IMAGE LABEL", _list("a.jpg 1\nb.jpg x\n")),
    ],
)
def test_bad_files_are_one_line(tmp_path, told, write):
    entry = write(tmp_path)
    with pytest.raises(UserError, match=told) as raised:
        _open(entry)
    assert str(raised.value).startswith("config.evaluation.protocols, ")
    assert "\n" not in str(raised.value)


def test_an_image_that_is_there_twice_is_refused(tmp_path):
    path = write_lfw(tmp_path)
    write_names(tmp_path / "again", ["Ann_3_0_0001.jpg"])
    with pytest.raises(UserError, match="'Ann_3_0_0001' is there twice .* after an @"):
        _open(f"lfw={path}")
    _open(f"lfw={path}@{tmp_path / 'lfw'}")


def test_embeddings_that_do_not_fit_are_refused(tmp_path):
    protocol = _open(f"lfw={_write_bin(tmp_path / 'lfw.bin', [True, False] * 10)}")
    with pytest.raises(ValueError, match="39 embeddings for 40 images"):
        protocol.evaluate(np.ones((39, 4)))
    with pytest.raises(ValueError, match="row 3 is not finite"):
        protocol.evaluate(np.where(np.arange(40)[:, None] == 3, np.nan, np.ones((40, 4))))
