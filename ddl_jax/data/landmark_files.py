"""Faces of photos in files of other projects: text lists, CSV, JSON, a file a photo."""

import csv
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from ddl_jax.data.text_file import read_text
from ddl_jax.errors import UserError

# How many numbers may follow a path: the ten; with a score; with a box or four attributes; a box
# and a score or a label.
_COUNTS = (10, 11, 14, 15)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_PATH_COLUMNS = (
    "path",
    "imagepath",
    "imageid",
    "nameid",
    "image",
    "img",
    "file",
    "filename",
    "name",
)
# The same ten columns under the names that CelebA, VGGFace2 and plain tables give them.
_COLUMNS = (
    [f"{part}{axis}" for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
     for axis in "xy"],
    [f"{part}{axis}" for part in ("lefteye", "righteye", "nose", "mouthleft", "mouthright")
     for axis in "xy"],
    [f"x{n // 2}" if n % 2 == 0 else f"y{n // 2}" for n in range(2, 12)],
    [f"p{n // 2}x" if n % 2 == 0 else f"p{n // 2}y" for n in range(2, 12)],
)  # fmt: skip
_JSON_NAMES = (
    ("left_eye", "lefteye"),
    ("right_eye", "righteye"),
    ("nose", "nose_tip"),
    ("mouth_left", "left_mouth"),
    ("mouth_right", "right_mouth"),
)


def landmark_rows(path: str) -> Iterator[tuple[str, list[float]]]:
    """`(photo, numbers)` of each face, ten numbers and what else stands with them in the file.

    Args:
      path: of a .txt, .csv, .lst, .tsv or .json file, or of a folder of .txt and .json files.

    Raises:
      UserError: nothing there, or a line that is not understood.
    """
    place = epath.Path(path)
    if place.is_dir():
        return _folder(place, "")
    if not place.is_file():
        raise UserError(f"no landmarks file {path!r}; give a file, or a folder with one a photo")
    return _json_table(place) if path.lower().endswith(".json") else _lines(place)


