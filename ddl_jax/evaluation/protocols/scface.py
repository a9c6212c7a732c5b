"""SCface: who is it, from 4.2, 2.6 and 1 metre, against one frontal mugshot a person?"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from etils import epath

from ddl_jax.config import ProtocolEntry
from ddl_jax.data.image_folder import find_images
from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols.closed_set import closed_set
from ddl_jax.evaluation.protocols.images import ImageFiles, fingerprint, missing
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol, check_rows
from ddl_jax.evaluation.result import ProtocolResult

CAMERAS = (1, 2, 3, 4, 5)  # 6 and 7 are infrared
DISTANCES = {"d3": "3", "d2": "2", "d1": "1"}  # easy first: 1.0, 2.6 and 4.2 metres
_SUBJECTS = {
    "80": [f"{number:03d}" for number in range(51, 131)],
    "130": [f"{number:03d}" for number in range(1, 131)],
}
_RULES = {
    "80": "subjects 051..130; 001..050 are for fine-tuning (DCR's split; the DDL paper has 80 test "
    "subjects too, but does not name them)",
    "130": "all 130 subjects: only for networks that have seen none of them",
}
_FRONTAL = "mugshot_frontal_cropped_all"


def open_scface(entry: ProtocolEntry) -> Protocol:
    """Finds the images by their names, `001_cam1_1.jpg` and `001_frontal.jpg`, at any depth."""
    content = b""
    if entry.variant in _SUBJECTS and not entry.second:
        subjects, rule, name = _SUBJECTS[entry.variant], _RULES[entry.variant], entry.variant
    elif entry.second and not entry.variant:
        content, subjects = _read_subjects(entry.second)
        rule, name = f"the {len(subjects)} subjects of {entry.second}", str(len(subjects))
    else:
        raise UserError("write scface:80=FOLDER, scface:130=FOLDER, or scface=FOLDER@LIST")
    name = f"scface{name}"
    found = _find(entry.path)
    wanted = [_mugshot(subject) for subject in subjects]
    probes = {
        distance: [f"{subject}_cam{camera}_{d}" for subject in subjects for camera in CAMERAS]
        for distance, d in DISTANCES.items()
    }
    names = [*wanted, *(image for part in probes.values() for image in part)]
    missing([image for image in names if image not in found], "the image", entry.path)
    images = ImageFiles(entry.path, [found[image] for image in names])
    people = np.arange(len(subjects))
    probe_ids = np.repeat(people, len(CAMERAS))

    def evaluate(embeddings: np.ndarray) -> dict[str, ProtocolResult]:
        check_rows(embeddings, images)
        gallery, *parts = np.split(
            embeddings, len(subjects) + len(probe_ids) * np.arange(len(probes))
        )
        found = {}
        for number, (distance, part) in enumerate(zip(probes, parts)):
            start = len(subjects) + number * len(probe_ids)
            numbers = np.concatenate([start + np.arange(len(part)), people])
            found[f"{name}/{distance}"] = closed_set(
                part, probe_ids, gallery, people, ks=(1, 5), images=numbers
            )
        return found

    card = {
        "data": f"{fingerprint(entry.path, images.paths, content)} (names and sizes of the images)",
        "subjects": rule,
        "gallery": f"{len(subjects)} frontal mugshots"
        + (f" of {_FRONTAL}" if f"{_FRONTAL}/" in found[wanted[0]] else ""),
        "probes": f"{len(probe_ids)} a distance: cameras 1..5; d1 4.2 m, d2 2.6 m, d3 1.0 m",
        "alignment": "that of the images",
        "rank": "closed set, by cosine; a tie is no recognition",
        "FAR": "TAR at FAR <= target, over all probe-gallery pairs",
    }
    rows = _pairs(len(subjects), len(probe_ids), people, probe_ids)
    return Protocol(name, images, evaluate, rows, card)


def _pairs(subjects: int, probes: int, people: np.ndarray, ids: np.ndarray) -> PairRows:
    """Probes from the shortest distance, with their own mugshot and with the next person's."""
    near = subjects + np.arange(probes)
    return PairRows(
        np.concatenate([near, near]),
        np.concatenate([people[ids], np.roll(people, -1)[ids]]),
        np.repeat([True, False], probes),
    )


def _mugshot(subject: str) -> str:
    return f"{subject}_frontal"


def _find(folder: str) -> dict[str, str]:
    """The paths of the images by name; of several mugshots the cropped ones."""
    if not epath.Path(folder).is_dir():
        raise UserError(f"no folder {folder!r}; give that of SCface's images")
    found: dict[str, str] = {}
    for path in find_images(folder):
        if given := re.fullmatch(r"(?:.*/)?(\d{3}_(?:frontal|cam[1-7]_[123]))\.\w+", path):
            found[given[1]] = _choose(found.get(given[1]), path, folder)
    return found


def _choose(there: str | None, path: str, folder: str) -> str:
    if there is None:
        return path
    cropped = [each for each in (there, path) if f"{_FRONTAL}/" in each]
    if len(cropped) != 1:
        raise UserError(
            f"{folder} has one image twice, {there} and {path}; give a folder that has it once"
        )
    return cropped[0]


def _read_subjects(path: str) -> tuple[bytes, Sequence[str]]:
    if not epath.Path(path).is_file():
        raise UserError(f"no file {path!r}; give a list of subjects, one three-digit number a line")
    content = epath.Path(path).read_bytes()
    subjects = content.decode(errors="replace").split()
    for subject in subjects:
        if not re.fullmatch(r"\d{3}", subject) or subjects.count(subject) > 1:
            raise UserError(f"{path}: {subject!r}; write each three-digit subject number once")
    if len(subjects) < 2:
        raise UserError(f"{path} has {len(subjects)} subjects; identification needs 2 or more")
    return content, subjects
