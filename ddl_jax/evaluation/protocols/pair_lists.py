"""Lists of pairs as benchmarks publish them, by image name: pairs.txt of LFW and its kin.

* LFW, XQLFW: a line `10 300`, then for each of ten folds 300 lines `name n1 n2` (the images
  `name_0001`) and 300 lines `name1 n1 name2 n2`. RFW: the same without the first line.
* CALFW, CPLFW: two lines a pair, `image label`, with the same label: 0 for different people, else
  the same person. CALFW's labels 1..10 are the folds of its genuine pairs.
* others: `image image label` on one line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from etils import epath

from ddl_jax.data.text_file import read_text
from ddl_jax.errors import UserError

FOLDS = 10


@dataclasses.dataclass(frozen=True)
class NamedPairs:
    """Pairs by the names of their images, `same[N]`, the fold of each, and where each stands."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    same: np.ndarray
    fold: np.ndarray
    lines: tuple[str, ...]
    folds_from: str  # where the folds come from


def read_pair_list(path: str) -> NamedPairs:
    """Reads any of the lists above.

    Raises:
      UserError: with its line, what is none of them; pairs of one kind only; too few.
    """
    lines = _lines(path)
    sizes = _header(lines)
    if sizes is not None:
        lines = lines[1:]
    if lines and len(lines[0][1]) == 2:
        pairs = _two_line_pairs(path, lines)
    else:
        pairs = [_one_line_pair(words, where) for where, words in lines]
    first, second, label, where = zip(*pairs) if pairs else ((), (), (), ())
    label = np.array(label, int)
    check_kinds(label > 0, path)
    if sizes is not None and len(sizes) == 2:
        fold, folds_from = _published(label > 0, where, path, *sizes), "published"
    else:
        fold, folds_from = tenths(label > 0), "tenths of either kind, in the order of the list"
        if label.max() > 1:
            fold = np.where(label > 0, label, fold + 1)
            folds_from = "published for genuine pairs, tenths of the impostor pairs in their order"
    return NamedPairs(first, second, label > 0, fold, where, folds_from)


def tenths(same: np.ndarray) -> np.ndarray:
    """Folds `[N]` for pairs that have none: a tenth of either kind each, in order.

    For lists that go 300 genuine, 300 impostor, 300 genuine, ... these are the contiguous ones.
    """
    fold = np.empty(len(same), int)
    for kind in (True, False):
        rows = np.flatnonzero(same == kind)
        fold[rows] = np.arange(len(rows)) * FOLDS // max(len(rows), 1)
    return fold


def check_kinds(same: np.ndarray, path: str) -> None:
    """Refuses fewer pairs of either kind than folds."""
    genuine = int(np.sum(same))
    if min(genuine, len(same) - genuine) < FOLDS:
        raise UserError(
            f"{path}: {genuine} genuine and {len(same) - genuine} impostor pairs; {FOLDS} folds "
            f"need at least {FOLDS} of each"
        )


def _lines(path: str) -> list[tuple[str, list[str]]]:
    if not epath.Path(path).is_file():
        raise UserError(f"no file {path!r}; give the list of pairs of the benchmark")
    numbered = enumerate(read_text(path).splitlines(), start=1)
    return [(f"{path} line {number}", line.split()) for number, line in numbered if line.strip()]


def _header(lines: Sequence[tuple[str, list[str]]]) -> tuple[int, ...] | None:
    words = lines[0][1] if lines else []
    numbers = len(words) in (1, 2) and all(word.isdecimal() for word in words)
    return tuple(map(int, words)) if numbers else None


def _one_line_pair(words: list[str], where: str) -> tuple[str, str, int, str]:
    if len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():
        name, first, second = words
        return _image(name, first), _image(name, second), 1, where
    if len(words) == 4 and words[1].isdecimal() and words[3].isdecimal():
        return _image(words[0], words[1]), _image(words[2], words[3]), 0, where
    if len(words) == 3 and words[2] in ("0", "1"):
        return words[0], words[1], int(words[2]), where
    raise UserError(
        f"{where}: {' '.join(words)!r} is no pair; write NAME N1 N2, NAME1 N1 NAME2 N2, or "
        "IMAGE IMAGE 1 (same person) or 0"
    )


def _image(name: str, number: str) -> str:
    return f"{name}_{int(number):04d}.jpg"


def _two_line_pairs(
    path: str, lines: Sequence[tuple[str, list[str]]]
) -> list[tuple[str, str, int, str]]:
    for where, words in lines:
        if len(words) != 2 or not words[1].isdecimal():
            raise UserError(f"{where}: {' '.join(words)!r}; write IMAGE LABEL, two lines a pair")
    if len(lines) % 2:
        raise UserError(f"{path}: {len(lines)} lines; a pair has two")
    pairs = []
    for (where, (first, label)), (_, (second, other)) in zip(lines[::2], lines[1::2]):
        if label != other:
            raise UserError(f"{where}: label {label}, and {other} on the pair's second line")
        pairs.append((first, second, int(label), where))
    return pairs


def _published(
    same: np.ndarray, where: Sequence[str], path: str, folds: int, each: int
) -> np.ndarray:
    """The folds of a list that says `folds each` in its first line."""
    if folds < 2 or len(same) != folds * 2 * each:
        raise UserError(
            f"{path}: {len(same)} pairs, but its first line announces {folds} folds of {each} "
            "genuine and as many impostor pairs; restore the list"
        )
    wrong = same != np.tile(np.repeat([True, False], each), folds)
    if wrong.any():
        raise UserError(
            f"{where[int(np.argmax(wrong))]}: not the kind of pair that belongs here; its first "
            f"line announces {each} genuine, then {each} impostor pairs a fold"
        )
    return np.repeat(np.arange(folds), 2 * each)
