"""Landmarks in the formats that other projects write."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddl_jax.data.landmarks import read_landmarks
from ddl_jax.errors import UserError

# Two people and a profile, made by hand; every format below holds the same points.
ANN = [[210.5, 180.0], [290.0, 172.25], [255.0, 228.0], [222.0, 272.0], [286.0, 266.0]]
BOB = [[51.0, 48.0], [88.0, 52.0], [69.0, 70.0], [52.0, 92.0], [85.0, 95.0]]
SIDE = [[50.0, 50.0], [52.0, 50.0], [75.0, 72.0], [55.0, 92.0], [58.0, 92.0]]
PHOTOS = {"1/ann b.jpg": ANN, "2/bob.jpg": BOB, "2/side.png": SIDE}
NAMES = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


def _lines(form: str, separator: str = " ") -> str:
    """Lines of a format in which `*` stands for the ten numbers in pairs, `|` for x before y."""
    lines = []
    for path, points in PHOTOS.items():
        pairs = separator.join(str(v) for point in points for v in point)
        columns = separator.join(str(point[axis]) for axis in (0, 1) for point in points)
        lines.append(form.replace("PATH", path).replace("*", pairs).replace("|", columns))
    return "\n".join(lines) + "\n"


CELEBA = ",".join(f"{n}_{a}" for n in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
                  for a in "xy")  # fmt: skip
FORMATS = {
    "spaces.txt": _lines("PATH *"),
    "tabs.txt": _lines("PATH\t*", "\t"),
    "commas.txt": _lines("PATH,*", ","),
    "dots.txt": _lines("./PATH *"),
    "columns.txt": _lines("PATH |"),  # MTCNN's own ten numbers
    "ijb_name_5pts_score.txt": _lines("PATH * 0.998"),
    "lfw_5590.txt": _lines("PATH 84 161 92 169 *").replace("/", "\\"),
    "mtfl.txt": _lines("PATH | 1 2 1 3"),
    "insightface.lst": _lines("0\tPATH\t7\t10\t20\t110\t120\t|", "\t"),
    "box_and_score.txt": _lines("PATH 10 20 110 120 0.9 *"),
    "celeba.csv": f"image_id,{CELEBA}\n" + _lines("PATH,*", ","),
    "list_landmarks.txt": f"3\n{CELEBA.replace(',', ' ')}\n" + _lines("PATH\t*", "\t"),
    "loose_landmark.csv": "NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y\n"
    + _lines('"PATH",*', ",").replace(".jpg", "").replace(".png", ""),
    "wide.csv": "\ufeffscore,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5,path\n" + _lines("1,*,PATH", ","),
    "pairs.json": json.dumps(PHOTOS),
    "flat.json": json.dumps({path: np.ravel(points).tolist() for path, points in PHOTOS.items()}),
    "mtcnn.json": json.dumps(
        {
            path: [{"box": [1, 2, 3, 4], "confidence": 1.0, "keypoints": dict(zip(NAMES, points))}]
            for path, points in PHOTOS.items()
        }
    ),
    # RetinaFace's Python package names the person's own left and right.
    "retinaface.json": json.dumps(
        {
            path: {
                "face_1": {
                    "score": 0.99,
                    "facial_area": [1, 2, 3, 4],
                    "landmarks": dict(zip(NAMES, [points[n] for n in (1, 0, 2, 4, 3)])),
                }
            }
            for path, points in PHOTOS.items()
        }
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_points(name, tmp_path):
    (tmp_path / name).write_text(FORMATS[name])
    landmarks = read_landmarks(str(tmp_path / name))
    assert len(landmarks) == 3
    for path, points in PHOTOS.items():
        np.testing.assert_array_equal(landmarks.of(path), [points])
    assert landmarks.of("3/nobody.jpg").shape == (0, 5, 2)
    swapped = "left and right swapped" in landmarks.reading
    assert swapped == (name == "retinaface.json")
    columns = name in ("columns.txt", "mtfl.txt", "insightface.lst")
    assert landmarks.reading.startswith("x1 ... x5" if columns else "x1 y1 ... x5 y5")


def test_a_file_for_each_photo(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "1/ann b.txt").write_text(" ".join(map(str, np.ravel(ANN))))
    (tmp_path / "2/bob.jpg.json").write_text(json.dumps({"kps": BOB, "bbox": [1, 2, 3, 4]}))
    (tmp_path / "2/side.txt").write_text("\n".join(f"{x}, {y}" for x, y in SIDE + BOB))
    (tmp_path / "2/.hidden.txt").write_text("not for us")
    landmarks = read_landmarks(str(tmp_path))
    np.testing.assert_array_equal(landmarks.of("1/ann b.jpg"), [ANN])
    np.testing.assert_array_equal(landmarks.of("2/bob.jpg"), [BOB])
    np.testing.assert_array_equal(landmarks.of("2/side.png"), [SIDE, BOB])


def test_several_lines_of_a_photo_are_several_faces(tmp_path):
    both = [" ".join(["a.jpg", *map(str, np.ravel(points))]) for points in (ANN, BOB)]
    (tmp_path / "a.txt").write_text("# two faces\n\n" + "\n".join(both))
    np.testing.assert_array_equal(read_landmarks(str(tmp_path / "a.txt")).of("a.jpg"), [ANN, BOB])


def test_profiles_alone_are_left_as_they_stand(tmp_path):
    # The far eye of a profile may stand on either side of the near one.
    odd = [[60.0, 50.0], [52.0, 50.0], [85.0, 72.0], [60.0, 92.0], [58.0, 92.0]]
    (tmp_path / "a.txt").write_text(" ".join(["a.jpg", *map(str, np.ravel(odd))]))
    landmarks = read_landmarks(str(tmp_path / "a.txt"))
    np.testing.assert_array_equal(landmarks.of("a.jpg"), [odd])


NAMED_WITH_NUMBERS = {
    "spaces.txt": [
        "my cat 2 a.jpg",
        "a/Anna 2",
        "a/Anna",
        "b/two  spaces.jpg",
        "2 b.jpg",
        "000001",
    ],
    "score.txt": ["my cat 2 a.jpg", "a/Anna 2", "a/Anna", "000001"],
    "tabs.txt": ["my cat 2 a.jpg", "a/Anna 2", "b/two  spaces.jpg", "000001", "7"],
    "commas.csv": ["my cat 2 a.jpg", "a/Anna 2", "b/two  spaces.jpg", "000001", "7"],
    "numbers.txt": ["000001", "000002", "3"],
    "numbered.lst": ["000001", "my cat 2 a.jpg", "a/Anna 2"],
}


@pytest.mark.parametrize("name", NAMED_WITH_NUMBERS)
def test_a_path_keeps_all_its_words_numbers_and_spaces(name, tmp_path):
    paths, lines = NAMED_WITH_NUMBERS[name], []
    mark = {"spaces.txt": " ", "score.txt": " ", "numbers.txt": " ", "commas.csv": ","}.get(
        name, "\t"
    )
    for number, path in enumerate(paths):
        fields = [path, *map(str, np.ravel(ANN) + number), *["0.9"] * (name == "score.txt")]
        lines.append(mark.join([str(number)] * name.endswith(".lst") + fields))
    (tmp_path / name).write_text("\n".join(lines))
    landmarks = read_landmarks(str(tmp_path / name))
    assert len(landmarks) == len(paths)
    for number, path in enumerate(paths):
        np.testing.assert_allclose(landmarks.of(path), [np.array(ANN) + number])


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.text('a1 .,\t-e\n{[]}":', max_size=120), st.sampled_from([".txt", ".lst", ".json"]))
def test_any_file_is_read_or_told_in_one_line(tmp_path_factory, text, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_text(f"a.jpg {GOOD}\n{text}" if len(text) % 2 else text)
    try:
        read_landmarks(str(path))
    except UserError as error:
        assert "\n" not in str(error)


GOOD = " ".join(map(str, np.ravel(ANN)))
NOISE = "\n".join(
    " ".join([f"{row}.jpg", *map(str, numbers)])
    for row, numbers in enumerate(np.random.default_rng(0).integers(0, 99, (50, 10)))
)


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("a.txt", "", "a.txt has no landmarks"),
        ("a.txt", "a.jpg 1 2 3 4", "line 1: 4 numbers behind the path 'a.jpg'"),
        ("a.txt", f"a.jpg {GOOD}\nb.jpg {GOOD} 1 2", "line 2: 12 numbers"),
        ("a.txt", f"a.jpg {GOOD}\nb.jpg {GOOD} 0.9", "11 numbers for b.jpg, but 10 for a.jpg"),
        ("a.txt", f"a.jpg {GOOD.replace('228.0', 'nan')}", "line 1: 4 numbers"),
        ("a.txt", "a.jpg " + "7 " * 10, "the numbers make no faces"),
        ("a.txt", NOISE, "the numbers make no faces"),
        ("a.csv", "path,age\na.jpg,7", "line 1: no columns path,x1,y1"),
        ("a.csv", f"path,{CELEBA}\na.jpg,1,2", "line 2: only 3 values"),
        ("a.csv", f"path,{CELEBA}\na.jpg{',?' * 10}", "line 2: '\\?' is no number"),
        ("a.json", "{", "line 1 is no JSON"),
        ("a.json", "[]", "is no table of photos"),
        ("a.json", '{"a.jpg": [1, 2]}', "has no landmarks"),
        (
            "a.json",
            f'{{"a.jpg": [{"1" * 400}, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}',
            "a.jpg has an infinite number",
        ),
        (
            "a.json",
            f'{{"a.jpg": [{"1" * 5000}, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}',
            "a.jpg has an infinite number",
        ),
        (
            "a.json",
            '{"a.jpg": [Infinity, 2, 3, 4, 5, 6, 7, 8, 9, 10]}',
            "a.jpg has an infinite",
        ),
        ("a.json", '{"a.jpg": ' + "[" * 100_000, "lists in lists without end"),
        ("a.json", '{"a.jpg": ' + "[" * 900 + "]" * 900 + "}", "has no landmarks|without end"),
        ("a.txt", f"a.jpg {GOOD}\nn01/01 {GOOD} 0.9", "11 numbers for n01/01, but 10"),
        ("a.csv", f"a, b.jpg,{GOOD.replace(' ', ',')}", "line 1: 10 numbers behind the path 'a'"),
        ("a.txt", b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(name, text, told, tmp_path):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=told) as caught:
        read_landmarks(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused():
    with pytest.raises(UserError, match="no landmarks file 'nothing.txt'"):
        read_landmarks("nothing.txt")
