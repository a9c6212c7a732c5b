"""`eval.py embed`: the file holds what the network gives, in order, with names and card."""

import hashlib
import json

import numpy as np
import pytest
from pyarrow import parquet

from ddl_jax.data.alignment import align, template_points
from ddl_jax.data.decode import decode_image, fit
from ddl_jax.evaluation.embedding_cache import hash_variables
from ddl_jax.interop import write_verification_bin
from ddl_jax.training.checkpoint import load_checkpoint

from ..data.image_files import encode, pixels, write_image
from .conftest import direct

pytestmark = pytest.mark.usefixtures("quick_compilation")

NAMES = ("s2/a.png", "s2/b.png", "s10/a.png", "s10/c.png", "s10/d.png")  # in natural order


def write_faces(home):
    for name in NAMES:
        write_image(home / "faces", name, shape=(32, 32, 3))
    return np.stack([pixels(name, shape=(32, 32, 3)) for name in NAMES])


def read(path):
    """Columns and card of a file of either kind."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            columns = dict(file)
        return columns, json.loads(str(columns.pop("card")))
    table = parquet.read_table(path)
    card = json.loads(parquet.read_schema(path).metadata[b"card"])
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}, card


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
@pytest.mark.parametrize("options", [(), ("--batch_size=1",), ("--batch_size=3", "--nocache")])
def test_the_file_holds_what_the_network_gives(suffix, options, home, run, workdir):
    wanted = direct(workdir, write_faces(home))
    told = run("embed", "--images=faces", f"--out=a.{suffix}", *options)
    assert told == f"a.{suffix}: 5 embeddings of 16 numbers, with name, identity, label\n"
    columns, card = read(home / f"a.{suffix}")
    close(columns["embedding"], wanted)
    assert columns["name"].tolist() == list(NAMES)
    assert columns["identity"].tolist() == ["s2", "s2", "s10", "s10", "s10"]
    assert columns["label"].tolist() == [0, 0, 1, 1, 1]
    module, variables, model = load_checkpoint(workdir, 7)
    assert card["model"] == model.to_json() and card["checkpoint step"] == 7
    text = json.dumps(model.to_json(), sort_keys=True)
    assert card["model_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert card["weights_sha256"] == hash_variables(variables)
    assert (card["embedding"], card["length"]) == (
        "image + mirror image",
        "as the network gives it",
    )
    assert [path.name for path in home.iterdir() if ".npz" in path.name] in ([], ["a.npz"])


def test_parquet_has_float32_of_fixed_size(home, run):
    write_faces(home)
    run("embed", "--images=faces", "--out=a.parquet")
    assert str(parquet.read_schema(home / "a.parquet").field("embedding").type) == (
        "fixed_size_list<element: float>[16]"
    )


def test_length_1_and_no_mirror_image(home, run, workdir):
    wanted = direct(workdir, write_faces(home), flip=False)
    run("embed", "--images=faces", "--out=a.npz", "--unit", "--noflip")
    columns, card = read(home / "a.npz")
    close(columns["embedding"], wanted / np.linalg.norm(wanted, axis=1, keepdims=True))
    assert columns["embedding"].dtype == np.float32
    assert (card["embedding"], card["length"]) == ("image", "1")


def test_the_second_time_nothing_is_computed(home, run):
    write_faces(home)
    run("embed", "--images=faces", "--out=a.npz")
    told = run("embed", "--images=faces", "--out=b.npz")
    assert "embeddings of 5 images were kept from before; --nocache computes them" in told
    assert (home / "a.npz").read_bytes() == (home / "b.npz").read_bytes()
    assert "kept" not in run("embed", "--images=faces", "--out=b.npz", "--nocache")


def test_whatever_the_project_reads(home, run, workdir):
    images = write_faces(home)
    encoded = [encode(image) for image in images[:4]]
    write_verification_bin(home / "lfw.bin", encoded, [True, False])
    (home / "list.txt").write_text(
        "".join(f"faces/{name}\t{i % 2}\n" for i, name in enumerate(NAMES))
    )
    wanted = direct(workdir, images)

    def embedded(*arguments):
        run("embed", *arguments, "--out=a.npz")
        return read(home / "a.npz")[0]

    found = embedded("--images=lfw.bin")
    close(found["embedding"], wanted[:4])
    assert found["same"].tolist() == [True, True, False, False] and "label" not in found
    found = embedded("--images=list.txt")
    close(found["embedding"], wanted)
    assert found["label"].tolist() == [0, 1, 0, 1, 0]
    found = embedded("--images=faces/s2/b.png")
    close(found["embedding"], wanted[1:2])
    assert found["name"].tolist() == ["faces/s2/b.png"] and set(found) == {"name", "embedding"}
    found = embedded("--images=faces/s10")  # nobody's folder: no people
    close(found["embedding"], wanted[2:])
    assert set(found) == {"name", "embedding"}
    found = embedded("--path=faces", "--identities=s10", "--domain_rules=*/c.png=hard,*=easy")
    close(found["embedding"], wanted[2:])
    assert found["domain"].tolist() == ["easy", "hard", "easy"]


def test_photos_are_aligned_by_their_landmarks(home, run, workdir):
    write_image(home / "photos", "a.png", shape=(200, 240, 3))
    points = template_points("arcface_112", (112, 112)) * 1.3 + 20
    (home / "points.txt").write_text("a.png " + " ".join(map(str, points.ravel())) + "\n")
    photo = pixels("a.png", shape=(200, 240, 3))
    told = run("embed", "--images=photos", "--out=a.npz")
    assert "ATTENTION: a.png is 240x200, an aligned face 32x32 (1 such among 1)" not in told
    assert "ATTENTION: a.png is 240x200, an aligned face 32x32: scaled and cut" in told
    close(read(home / "a.npz")[0]["embedding"], direct(workdir, fit(photo, (32, 32))[None]))
    assert "ATTENTION" not in run(
        "embed", "--images=photos", "--out=a.npz", "--landmarks=points.txt"
    )
    aligned = fit(align(photo, np.array(points)), (32, 32))
    close(read(home / "a.npz")[0]["embedding"], direct(workdir, aligned[None]))


@pytest.mark.parametrize(
    "told, arguments",
    [
        ("--images is missing", ["--out=a.npz"]),
        ("--out is missing", ["--images=faces"]),
        ("--out=a.csv ends in none of .npz, .parquet", ["--images=faces", "--out=a.csv"]),
        ("--out=no/a.npz: no directory 'no'", ["--images=faces", "--out=no/a.npz"]),
        (
            "--out=dir.npz is a directory; give the name of a file",
            ["--images=faces", "--out=dir.npz"],
        ),
        ("no 'nothing'; give an image", ["--images=nothing", "--out=a.npz"]),
        ("empty holds no image", ["--images=empty", "--out=a.npz"]),
        ("corrupt.png is not a readable image; mend or remove it\n", ["--images=corrupt.png"]),
        ("no.csv cannot be read: No such file", ["--images=no.csv", "--out=a.npz"]),
        ("--domain_rules is of a data set", ["--images=faces", "--domain_rules=*=a"]),
        ("no folder 'nothing'", ["--path=nothing", "--out=a.npz"]),
        ("takes flags only, not 'faces'", ["faces", "--out=a.npz"]),
        ("--step=last", ["--images=faces", "--step=last"]),
        ("both say where faces are", ["--images=faces", "--landmarks=a", "--detector=b"]),
        ("no landmarks file 'no.txt'", ["--images=faces", "--out=a.npz", "--landmarks=no.txt"]),
        ("no detector 'no.onnx'", ["--images=faces", "--out=a.npz", "--detector=no.onnx"]),
        (
            "s2/a.png: no face is known in it; name it in --landmarks",
            ["--images=faces", "--out=a.npz", "--landmarks=points.txt"],
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_no_file(told, arguments, home, run):
    write_faces(home)
    for name in ("empty", "dir.npz"):
        (home / name).mkdir()
    (home / "corrupt.png").write_bytes(b"\x89PNG")
    points = " ".join(map(str, template_points("arcface_112", (112, 112)).ravel()))
    (home / "points.txt").write_text(f"x.png {points}\n")
    out = [] if any("--out" in each for each in arguments) or "--out" in told else ["--out=a.npz"]
    assert told in run("embed", *arguments, *out, status=2)
    assert not (home / "a.npz").exists()


@pytest.mark.parametrize(
    "told, network",
    [
        ("--workdir is missing; see python eval.py embed --help", []),
        ("--workdir and --checkpoint both name a network", ["--workdir=a", "--checkpoint=b"]),
        ("no 'nothing'; give a work directory", ["--workdir=nothing"]),
        ("faces is no work directory (no config.json)", ["--workdir=faces"]),
        ("has no checkpoint of step 9; it has [7, 8]", ["--workdir=WORKDIR", "--step=9"]),
        ("the embedding of s2/a.png is not finite (5 such images)", ["--workdir=WORKDIR"]),
    ],
)
def test_a_network_that_is_none_is_one_line(told, network, home, run, workdir):
    write_faces(home)
    (home / "a.npz").write_text("older")
    network = [each.replace("WORKDIR", str(workdir)) for each in network]
    assert told in run("embed", "--images=faces", "--out=a.npz", *network, status=2, network=False)
    assert (home / "a.npz").read_text() == "older"


def test_an_image_that_decodes_but_is_another_size_is_scaled_as_training_scales_it(
    home, run, workdir
):
    encoded = write_image(home / "faces", "a.png", shape=(64, 64, 3))
    run("embed", "--images=faces", "--out=a.npz")
    wanted = direct(workdir, decode_image(encoded, "a", (32, 32))[None])
    close(read(home / "a.npz")[0]["embedding"], wanted)
