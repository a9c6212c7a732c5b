"""The meta files of IJB-B and IJB-C, in the form in which insightface hands them out."""

from __future__ import annotations

import dataclasses
import hashlib
import io

import numpy as np
from etils import epath

from ddl_jax.errors import UserError

# The two galleries and the probes of 1:N.
LISTS_1N = {
    "ijbb": ("ijbb_1N_gallery_S1.csv", "ijbb_1N_gallery_S2.csv", "ijbb_1N_probe_mixed.csv"),
    "ijbc": ("ijbc_1N_gallery_G1.csv", "ijbc_1N_gallery_G2.csv", "ijbc_1N_probe_mixed.csv"),
}


@dataclasses.dataclass(frozen=True)
class IjbFiles:
    """What the meta files say.

    Attributes:
      names: `[n]` images of `loose_crop`.
      landmarks: `[n, 5, 2]` float32 (x, y).
      detector: `[n]` float32, the detector's score.
      templates, medias: `[n]` of every image.
      first, second, same: `[N]` pairs of templates.
      lists_1n: `{file: (templates, subjects)}` of the galleries and probes of 1:N; empty if the
        files are not there.
      hashes: SHA-256 of each file.
    """

    names: list[str]
    landmarks: np.ndarray
    detector: np.ndarray
    templates: np.ndarray
    medias: np.ndarray
    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    lists_1n: dict[str, tuple[np.ndarray, np.ndarray]]
    hashes: list[bytes]


def read_ijb(folder: str, kind: str) -> IjbFiles:
    """Reads and checks `folder/meta` of IJB-B (`kind` "ijbb") or IJB-C ("ijbc").

    Raises:
      UserError: a file that is missing or malformed, lists that do not agree, a pair or a list that
        names a template without images.
    """
    meta = epath.Path(folder) / "meta"
    if not meta.is_dir():
        raise UserError(f"no folder '{meta}'; give the one that has meta and loose_crop")
    files = [f"{kind}_{n}.txt" for n in ("name_5pts_score", "face_tid_mid", "template_pair_label")]
    there_1n = [name for name in LISTS_1N[kind] if (meta / name).is_file()]
    if there_1n and len(there_1n) < 3:
        lost = next(name for name in LISTS_1N[kind] if name not in there_1n)
        raise UserError(f"no file '{meta / lost}', but the other lists of 1:N are there; add it")
    content = {name: _read(meta / name) for name in [*files, *there_1n]}
    names, numbers = _named(content[files[0]], f"{meta / files[0]}", 11, np.float32)
    faces, ids = _named(content[files[1]], f"{meta / files[1]}", 2, np.int64)
    if names != faces:
        row = next((i for i, two in enumerate(zip(names, faces)) if two[0] != two[1]), None)
        told = f"{len(names)} and {len(faces)} images" if row is None else f"line {row + 1} differs"
        raise UserError(f"{meta}: {files[0]} and {files[1]}: {told}; restore them")
    pairs = _integers(content[files[2]], f"{meta / files[2]}")
    if pairs.shape[1] != 3 or not np.isin(pairs[:, 2], (0, 1)).all():
        raise UserError(f"{meta / files[2]}: write two templates and the label 1 or 0 on each line")
    same = pairs[:, 2] == 1
    if same.all() or not same.any():
        raise UserError(f"{meta / files[2]}: {same.sum()} of {len(same)} pairs are genuine")
    lists_1n = {name: _subjects(content[name], f"{meta / name}") for name in there_1n}
    _check_templates(ids[:, 0], pairs[:, :2], f"{meta / files[2]}")
    for name, (templates, _) in lists_1n.items():
        _check_templates(ids[:, 0], templates, f"{meta / name}")
    if lists_1n:
        _check_galleries(lists_1n, f"{meta}")
    landmarks = numbers[:, :10].reshape(-1, 5, 2)
    return IjbFiles(
        *(names, landmarks, numbers[:, 10], ids[:, 0], ids[:, 1]),
        *(pairs[:, 0], pairs[:, 1], same, lists_1n),
        [hashlib.sha256(each).digest() for each in content.values()],
    )


