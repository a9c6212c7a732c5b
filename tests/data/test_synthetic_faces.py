"""The embedded data set: the same bytes everywhere, and domains that do what they say."""

import hashlib
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ddl_jax.data import synthetic_faces
from ddl_jax.data.synthetic_faces import builder as builder_lib
from ddl_jax.data.synthetic_faces import domains, render
from ddl_jax.data.synthetic_faces.contact_sheet import contact_sheet
from ddl_jax.data.synthetic_faces.identity import draw_identity
from ddl_jax.errors import UserError

SIZE = 112
PEOPLE = 12
VIEWS = {domain: 2 for domain in domains.DOMAINS}


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """By domain: [people, views, size, size, 3]."""
    rows = [render.render_identity(0, number, VIEWS, SIZE) for number in range(PEOPLE)]
    return {
        domain: np.array([[image for name, _, image in row if name == domain] for row in rows])
        for domain in domains.DOMAINS
    }


def _detail(images: np.ndarray) -> np.ndarray:
    """What a blur over a tenth of the picture takes away: root mean square, grey levels."""
    flat = images.reshape(-1, SIZE, SIZE, 3).astype(np.float32)
    return np.array([np.sqrt(((i - cv2.GaussianBlur(i, (0, 0), 3)) ** 2).mean()) for i in flat])


def test_a_picture_is_uint8_rgb_of_the_size_asked_for():
    sitter = render.make_sitter(draw_identity(0, 0))
    for size in (64, 112):
        image = render.render_view(sitter, 0, domains.EASY, 0, size)
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8


def test_a_view_does_not_depend_on_what_was_rendered_before(pictures):
    sitter = render.make_sitter(draw_identity(0, 5))
    for domain in reversed(domains.DOMAINS):
        again = render.render_view(sitter, 0, domain, 1, SIZE)
        np.testing.assert_array_equal(again, pictures[domain][5, 1])


def test_another_process_renders_the_same_bytes(pictures):
    program = (
        "import hashlib, json\n"
        "from ddl_jax.data.synthetic_faces import render\n"
        f"images = render.render_identity(0, 3, {VIEWS!r}, {SIZE})\n"
        "hashes = [hashlib.sha256(image.tobytes()).hexdigest() for _, _, image in images]\n"
        "print(json.dumps(hashes))"
    )
    shown = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    ours = [
        hashlib.sha256(pictures[domain][3, view].tobytes()).hexdigest()
        for domain in VIEWS
        for view in range(2)
    ]
    assert json.loads(shown.stdout) == ours


def test_opencv_renders_the_same_bytes_with_any_number_of_threads():
    before = cv2.getNumThreads()
    rendered = []
    try:
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            images = [image for _, _, image in render.render_identity(0, 3, VIEWS, SIZE)]
            rendered.append(np.stack(images))
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(rendered[0], rendered[1])
    np.testing.assert_array_equal(rendered[0], rendered[2])


def test_seed_identity_domain_and_number_each_change_the_picture(pictures):
    first = pictures[domains.EASY][0, 0]
    stranger = render.make_sitter(draw_identity(1, 0))
    others = [
        render.render_view(stranger, 1, domains.EASY, 0, SIZE),
        pictures[domains.EASY][1, 0],
        pictures[domains.EASY][0, 1],
        pictures[domains.DARK][0, 0],
    ]
    assert all((first != other).mean() > 0.5 for other in others)


def test_identities_differ_more_than_views_of_one(pictures):
    # The middle of the face in grey, without its mean: shape rather than exposure.
    middle = pictures[domains.EASY][:, :, 20:100, 28:84].mean(-1).reshape(PEOPLE, 2, -1)
    middle = middle - middle.mean(-1, keepdims=True)
    middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
    similarity = middle[:, 0] @ middle[:, 1].T
    same = np.diag(similarity)
    different = similarity[~np.eye(PEOPLE, dtype=bool)]
    assert same.mean() > different.mean() + 0.1
    assert (similarity.argmax(1) == np.arange(PEOPLE)).mean() > 0.5


