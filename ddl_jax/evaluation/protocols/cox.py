"""COX: stills against videos of three cameras, for each group of people that a list names."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

import numpy as np
from etils import epath

from ddl_jax.config import ProtocolEntry
from ddl_jax.data.image_folder import find_images
from ddl_jax.data.table import read_table
from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols.closed_set import closed_set
from ddl_jax.evaluation.protocols.images import ImageFiles, fingerprint
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol, check_rows
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.evaluation.similarity import unit_rows
from ddl_jax.evaluation.verification import template_features

_STILL = "still"


def open_cox(entry: ProtocolEntry) -> Protocol:
    """Finds stills and frames by their paths, which hold a subject's number, `20110318_0001`.

    A frame is in a folder `cam1`, `cam2`, ... (or `video1`, ...), a still in one with "still" in
    its name. The entry's second path is a CSV `identity,group` of whom to evaluate.
    """
    if entry.variant:
        raise UserError("cox has no variants; write cox=FOLDER or cox=FOLDER@LIST.csv")
    faces, unused = _find(entry.path)
    content, group_of = _read_groups(entry.second, faces)
    groups = sorted(set(group_of.values()))
    cameras = sorted({place for places in faces.values() for place in places} - {_STILL})
    _check(entry.path, faces, group_of, cameras)
    columns = _Columns.of(faces, group_of, [_STILL, *cameras])
    images = ImageFiles(entry.path, columns.paths)

    def evaluate(embeddings: np.ndarray) -> dict[str, ProtocolResult]:
        check_rows(embeddings, images)
        found: dict[str, ProtocolResult] = {}
        for group in groups:
            prefix = f"cox/{group}" if entry.second else "cox"
            sides = {
                place: columns.templates(embeddings, place, group) for place in [_STILL, *cameras]
            }
            for probe, gallery, name in _comparisons(cameras):
                one, two = sides[probe], sides[gallery]
                found[f"{prefix}/{name}"] = closed_set(
                    *(one.features, one.subjects, two.features, two.subjects),
                    ks=(1, 5),
                    images=np.concatenate([one.images, two.images]),
                )
        return found

    people = {group: list(group_of.values()).count(group) for group in groups}
    card = {
        "data": f"{fingerprint(entry.path, columns.paths, content)} (the list; names and sizes of "
        f"the images); {unused} other images of the folder are not used",
        "people": ", ".join(f"{group}: {count}" for group, count in people.items())
        + (", by the list; a gallery holds its own group" if entry.second else ", no list"),
        "images": f"{len(columns.paths)}, of one still and {len(cameras)} videos a person",
        "video": "mean of its frames' unit embeddings",
        "names": "v2s: probes are videos, the gallery stills; s2v the reverse; v2v/camA-camB: "
        "probes of A, gallery of B",
        "alignment": "that of the images",
        "rank": "closed set, by cosine; a tie is no recognition",
        "FAR": "TAR at FAR <= target, over all probe-gallery pairs",
    }
    return Protocol("cox", images, evaluate, columns.pairs(cameras[0]), card)


class _Side(NamedTuple):
    """Probes or gallery: a row a person, and the number of the person's first image."""

    features: np.ndarray
    subjects: np.ndarray
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Every image in use: its path, subject (a number), place and group."""

    paths: list[str]
    subjects: np.ndarray
    places: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(
        cls, faces: dict[str, dict[str, list[str]]], group_of: dict[str, str], places: list[str]
    ) -> _Columns:
        rows = [
            (path, number, place, group)
            for number, (subject, group) in enumerate(group_of.items())
            for place in places
            for path in faces[subject][place]
        ]
        paths, subjects, where, groups = zip(*rows)
        return cls(list(paths), np.array(subjects), np.array(where), np.array(groups))

    def templates(self, embeddings: np.ndarray, place: str, group: str) -> _Side:
        """One feature for each person of a group in a place."""
        rows = np.flatnonzero((self.places == place) & (self.groups == group))
        subjects = self.subjects[rows]
        # All frames of a person are one media: their mean.
        features, people = template_features(
            unit_rows(embeddings[rows]), subjects, np.zeros(len(rows), int)
        )
        _, first = np.unique(subjects, return_index=True)
        return _Side(features, people, rows[first])

    def pairs(self, camera: str) -> PairRows:
        """Stills with the same and with the next person's first frame."""
        stills = np.flatnonzero(self.places == _STILL)
        frames = np.flatnonzero(self.places == camera)
        _, first = np.unique(self.subjects[frames], return_index=True)
        frames = frames[first]
        return PairRows(
            np.concatenate([stills, stills]),
            np.concatenate([frames, np.roll(frames, -1)]),
            np.repeat([True, False], len(stills)),
        )


