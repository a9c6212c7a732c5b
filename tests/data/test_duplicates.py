"""Duplicates: against all pairs on few hashes, and on pictures that were changed a little."""

import cv2
import numpy as np
import pytest

from ddl_jax.data.duplicates import MAX_DISTANCE, equal_groups, near_groups, perceptual_hash
from ddl_jax.data.synthetic_faces.render import render_identity


def _faces(identities: range) -> list[np.ndarray]:
    return [render_identity(0, i, {"easy": 1}, 112)[0][2] for i in identities]


def _again(image: np.ndarray, quality: int, factor: float = 1.0, brightness: float = 1.0):
    size = [round(side * factor) for side in image.shape[1::-1]]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    image = np.clip(image * brightness, 0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def _distance(first: np.ndarray, second: np.ndarray) -> int:
    return (perceptual_hash(first)[0] ^ perceptual_hash(second)[0]).bit_count()


@pytest.mark.parametrize("change", [(95,), (60,), (90, 0.5), (90, 2.0), (90, 1.0, 0.8)])
def test_a_face_saved_again_is_near_and_another_person_is_not(change):
    faces = _faces(range(6))
    assert max(_distance(face, _again(face, *change)) for face in faces) <= MAX_DISTANCE
    assert min(_distance(faces[i], faces[j]) for i in range(6) for j in range(i)) > MAX_DISTANCE


def test_a_flat_image_is_told():
    black, face = np.zeros((50, 40, 3), np.uint8), _faces(range(1))[0]
    assert perceptual_hash(black)[1] and perceptual_hash(black + 7)[1]
    assert not perceptual_hash(face)[1]


@pytest.mark.parametrize("distance", [0, 1, 3, 5])
def test_near_groups_are_those_of_all_pairs(distance):
    # Few random bits, so that near pairs are many and chains of them long.
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**6, 300, np.uint64) << np.uint64(20)
    hashes = np.append(hashes, rng.integers(0, 2**63, 300, np.uint64))
    flips = rng.integers(0, 64, (300, 4)).astype(np.uint64)
    for column in flips.T:
        hashes = np.append(hashes, hashes[:300] ^ (np.uint64(1) << column))
    near = (np.bitwise_count(hashes[:, None] ^ hashes) <= distance).astype(np.float32)
    while True:  # all that can be reached
        further = (near @ near > 0).astype(np.float32)
        if (further == near).all():
            break
        near = further
    wanted = {tuple(np.flatnonzero(row)) for row in near if row.sum() > 1}
    assert {tuple(rows) for rows in near_groups(hashes, distance)} == wanted


def test_many_equal_hashes_are_one_group():
    hashes = np.append(np.zeros(50_000, np.uint64), np.uint64(2**40 - 1))
    (group,) = near_groups(hashes)
    assert group.tolist() == list(range(50_000))


def test_equal_groups_are_in_order_of_their_first_rows():
    keys = np.array([[1, 2], [0, 1], [1, 2], [0, 2], [0, 1], [1, 2]])
    assert [rows.tolist() for rows in equal_groups(keys)] == [[0, 2, 5], [1, 4]]
    assert equal_groups(keys[:0]) == [] and near_groups(np.zeros(0, np.uint64)) == []