def _read(path: epath.Path) -> bytes:
    if not path.is_file():
        raise UserError(f"no file '{path}'; it comes with insightface's IJB release")
    return path.read_bytes()


def _named(content: bytes, path: str, numbers: int, dtype: type) -> tuple[list[str], np.ndarray]:
    """Lines of a name and so many finite numbers."""
    words = content.split()
    columns = 1 + numbers
    try:
        if len(words) % columns or not words:
            raise ValueError
        table = np.array(words).reshape(-1, columns)
        values = table[:, 1:].astype(dtype)
        if not np.isfinite(values).all():
            raise ValueError
    except ValueError as error:
        for line, text in enumerate(content.splitlines(), start=1):
            if not _is_line(text.split(), columns, dtype):
                shown = text.decode(errors="replace")[:60]
                raise UserError(
                    f"{path} line {line}: {shown!r}; write a name and {numbers} numbers"
                ) from error
        raise UserError(f"{path} is empty; restore it") from error
    return [name.decode(errors="replace") for name in table[:, 0].tolist()], values


def _is_line(words: list[bytes], columns: int, dtype: type) -> bool:
    try:
        return len(words) == columns and bool(np.isfinite(np.array(words[1:]).astype(dtype)).all())
    except ValueError:
        return False


def _integers(content: bytes, path: str, delimiter: str | None = None) -> np.ndarray:
    try:
        table = np.loadtxt(io.BytesIO(content), np.int64, ndmin=2, delimiter=delimiter)
    except ValueError as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}; restore it") from error
    if not table.size:
        raise UserError(f"{path} is empty; restore it")
    return table


def _subjects(content: bytes, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Templates and their subjects, one line an image in the files: each template once here."""
    lines = [line.split(b",")[:2] for line in content.splitlines()[1:] if line.strip()]
    table = _integers(b"\n".join(b",".join(line) for line in lines), path, ",")
    if table.shape[1] != 2:
        raise UserError(f"{path}: write TEMPLATE_ID,SUBJECT_ID,... below a line that names them")
    templates, first = np.unique(table[:, 0], return_index=True)
    subjects = table[first, 1]
    other = subjects[np.searchsorted(templates, table[:, 0])] != table[:, 1]
    if other.any():
        template = table[np.argmax(other), 0]
        raise UserError(f"{path}: template {template} is of two subjects; restore the list")
    return templates, subjects


def _check_templates(known: np.ndarray, named: np.ndarray, path: str) -> None:
    lost = np.setdiff1d(named, known)
    if len(lost):
        raise UserError(
            f"{path}: template {lost[0]} has no image in the face_tid_mid list ({len(lost)} such)"
        )


def _check_galleries(lists: dict[str, tuple[np.ndarray, np.ndarray]], meta: str) -> None:
    """1:N needs every probe's subject once in one gallery, and for each probes of the other."""
    (one, (_, first)), (two, (_, second)), (probe, (_, probes)) = lists.items()
    for name, subjects in ((one, first), (two, second)):
        found, counts = np.unique(subjects, return_counts=True)
        if counts.max() > 1:
            subject = found[np.argmax(counts)]
            raise UserError(f"{meta}/{name}: subject {subject} has two templates; restore the list")
        if not np.isin(probes, subjects).any():
            raise UserError(f"{meta}/{name}: no probe of {probe} is of its subjects; restore them")
    if len(both := np.intersect1d(first, second)):
        raise UserError(f"{meta}: subject {both[0]} is in {one} and in {two}; restore them")
    if len(lost := np.setdiff1d(probes, [*first, *second])):
        raise UserError(f"{meta}/{probe}: subject {lost[0]} is in neither gallery; restore it")