def test_low_resolution_has_no_detail(pictures):
    low, easy = _detail(pictures[domains.LOW_RESOLUTION]), _detail(pictures[domains.EASY])
    assert (low < 0.5 * easy).all()
    assert low.mean() < 0.3 * easy.mean()


def test_dark_is_dark_and_noisy(pictures):
    dark, easy = pictures[domains.DARK].astype(float), pictures[domains.EASY].astype(float)
    assert dark.mean() < 0.5 * easy.mean()
    # Relative to its brightness: a dark picture has more grain than a bright one has features.
    assert (_detail(dark) / dark.mean((2, 3, 4)).ravel()).mean() > 1.5 * (
        _detail(easy) / easy.mean((2, 3, 4)).ravel()
    ).mean()


def test_large_pose_turns_the_head_either_way_and_further_than_easy():
    rng = np.random.default_rng(0)
    easy = np.array([domains.draw_yaw(rng, domains.EASY) for _ in range(200)])
    large = np.array([domains.draw_yaw(rng, domains.LARGE_POSE) for _ in range(200)])
    assert np.abs(large).min() > 2 * np.abs(easy).max()
    assert 0.3 < (large > 0).mean() < 0.7


def test_large_pose_moves_the_face_to_a_side(pictures):
    def asymmetry(images):
        face = images[..., 20:100, 20:92, :].astype(float)
        return np.abs(face - face[..., ::-1, :]).mean()

    assert asymmetry(pictures[domains.LARGE_POSE]) > 1.5 * asymmetry(pictures[domains.EASY])


@pytest.mark.parametrize("kind", ["mask", "sunglasses", "hand", "bars"])
def test_occlusion_covers_part_of_the_face(kind, monkeypatch):
    sitter = render.make_sitter(draw_identity(0, 0))

    def picture(what):
        monkeypatch.setattr(render.occlusion, "draw_kind", lambda rng: what)
        return render.render_view(sitter, 0, domains.OCCLUSION, 0, SIZE).astype(float)

    changed = (np.abs(picture(kind) - picture("")).max(-1) > 30)[25:105, 28:84].mean()
    assert 0.08 < changed < 0.9


def test_no_size_of_the_training_split_reaches_the_test_people(tmp_path):
    few = {"easy_views": 1, "hard_views": 0, "size": 32}
    people = {}
    for count in (1, 3):
        config = synthetic_faces.SyntheticFacesConfig(
            train_identities=count, test_identities=count, **few
        )
        made = synthetic_faces.prepare(tmp_path, config)
        for split in ("train", "test"):
            records = made.as_data_source(split)
            people[split, count] = {record["identity"] for record in records}
    assert people["train", 1] < people["train", 3] and people["test", 1] < people["test", 3]
    assert not people["train", 3] & people["test", 3]
    with pytest.raises(UserError, match="train_identities is 1000001: use at most 1000000"):
        synthetic_faces.SyntheticFacesConfig(train_identities=1_000_001)


# Mean grey level of red, green and blue of view 0 of person 0, and the same of person 1: pictures
# of another mean are other pictures, and want another VERSION.
MEANS = {
    "easy": [[95.73, 84.28, 82.41], [113.64, 84.07, 62.55]],
    "low_resolution": [[95.38, 73.44, 59.37], [117.6, 96.0, 96.81]],
    "large_pose": [[87.45, 75.93, 70.56], [123.41, 94.12, 91.37]],
    "occlusion": [[78.86, 73.25, 55.31], [161.71, 171.83, 157.92]],
    "dark": [[63.9, 48.05, 43.68], [64.19, 42.75, 44.23]],
}


