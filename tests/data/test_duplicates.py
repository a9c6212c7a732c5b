"""Duplicates: against all pairs on few hashes, and on pictures that were changed a little."""

import cv2
import numpy as np
import pytest

from ddl_jax.data import duplicates
from ddl_jax.data.duplicates import (
    MAX_DETAIL,
    MAX_DISTANCE,
    equal_groups,
    near_groups,
    picture_hash,
)
from ddl_jax.data.synthetic_faces.render import render_identity


def _faces(identities: range) -> list[np.ndarray]:
    return [render_identity(0, i, {"easy": 1}, 112)[0][2] for i in identities]


def _again(image: np.ndarray, quality: int, factor: float = 1.0, brightness: float = 1.0):
    size = [round(side * factor) for side in image.shape[1::-1]]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    image = np.clip(image * brightness, 0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def _distances(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    one, other = picture_hash(first), picture_hash(second)
    detail = np.bitwise_count(one.detail ^ other.detail).sum()
    return (one.coarse ^ other.coarse).bit_count(), int(detail)


@pytest.mark.parametrize("change", [(95,), (60,), (90, 0.5), (90, 2.0), (90, 1.0, 0.8)])
def test_a_face_saved_again_is_near_and_another_person_is_not(change):
    faces = _faces(range(6))
    coarse, detail = zip(*(_distances(face, _again(face, *change)) for face in faces))
    assert max(coarse) <= MAX_DISTANCE and max(detail) <= MAX_DETAIL
    coarse, detail = zip(*(_distances(faces[i], faces[j]) for i in range(6) for j in range(i)))
    assert min(coarse) > MAX_DISTANCE and min(detail) > MAX_DETAIL


def test_a_flat_image_is_told():
    black, face = np.zeros((50, 40, 3), np.uint8), _faces(range(1))[0]
    assert picture_hash(black).flat and picture_hash(black + 7).flat
    assert not picture_hash(face).flat


def _alike(faces: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Pictures that, as aligned faces in one light, share their strong lowest frequencies.

    Every frequency has a mean over people and a deviation; both fall as 1/f, and the mean of the
    lowest is several deviations.
    """
    row, column = np.indices((64, 64))
    size = 1500 / np.maximum(1, np.hypot(row, column))
    mean = np.random.default_rng(1).normal(0, np.where((row < 8) & (column < 8), 8 * size, size))
    mean[0, 0] = 64 * 128
    return [
        np.repeat(np.clip(cv2.idct(mean + rng.normal(0, size)), 0, 255)[..., None], 3, 2).astype(
            np.uint8
        )
        for _ in range(faces)
    ]


def _groups_of(images: list[np.ndarray]) -> list[list[int]]:
    hashes = [picture_hash(image) for image in images]
    coarse = np.array([one.coarse for one in hashes], np.uint64)
    detail = np.array([one.detail for one in hashes])
    return [rows.tolist() for rows in near_groups(coarse, detail)]


def test_people_in_the_same_light_are_no_duplicates():
    people = _alike(60, np.random.default_rng(0))
    coarse, detail = zip(*(_distances(people[i], people[j]) for i in range(60) for j in range(i)))
    assert sum(bits <= MAX_DISTANCE for bits in coarse) > 100  # and yet none is taken for another
    assert min(detail) > MAX_DETAIL and _groups_of(people) == []
    # Copies of two of them are found, each with its own.
    assert _groups_of([*people, _again(people[3], 80), _again(people[9], 60)]) == [[3, 60], [9, 61]]


def _joined_by(near: np.ndarray) -> set[tuple[int, ...]]:
    near = near.astype(np.float32)
    while True:  # all that can be reached
        further = (near @ near > 0).astype(np.float32)
        if (further == near).all():
            return {tuple(np.flatnonzero(row)) for row in near if row.sum() > 1}
        near = further


@pytest.mark.parametrize("distance", [0, 1, 3, 5])
@pytest.mark.parametrize("pairs_at_once", [1 << 20, 50])
def test_near_groups_are_those_of_all_pairs(distance, pairs_at_once, monkeypatch):
    monkeypatch.setattr(duplicates, "_PAIRS_AT_ONCE", pairs_at_once)
    # Few random bits, so that near pairs are many and chains of them long.
    rng = np.random.default_rng(distance)
    coarse = rng.integers(0, 2**6, 120, np.uint64) << np.uint64(20)
    coarse = np.append(coarse, rng.integers(0, 2**63, 120, np.uint64))
    flips = rng.integers(0, 64, (120, 4)).astype(np.uint64)
    for column in flips.T:
        coarse = np.append(coarse, coarse[:120] ^ (np.uint64(1) << column))
    near = np.bitwise_count(coarse[:, None] ^ coarse) <= distance
    same = np.zeros((len(coarse), 4), np.uint64)
    found = {tuple(rows) for rows in near_groups(coarse, same, distance)}
    assert found == _joined_by(near)
    # The detail tells some of them apart, and no chain leads over those.
    detail = same - rng.integers(0, 2, (len(coarse), 1), np.uint64)  # no bits or all, but for a few
    detail ^= rng.integers(0, 2**4, (len(coarse), 1), np.uint64)
    near &= np.bitwise_count(detail[:, None] ^ detail).sum(-1) <= 4
    found = {tuple(rows) for rows in near_groups(coarse, detail, distance, 4)}
    assert found == _joined_by(near)
    assert len(found) > 1


def test_many_equal_hashes_are_one_group():
    coarse = np.append(np.zeros(50_000, np.uint64), np.uint64(2**40 - 1))
    (group,) = near_groups(coarse, np.zeros((len(coarse), 4), np.uint64))
    assert group.tolist() == list(range(50_000))


def test_equal_groups_are_in_order_of_their_first_rows():
    keys = np.array([[1, 2], [0, 1], [1, 2], [0, 2], [0, 1], [1, 2]])
    assert [rows.tolist() for rows in equal_groups(keys)] == [[0, 2, 5], [1, 4]]
    assert (
        equal_groups(keys[:0]) == []
        and near_groups(np.zeros(0, np.uint64), np.zeros((0, 4), np.uint64)) == []
    )
