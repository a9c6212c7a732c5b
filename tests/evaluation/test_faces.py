"""The hardest pairs, and their pictures where a report may show them."""

import base64

import cv2
import numpy as np

from ddl_jax.evaluation.faces import FILE, read_faces, with_faces, write_faces
from ddl_jax.evaluation.hardest import MOST, HardPair, hardest_pairs
from ddl_jax.evaluation.protocols.images import EncodedImages
from ddl_jax.evaluation.result import ProtocolResult

from ..data.image_files import encode


def test_the_hardest_are_the_worst_of_either_kind():
    scores = np.array([0.9, 0.1, 0.5, 0.4, 0.8])
    genuine = np.array([True, True, True, False, False])
    found = hardest_pairs(scores, genuine, np.arange(5), np.arange(5) + 10)
    assert [(pair.first, pair.second) for pair in found] == [
        *((1, 11), (2, 12), (0, 10)),  # genuine, the least alike first
        *((4, 14), (3, 13)),  # impostors, the most alike first
    ]
    assert found[0] == HardPair(1, 11, True, 0.1)


def test_of_many_some_are_kept():
    scores = np.random.default_rng(0).normal(size=500)
    genuine = np.arange(500) % 3 == 0
    found = hardest_pairs(scores, genuine, np.arange(500), np.arange(500))
    for kind, ordered in ((True, np.sort(scores[genuine])), (False, -np.sort(-scores[~genuine]))):
        np.testing.assert_array_equal([p.score for p in found if p.genuine == kind], ordered[:MOST])


def _images() -> EncodedImages:
    grey = [np.full((40, 30, 3), 50 * number, np.uint8) for number in range(4)]
    grey[3][..., 0] = 250  # the last is red
    return EncodedImages([encode(each) for each in grey], "made")


def test_pictures_are_those_of_the_pairs_and_go_away_again(tmp_path):
    hardest = [HardPair(0, 1, True, 0.1), HardPair(1, 2, True, 0.2), HardPair(3, 0, False, 0.7)]
    results = {"lfw": ProtocolResult({"eer": 0.1}, hardest=hardest)}
    assert with_faces(results, _images(), 0) == results
    faces = with_faces(results, _images(), 1)["lfw"].faces
    assert [(face.genuine, face.score) for face in faces] == [(True, 0.1), (False, 0.7)]
    assert faces[1].names == ("made image 3", "made image 0")
    kind, content = faces[1].pictures[0].split(",")
    assert kind == "data:image/jpeg;base64"
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels.shape == (112, 112, 3)
    np.testing.assert_allclose(pixels[50, 50], [250, 150, 150], atol=8)
    write_faces(tmp_path, {"lfw": faces})
    assert read_faces(tmp_path) == {"lfw": list(faces)}
    write_faces(tmp_path, {})
    assert read_faces(tmp_path) == {} and not (tmp_path / FILE).exists()