@pytest.mark.parametrize("domain", domains.DOMAINS)
def test_the_pictures_are_those_of_this_version(pictures, domain):
    assert str(builder_lib.SyntheticFaces.VERSION) == "2.0.0"
    found = pictures[domain][:2, 0].mean(axis=(1, 2))
    np.testing.assert_allclose(found, MEANS[domain], atol=0.2)


def test_the_default_config_can_be_asked_for(tmp_path):
    config = synthetic_faces.SyntheticFacesConfig()
    with builder_lib.quiet_tfds():
        made = builder_lib.make_builder(tmp_path, config)
    assert made.builder_config.name == config.name and not made.is_prepared()


def test_the_config_names_all_its_numbers():
    default = synthetic_faces.SyntheticFacesConfig()
    assert default.name == "train600_test200_easy4_hard2_size112_seed0"
    fields = ["train_identities", "test_identities", "easy_views", "hard_views", "size", "seed"]
    others = {synthetic_faces.SyntheticFacesConfig(**{field: 77}).name for field in fields}
    assert len(others | {default.name}) == 7


@pytest.mark.parametrize(
    "field, value", [("train_identities", 0), ("hard_views", -1), ("size", 8), ("easy_views", 1.5)]
)
def test_a_wrong_number_is_the_users_mistake(field, value):
    with pytest.raises(UserError, match=f"{field} is {value}"):
        synthetic_faces.SyntheticFacesConfig(**{field: value})


def test_builder_round_trip(tmp_path, pictures):
    config = synthetic_faces.SyntheticFacesConfig(
        train_identities=3, test_identities=2, easy_views=2, hard_views=1
    )
    builder = synthetic_faces.prepare(tmp_path, config)
    skip = {"image": tfds.decode.SkipDecoding()}
    train, test = (builder.as_data_source(split, decoders=skip) for split in ("train", "test"))
    assert (len(train), len(test)) == (3 * 6, 2 * 6)

    for split, name, count in ((train, "train", 3), (test, "test", 2)):
        records = [split[i] for i in range(len(split))]
        assert [int(r["label"]) for r in records] == [i for i in range(count) for _ in range(6)]
        paths = [r["path"].decode() for r in records]
        assert len(set(paths)) == len(paths)
        for record, path in zip(records, paths):
            identity, domain = record["identity"].decode(), record["domain"].decode()
            assert path.startswith(f"{name}/{identity}/{domain}/")
    assert not {train[i]["identity"] for i in range(18)} & {test[i]["identity"] for i in range(12)}

    # The order made: two easy views, then one of each hard domain.
    record = train[6 + 2]
    assert record["domain"].decode() == domains.HARD[0]
    decoded = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decoded.astype(int) - pictures[domains.HARD[0]][1, 0]).mean() < 3


def test_prepare_opens_what_is_there(tmp_path, monkeypatch):
    config = synthetic_faces.SyntheticFacesConfig(
        train_identities=1, test_identities=1, easy_views=1, hard_views=0
    )
    synthetic_faces.prepare(tmp_path, config)
    monkeypatch.setattr(builder_lib, "_encode_identities", None)
    assert len(synthetic_faces.prepare(tmp_path, config).as_data_source("test")) == 1


def test_workers_make_the_same_bytes(monkeypatch):
    config = synthetic_faces.SyntheticFacesConfig(easy_views=1, hard_views=0, size=32)
    alone = list(map(lambda i: builder_lib._encode_identity(i, 0, config.views, 32), range(4)))
    monkeypatch.setattr(builder_lib, "_IDENTITIES_PER_WORKER", 2)
    monkeypatch.setattr(builder_lib, "available_cores", lambda: 2)
    assert list(builder_lib._encode_identities(range(4), config)) == alone


def test_contact_sheet_has_a_row_an_identity():
    views = {domains.EASY: 1, domains.DARK: 1}
    one, two = (contact_sheet(0, range(count), views, 32) for count in (1, 2))
    assert one.shape[1] == two.shape[1] > 2 * 32
    assert two.shape[0] - one.shape[0] >= 32