def _comparisons(cameras: list[str]) -> list[tuple[str, str, str]]:
    """Probe, gallery and the name of the result."""
    return [
        *((camera, _STILL, f"v2s/{camera}") for camera in cameras),
        *((_STILL, camera, f"s2v/{camera}") for camera in cameras),
        *((a, b, f"v2v/{a}-{b}") for a in cameras for b in cameras if a != b),
    ]


def _find(folder: str) -> tuple[dict[str, dict[str, list[str]]], int]:
    """`{subject: {"still" or camera: paths}}`, and how many images are neither."""
    if not epath.Path(folder).is_dir():
        raise UserError(f"no folder {folder!r}; give that of COX's stills and videos")
    faces: dict[str, dict[str, list[str]]] = {}
    unused = 0
    for path in find_images(folder):
        subject, place = re.search(r"\d{8}_\d{4}", path), _place(path)
        if subject is None or place is None:
            unused += 1
        else:
            faces.setdefault(subject[0], {}).setdefault(place, []).append(path)
    if not faces:
        raise UserError(
            f"{folder} holds no still/20110318_0001.jpg or cam1/20110318_0001/1.jpg or the like"
        )
    return faces, unused


def _place(path: str) -> str | None:
    folders = path.lower().split("/")[:-1]
    for folder in folders:
        if camera := re.fullmatch(r"(?:cam|camera|video)_?([1-4])", folder):
            return f"cam{camera[1]}"
    return _STILL if any(_STILL in folder for folder in folders) else None


def _read_groups(path: str, faces: dict[str, dict[str, list[str]]]) -> tuple[bytes, dict[str, str]]:
    """The list's bytes, and the group of everybody on it."""
    if not path:
        return b"", dict.fromkeys(faces, "everybody")
    if not epath.Path(path).is_file():
        raise UserError(f"no file {path!r}; give a CSV identity,group of whom to evaluate")
    group_of: dict[str, str] = {}
    for where, row in read_table(epath.Path(path), ("identity", "group")):
        subject, group = row["identity"].strip(), row["group"].strip()
        if subject not in faces:
            raise UserError(f"{where}: there is no image of {subject!r}; leave it out or add them")
        if subject in group_of:
            raise UserError(f"{where}: {subject!r} is named twice; name everybody once")
        if not re.fullmatch(r"\w[\w -]*", group):
            raise UserError(f"{where}: group is {group!r}; write a plain name")
        group_of[subject] = group
    if not group_of:
        raise UserError(f"{path} names nobody; write lines identity,group")
    return epath.Path(path).read_bytes(), group_of


def _check(
    folder: str,
    faces: dict[str, dict[str, list[str]]],
    group_of: dict[str, str],
    cameras: list[str],
) -> None:
    if not cameras:
        raise UserError(f"{folder} has no folder cam1, cam2 or cam3 with frames")
    for subject in group_of:
        lost = [place for place in (_STILL, *cameras) if place not in faces[subject]]
        if lost:
            raise UserError(f"{folder}: {subject} has no image of {lost[0]}; add it")
        stills = faces[subject][_STILL]
        if len(stills) > 1:
            raise UserError(f"{folder}: {subject} has two stills, {stills[0]} and {stills[1]}")
    counts = {group: list(group_of.values()).count(group) for group in group_of.values()}
    for group, count in counts.items():
        if count < 2:
            raise UserError(f"group {group!r} has {count} person; identification needs 2 or more")
