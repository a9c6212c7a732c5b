"""TinyFace: identification among 153,428 distractors."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from etils import epath
from scipy.io import loadmat

from ddl_jax.config import ProtocolEntry
from ddl_jax.data.image_folder import find_images
from ddl_jax.errors import UserError
from ddl_jax.evaluation.protocols.closed_set import closed_set
from ddl_jax.evaluation.protocols.images import ImageFiles, fingerprint, missing, stem
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol, check_rows
from ddl_jax.evaluation.result import ProtocolResult

# Folder, list, and its two columns.
_MATCH = ("Gallery_Match", "gallery_match_img_ID_pairs.mat", "gallery_set", "gallery_ids")
_PROBE = ("Probe", "probe_img_ID_pairs.mat", "probe_set", "probe_ids")
_DISTRACTOR = "Gallery_Distractor"
_PUBLISHED = (3_728, 4_443, 153_428)  # probes, gallery, distractors


def open_tinyface(entry: ProtocolEntry) -> Protocol:
    """Reads `Probe`, `Gallery_Match` and `Gallery_Distractor`, and whose the images are.

    The lists are those beside the folders, or in the folder of the entry's second path; without any
    the images' names tell, which begin with the identity's number.
    """
    if entry.variant:
        raise UserError("tinyface has no variants; write tinyface=FOLDER or tinyface=FOLDER@LISTS")
    root = _root(entry.path)
    lists = entry.second or root
    probe, probe_ids, probe_list = _side(root, lists, *_PROBE)
    match, match_ids, match_list = _side(root, lists, *_MATCH)
    if bool(probe_list) != bool(match_list):
        raise UserError(f"{lists} has one of {_PROBE[1]} and {_MATCH[1]}; give both or neither")
    if entry.second and not probe_list:
        raise UserError(f"{lists} has neither {_PROBE[1]} nor {_MATCH[1]}")
    distractors = [f"{_DISTRACTOR}/{path}" for path in find_images(f"{root}/{_DISTRACTOR}")]
    if not distractors:
        raise UserError(f"{root}/{_DISTRACTOR} holds no image; TinyFace has {_PUBLISHED[2]:,}")
    absent = np.setdiff1d(probe_ids, match_ids)
    if len(absent):
        raise UserError(
            f"{root}: identity {absent[0]} of {probe[np.argmax(probe_ids == absent[0])]} has no "
            f"image in {_MATCH[0]} ({len(absent)} such identities)"
        )
    if len(np.unique(match_ids)) < 2:
        raise UserError(f"{root}/{_MATCH[0]} has one identity only; identification needs 2 or more")
    images = ImageFiles(root, [*probe, *match, *distractors])
    gallery_ids = np.concatenate([match_ids, np.full(len(distractors), -1)])

    def evaluate(embeddings: np.ndarray) -> dict[str, ProtocolResult]:
        check_rows(embeddings, images)
        probes, gallery = np.split(embeddings, [len(probe)])
        return {"tinyface": closed_set(probes, probe_ids, gallery, gallery_ids, ks=(1, 5, 20))}

    counts = (len(probe), len(match), len(distractors))
    card = {
        "data": f"{fingerprint(root, images.paths, probe_list, match_list)} (the lists; names and "
        "sizes of the images)",
        "images": "{:,} probes, {:,} gallery images, {:,} distractors".format(*counts)
        + (
            ""
            if counts == _PUBLISHED
            else ", not the {:,}, {:,}, {:,} published".format(*_PUBLISHED)
        ),
        "identities": "by the .mat lists" if probe_list else "by the images' names",
        "alignment": "that of the images",
        "rank": "closed set: the best image of the identity among the k nearest of gallery and "
        "distractors, by cosine; a tie is no recognition",
        "FAR": "TAR at FAR <= target, over all probe-gallery pairs",
    }
    return Protocol("tinyface", images, evaluate, _pairs(probe_ids, match_ids), card)


def _root(path: str) -> str:
    """The folder of the three, or the one whose `Testing_Set` it is."""
    for root in (path, f"{path}/Testing_Set"):
        if (epath.Path(root) / _PROBE[0]).is_dir():
            for folder in (_MATCH[0], _DISTRACTOR):
                if not (epath.Path(root) / folder).is_dir():
                    raise UserError(f"{root} has no folder {folder}, only {_PROBE[0]}")
            return root
    raise UserError(f"{path} has no folder {_PROBE[0]} or Testing_Set/{_PROBE[0]}")


def _side(
    root: str, lists: str, folder: str, file: str, names_key: str, ids_key: str
) -> tuple[list[str], np.ndarray, bytes]:
    """Paths and identities of the images of a folder, and the list that says so, if any."""
    paths = [f"{folder}/{path}" for path in find_images(f"{root}/{folder}")]
    if not paths:
        raise UserError(f"{root}/{folder} holds no image")
    place = epath.Path(lists) / file
    if not place.is_file():
        return paths, np.array([_id_of(path, root) for path in paths]), b""
    content = place.read_bytes()
    names, ids = _read_mat(content, str(place), names_key, ids_key)
    # Aligned copies may have another suffix than the list.
    path_of = {stem(path): path for path in paths}
    missing([name for name in names if stem(name) not in path_of], "the image", f"{root}/{folder}")
    return [path_of[stem(name)] for name in names], ids, content


def _id_of(path: str, root: str) -> int:
    number = stem(path).partition("_")[0]
    if not number.isdecimal():
        raise UserError(
            f"{root}: {path} does not begin with an identity's number, as 12_3.jpg does, and there "
            f"is no {_PROBE[1]}; give the folder of the lists, tinyface=FOLDER@LISTS"
        )
    return int(number)


def _read_mat(
    content: bytes, path: str, names_key: str, ids_key: str
) -> tuple[Sequence[str], np.ndarray]:
    try:
        table = loadmat(io.BytesIO(content))
        # A column of cells, each of which holds one text.
        names = [str(np.ravel(cell)[0]) for cell in np.ravel(table[names_key])]
        ids = np.ravel(table[ids_key]).astype(np.int64)
    except Exception as error:  # a damaged file fails in any of scipy's ways
        raise UserError(f"{path} is no list of {names_key} and {ids_key}: {error}") from error
    if len(names) != len(ids) or not names:
        raise UserError(f"{path}: {len(names)} {names_key} and {len(ids)} {ids_key}; one of each")
    if ids.min() < 0:
        raise UserError(f"{path}: identity {ids.min()} is negative; distractors have no list")
    return names, ids


def _pairs(probe_ids: np.ndarray, match_ids: np.ndarray) -> PairRows:
    """Every probe with an image of its identity, and with one of the next identity."""
    known, first = np.unique(match_ids, return_index=True)
    own = np.searchsorted(known, probe_ids)
    rows, gallery = np.arange(len(probe_ids)), len(probe_ids) + first
    return PairRows(
        np.concatenate([rows, rows]),
        np.concatenate([gallery[own], gallery[(own + 1) % len(known)]]),
        np.repeat([True, False], len(rows)),
    )
