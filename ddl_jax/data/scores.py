"""Scores of the images of a data set, from wherever they come: pixels, landmarks, a table."""

from collections.abc import Sequence

import numpy as np
from etils import epath

from ddl_jax.data.image_landmarks import eyes_to_mouth, image_landmarks
from ddl_jax.data.image_scores import IMAGE_SCORES, image_scores
from ddl_jax.data.pose import head_pose
from ddl_jax.data.source import RecordIndex, Source
from ddl_jax.data.table import read_table, table_names
from ddl_jax.errors import UserError

# Degrees to either side, 0 is straight; pixels from the eyes to the mouth, in the photo that the
# landmarks are of: what an image had before it was brought to the size of all.
LANDMARK_SCORES = ("yaw", "roll", "face_size")
NETWORK_SCORES = ("norm", "similarity")


def check_scores(names: Sequence[str], *, landmarks: str, table: str, network: bool) -> None:
    """Refuses scores that nothing given here can tell.

    Raises:
      UserError: names the first, and what it needs.
    """
    given = table_columns(table)
    for name in names:
        if name in given:
            continue
        if name in LANDMARK_SCORES and not landmarks:
            raise UserError(f"the score {name!r} needs --landmarks=FILE")
        if name in NETWORK_SCORES and not network:
            raise UserError(f"the score {name!r} needs --checkpoint, a network")
        known = (*IMAGE_SCORES, *LANDMARK_SCORES, *NETWORK_SCORES)
        if name not in known:
            raise UserError(
                f"no score {name!r}; choose of {', '.join(known)}, or give --table=FILE.csv with a "
                + (
                    f"column of this name; {table} has {','.join(given)}"
                    if table
                    else "column of this name"
                )
            )


def read_scores(
    source: Source, names: Sequence[str], *, landmarks: str = "", table: str = ""
) -> dict[str, np.ndarray]:
    """The scores that need no network, `{name: [n] float64}`; NaN where an image has none.

    Args:
      source: the images.
      names: columns of `table`, else those of pixels (`image_scores`) or of landmarks.
      landmarks: a file of them, for yaw, roll and face_size.
      table: a CSV with a column `path` and columns of numbers.

    Raises:
      UserError: an image or file that cannot be read.
    """
    given = table_columns(table)
    columns = [name for name in names if name in given]
    others = [name for name in names if name not in given]
    found = image_scores(source, [name for name in others if name in IMAGE_SCORES])
    if any(name in LANDMARK_SCORES for name in others):
        points = image_landmarks(landmarks, source.index)
        yaw, roll = map(np.abs, head_pose(points))
        found |= dict(zip(LANDMARK_SCORES, (yaw, roll, eyes_to_mouth(points))))
    if columns:
        found |= _columns(table, columns, source.index)
    return {name: found[name] for name in names if name in found}


def table_columns(file: str) -> list[str]:
    """The columns of a table of scores beside `path`; none without a file's name.

    Raises:
      UserError: no file, or no CSV.
    """
    if not file:
        return []
    if not epath.Path(file).is_file():
        raise UserError(f"--table: no file {file!r}; give a CSV with a column path")
    return [name for name in table_names(epath.Path(file)) if name != "path"]


def _columns(file: str, columns: Sequence[str], index: RecordIndex) -> dict[str, np.ndarray]:
    """Columns of numbers of a CSV file; an empty cell, or an image without a line, is NaN."""
    row_of = {path: row for row, path in enumerate(index.paths.tolist())}
    found = {name: np.full(len(index), np.nan) for name in columns}
    filled: set[str] = set()
    for where, line in read_table(epath.Path(file), ("path", *columns)):
        path = line["path"]
        if path in filled:
            raise UserError(f"{where}: {path!r} stands there twice; leave one line of it")
        filled.add(path)
        if path not in row_of:  # of an image that was not chosen
            continue
        for name in columns:
            found[name][row_of[path]] = _number(line[name], f"{where}, column {name}")
    if not filled & row_of.keys():
        raise UserError(f"--table: {file} has a line for none of the images, {index.paths[0]} ...")
    return found


def _number(text: str, where: str) -> float:
    if not text.strip():
        return np.nan
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{where}: {text!r} is no number; leave it empty for none") from error
