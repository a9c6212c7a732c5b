"""Pictures of the hardest pairs, for a report that may show faces."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from etils import epath

from ddl_jax.data.alignment import align
from ddl_jax.data.decode import decode_image, fit
from ddl_jax.evaluation.hardest import FacePair, HardPair
from ddl_jax.evaluation.images import EncodedImage, Images
from ddl_jax.evaluation.kept_files import read_object, reading
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.files import write_atomically

FILE = "faces.json"
_SIDE = 112  # pixels
_QUALITY = 80


def with_faces(
    results: Mapping[str, ProtocolResult], images: Images, most: int
) -> dict[str, ProtocolResult]:
    """The results with `most` of their hardest pairs of either kind as pictures; 0: none."""
    if not most:
        return dict(results)
    return {
        name: dataclasses.replace(result, faces=_face_pairs(result.hardest, images, most))
        for name, result in results.items()
    }


def _face_pairs(hardest: Sequence[HardPair], images: Images, most: int) -> list[FacePair]:
    """The `most` hardest genuine and impostor pairs, as the network sees their images.

    Args:
      hardest: worst first, images by their numbers.
      images: those of the protocol.
      most: of either kind.
    """
    found = []
    for kind in (True, False):
        for pair in [each for each in hardest if each.genuine == kind][:most]:
            two = [images[number] for number in (pair.first, pair.second)]
            names = tuple(record["path"] for record in two)
            found.append(FacePair(kind, pair.score, names, tuple(map(_data_uri, two))))
    return found


def _data_uri(record: EncodedImage) -> str:
    pixels, landmarks = decode_image(record["image"], record["path"]), record.get("landmarks")
    if landmarks is not None:
        pixels = align(pixels, landmarks)
    pixels = fit(pixels, (_SIDE, _SIDE))
    blue_first = np.ascontiguousarray(pixels[..., ::-1])
    ok, content = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert ok
    return f"data:image/jpeg;base64,{base64.b64encode(np.asarray(content).tobytes()).decode()}"


def write_faces(directory: epath.Path, faces: Mapping[str, Sequence[FacePair]]) -> None:
    """Writes the faces of `{protocol: pairs}`; of none, takes away those of an earlier time."""
    path = directory / FILE
    if faces:
        plain = {
            name: [dataclasses.asdict(pair) for pair in pairs] for name, pairs in faces.items()
        }
        write_atomically(path, json.dumps(plain).encode())
    elif path.exists():
        path.unlink()


def read_faces(directory: epath.Path) -> dict[str, list[FacePair]]:
    """What `write_faces` wrote; nothing where it wrote nothing."""
    path = directory / FILE
    if not path.exists():
        return {}
    plain = read_object(path)
    with reading(path):
        return {
            name: [
                FacePair(p["genuine"], p["score"], tuple(p["names"]), tuple(p["pictures"]))
                for p in pairs
            ]
            for name, pairs in plain.items()
        }