def _lines(file: epath.Path) -> Iterator[tuple[str, list[float]]]:
    """`(path, numbers)` of the lines of a text file."""
    columns: tuple[int, list[int]] | None = None
    spaced: list[tuple[int, str]] = []
    numbered = file.suffix.lower() == ".lst"
    for number, line in enumerate(read_text(file).splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#") or (number <= 2 and line.isdecimal()):
            continue  # CelebA's first line says how many there are
        if columns is None and number > 3 and not ("\t" in line or "," in line):
            spaced.append((number, line))  # nearly all lines of a long list
            continue
        where, fields = f"{file} line {number}", _fields(line)
        if columns is None and number <= 3 and not any(map(_is_number, fields)) and fields[1:]:
            columns = _columns(fields, where)
        elif columns is not None:
            yield _named(fields, columns, where)
        elif "\t" in line or "," in line:
            yield _parted(fields[1:] if numbered and _is_number(fields[0]) else fields, where)
        else:
            spaced.append((number, line))
    yield from _spaced(spaced, file)


def _fields(line: str) -> list[str]:
    if "\t" in line:
        return [field.strip() for field in line.split("\t")]
    if "," in line:
        return [field.strip() for field in next(csv.reader([line]))]
    return line.split()


def _columns(header: Sequence[str], where: str) -> tuple[int, list[int]]:
    """Where path and coordinates stand, by a header's names."""
    names = [re.sub("[^a-z0-9]", "", name.lower()) for name in header]
    for wanted in _COLUMNS:
        if all(name in names for name in wanted):
            path = next((names.index(name) for name in _PATH_COLUMNS if name in names), None)
            places = [names.index(name) for name in wanted]
            if path is None:  # CelebA's header leaves the first column out
                return 0, [place + 1 for place in places]
            return path, places
    raise UserError(
        f"{where}: no columns path,x1,y1,...,x5,y5 (or lefteye_x,lefteye_y,righteye_x,..., or "
        f"P1X,P1Y,...) in {','.join(header)}; name them so"
    )


def _named(
    fields: Sequence[str], columns: tuple[int, list[int]], where: str
) -> tuple[str, list[float]]:
    path, places = columns
    if len(fields) <= max(path, *places):
        raise UserError(f"{where}: only {len(fields)} values, fewer than columns; correct it")
    return fields[path], [_number(fields[place], where) for place in places]


def _parted(fields: Sequence[str], where: str) -> tuple[str, list[float]]:
    """A path and the numbers behind it, each in a column of its own."""
    path, numbers = fields[0], fields[1:]
    if not path or len(numbers) not in _COUNTS or not all(map(_is_number, numbers)):
        raise _miscounted(path, sum(map(_is_number, numbers)), where)
    return path, list(map(float, numbers))


def _spaced(
    lines: Sequence[tuple[int, str]], file: epath.Path
) -> Iterator[tuple[str, list[float]]]:
    """Paths and the numbers behind them, between which nothing but spaces stands.

    A path may have spaces and numbers, too: `my cat 2 a.jpg`, `Anna 2` without a suffix, `000001`.
    What belongs to it is what stands before as many numbers as all lines have.
    """
    most = []
    for number, line in lines:
        words = line.split()
        behind = itertools.takewhile(_is_number, reversed(words[1:]))
        count = sum(1 for _ in behind)
        if count < min(_COUNTS):
            path = " ".join(words[: len(words) - count])
            raise _miscounted(path, count, f"{file} line {number}")
        most.append(count)
    agreed = max((count for count in _COUNTS if count <= min(most, default=0)), default=0)
    for (number, line), count in zip(lines, most):
        words = line.rsplit(None, agreed)
        if count > agreed and not _ends_in_number(words[0]):
            words = line.rsplit(None, count)  # numbers too many, which are no part of the name
            if count not in _COUNTS:
                raise _miscounted(words[0], count, f"{file} line {number}")
        yield words[0], list(map(float, words[1:]))


def _ends_in_number(path: str) -> bool:
    """Whether it may be a name like `Anna 2`: no `b.jpg 7`, and not numbers alone."""
    words = path.split()
    while words and words[-1].isdecimal():
        words.pop()
    return bool(words) and not (_is_number(words[-1]) or re.search(r"\.[A-Za-z]\w*$", words[-1]))


def _miscounted(path: str, count: int, where: str) -> UserError:
    return UserError(
        f"{where}: {count} numbers behind the path {path!r}; write "
        "path x1 y1 ... x5 y5, or one of the formats in docs/data.md"
    )


def _folder(folder: epath.Path, prefix: str) -> Iterator[tuple[str, list[float]]]:
    """`(path without suffix, numbers)` of the files of a folder."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = prefix + entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _folder(entry, f"{name}/")
        elif entry.suffix.lower() == ".json":
            for face in _faces_of(_json(entry), entry):
                yield name[: -len(entry.suffix)], face
        elif entry.suffix.lower() == ".txt":
            words = read_text(entry).replace(",", " ").split()
            numbers = [_number(word, str(entry)) for word in words]
            if len(numbers) % 10:
                raise UserError(f"{entry} has {len(numbers)} numbers; write ten for each face")
            for first in range(0, len(numbers), 10):
                yield name[: -len(entry.suffix)], numbers[first : first + 10]


def _json_table(file: epath.Path) -> Iterator[tuple[str, list[float]]]:
    table = _json(file)
    if not isinstance(table, dict):
        raise UserError(f'{file} is no table of photos; write {{"path": [[x, y], ...], ...}}')
    for path, value in table.items():
        for face in _faces_of(value, file):
            yield path, face


def _faces_of(value: Any, file: epath.Path) -> list[list[float]]:
    try:
        return list(_json_faces(value))
    except RecursionError as error:
        raise _too_deep(file) from error


def _json_faces(value: Any) -> Iterator[list[float]]:
    """Ten numbers of each face in what a detector's JSON holds, at any depth.

    A face is five pairs, ten numbers, or the five points by name (mtcnn's `keypoints`, RetinaFace's
    `landmarks`); boxes and scores are passed over.
    """
    if isinstance(value, dict):
        names = [next((n for n in names if n in value), None) for names in _JSON_NAMES]
        if None not in names:
            value = [value[name] for name in names]
        else:
            for item in value.values():
                yield from _json_faces(item)
            return
    if not isinstance(value, list):
        return
    if len(value) == 10 and all(map(_is_plain_number, value)):
        yield [float(number) for number in value]
    elif len(value) == 5 and all(map(_is_pair, value)):
        yield [float(number) for pair in value for number in pair]
    else:
        for item in value:
            yield from _json_faces(item)


def _is_plain_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_plain_number, value))


def _json(file: epath.Path) -> Any:
    try:
        # As float: a whole number may have more digits than Python takes for one.
        return json.loads(read_text(file), parse_int=float)
    except RecursionError as error:
        raise _too_deep(file) from error
    except json.JSONDecodeError as error:
        raise UserError(f"{file} line {error.lineno} is no JSON: {error.msg}") from error


def _too_deep(file: epath.Path) -> UserError:
    return UserError(f"{file} has lists in lists without end; write five pairs of numbers a face")


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _number(text: str, where: str) -> float:
    if not _is_number(text):
        raise UserError(f"{where}: {text!r} is no number; write x and y in pixels")
    return float(text)
