"""Ten-fold verification: LFW, XQLFW, CFP-FF, CFP-FP, AgeDB-30, CALFW, CPLFW and anybody's pairs."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.evaluation.images import Images
from ddl_jax.evaluation.pairs_protocol import pairs_protocol, read_pairs
from ddl_jax.evaluation.protocols.images import (
    EncodedImages,
    FolderIndex,
    ImageFiles,
    fingerprint,
    people_by_name,
)
from ddl_jax.evaluation.protocols.pair_lists import FOLDS, check_kinds, read_pair_list, tenths
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol, check_rows
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.interop import read_verification_bin

_RULE = (
    "same person where the squared L2 distance of unit embeddings is below the threshold of the "
    "grid 0, .01, ..., 3.99 that is best on the other folds, the first of equals"
)
SUFFIXES = (".bin", ".txt", ".csv")


def open_verification(name: str, path: str, images: str = "") -> Protocol:
    """Reads a benchmark of pairs.

    Args:
      name: of its results.
      path: insightface's `.bin`, with the images inside; or a list of their names: `.txt` as
        `pair_lists` says, or a CSV `first,second,same` and perhaps `fold`.
      images: the folder of the listed images; the list's own when empty.

    Raises:
      UserError: a file that is missing or malformed, an image that is missing, too few pairs.
    """
    if not epath.Path(path).is_file():
        raise UserError(f"no file {path!r}; give the .bin, .txt or .csv of {name!r}")
    if path.endswith(".bin"):
        if images:
            raise UserError(f"{path} has its images inside; leave out @{images}")
        return _open_bin(name, path)
    root = images or str(epath.Path(path).parent)
    return (_open_csv if path.endswith(".csv") else _open_list)(name, path, root)


def _open_bin(name: str, path: str) -> Protocol:
    encoded, same = read_verification_bin(path)
    check_kinds(same, path)
    # The same picture comes in several pairs.
    number: dict[bytes, int] = {}
    rows = np.array([number.setdefault(image, len(number)) for image in encoded])
    folds = np.repeat(np.arange(FOLDS), _fold_sizes(len(same)))
    card = {
        "data": hashlib.sha256(epath.Path(path).read_bytes()).hexdigest()[:16],
        "alignment": "as in the file; insightface's are 112x112, by five points",
        "folds": "contiguous",
    }
    pairs = PairRows(rows[::2], rows[1::2], same)
    return _protocol(name, EncodedImages(list(number), path), pairs, folds, card)


def _fold_sizes(pairs: int) -> np.ndarray:
    return pairs // FOLDS + (np.arange(FOLDS) < pairs % FOLDS)


def _open_list(name: str, path: str, root: str) -> Protocol:
    pairs = read_pair_list(path)
    folder = FolderIndex(root)
    first, second = (
        [folder.find(image, where) for image, where in zip(images, pairs.lines)]
        for images in (pairs.first, pairs.second)
    )
    paths = sorted({*first, *second})
    row = {image: number for number, image in enumerate(paths)}
    rows = PairRows(
        np.array([row[image] for image in first]),
        np.array([row[image] for image in second]),
        pairs.same,
    )
    card = _files_card(path, root, paths) | {"folds": pairs.folds_from}
    return _protocol(name, ImageFiles(root, paths), rows, pairs.fold, card)


def _open_csv(name: str, path: str, root: str) -> Protocol:
    pairs = read_pairs(path)
    check_kinds(pairs.same, path)
    first, second = pairs.rows(FolderIndex(root).paths)  # names the images that are missing
    first, second = pairs.rows(pairs.images)
    fold = tenths(pairs.same) if pairs.fold is None else pairs.fold
    card = _files_card(path, root, pairs.images) | {
        "folds": "published" if pairs.fold is not None else "tenths of either kind, in order"
    }
    images = ImageFiles(root, pairs.images)
    return _protocol(name, images, PairRows(first, second, pairs.same), fold, card)


def _files_card(path: str, root: str, paths: list[str] | tuple[str, ...]) -> dict[str, Any]:
    content = epath.Path(path).read_bytes()
    return {
        "data": f"{fingerprint(root, paths, content)} (the list; names and sizes of the images)",
        "alignment": "that of the images",
    }


def _protocol(
    name: str, images: Images, pairs: PairRows, fold: np.ndarray, card: dict[str, Any]
) -> Protocol:
    people = None
    if isinstance(images, ImageFiles):
        people = people_by_name(images.paths, pairs.first, pairs.second, pairs.same)

    def evaluate(embeddings: np.ndarray) -> dict[str, ProtocolResult]:
        check_rows(embeddings, images)
        result = pairs_protocol(
            embeddings,
            pairs.first,
            pairs.second,
            pairs.same,
            fold=fold,
            identities=people,
            seed=zlib.crc32(name.encode()),  # lists of different people are drawn apart
        )
        return {name: result}

    genuine = np.sum(pairs.same)
    card = {
        "pairs": f"{len(pairs.same)}, {genuine} of them genuine, of {len(images)} images",
        **card,
        "accuracy": f"{len(np.unique(fold))} folds; {_RULE}",
        "FAR": "TAR at FAR <= target, over all pairs together",
        "error bars": "over pairs, as nobody says who is who: too narrow where people come in "
        "several pairs"
        if people is None
        else f"over {people.max() + 1} people, told by the images' folders or names",
    }
    return Protocol(name, images, evaluate, pairs, card)
