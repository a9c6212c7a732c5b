"""What is kept of a network's embeddings is what the network would give, or it is not taken."""

import dataclasses
import os
import time

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import parallel
from ddl_jax.data.alignment import template_points
from ddl_jax.evaluation.embedding import embed
from ddl_jax.evaluation.embedding_cache import EmbeddingCache
from ddl_jax.evaluation.protocols.images import EncodedImages
from ddl_jax.models import ModelCard

from ..data.image_files import encode, pixels

CARD = ModelCard("iresnet_tiny", (8, 8), embedding_size=4)
WEIGHTS = {"params": {"w": np.linspace(-1, 1, 192 * 4, dtype=np.float32).reshape(192, 4)}}
MESH = parallel.make_mesh(1)


class Product(nn.Module):
    """Pixels times a matrix."""

    power: int = 1

    @nn.compact
    def __call__(self, images, train=False):
        w = self.param("w", nn.initializers.zeros, (192, 4))
        return images.reshape(len(images), -1) @ w**self.power


class Landmarked(EncodedImages):
    """Images that are aligned by points."""

    shift = 0.0

    def __getitem__(self, number):
        points = template_points("arcface_112", (112, 112)) + self.shift
        return super().__getitem__(number) | {"landmarks": points}


def images_of(*names, kind=EncodedImages, size=(8, 8)):
    return kind([encode(pixels(name, shape=(*size, 3))) for name in names], "made")


IMAGES = images_of("a", "b", "c")


def embedded(cache, images=IMAGES, weights=WEIGHTS, card=CARD, module=None, **options):
    options = {"mesh": MESH, "batch_size": 2} | options
    return embed(module or Product(), weights, card, images, cache=cache, **options)


def files(cache_directory):
    return sorted(cache_directory.iterdir())


def test_the_second_time_nothing_is_computed_and_the_numbers_are_the_same(tmp_path):
    fresh = embedded(None)
    first = EmbeddingCache(tmp_path)
    np.testing.assert_array_equal(embedded(first), fresh)
    assert first.taken == 0
    second = EmbeddingCache(tmp_path)  # another program's
    np.testing.assert_array_equal(embedded(second), fresh)
    assert second.taken == 3 and len(files(tmp_path)) == 1
    (path,) = files(tmp_path)
    np.savez(path, embeddings=fresh + 1)  # so these are what is read, not the network's
    np.testing.assert_array_equal(embedded(second), fresh + 1)


OTHER = {"params": {"w": WEIGHTS["params"]["w"] + np.float32(1e-6)}}


@pytest.mark.parametrize(
    "change",
    [
        {"images": images_of("a", "b", "d")},
        {"images": images_of("a", "c", "b")},
        {"images": images_of("a", "b")},
        {"images": images_of("a", "b", "c", kind=Landmarked)},
        {"weights": OTHER},
        {"card": dataclasses.replace(CARD, colour="BGR")},
        {"card": dataclasses.replace(CARD, mean=(127.0, 127.5, 127.5))},
        {"module": Product(power=2)},
        {"flip": False},
        {"apart": True},
        {"batch_size": 3},
        {"mesh": parallel.make_mesh(2)},
    ],
)
def test_anything_else_is_computed(change, tmp_path):
    cache = EmbeddingCache(tmp_path)
    embedded(cache)
    changed = embedded(cache, **change)
    assert cache.taken == 0 and len(files(tmp_path)) == 2
    np.testing.assert_array_equal(changed, embedded(None, **change))


def test_other_landmarks_are_other_images(tmp_path):
    cache = EmbeddingCache(tmp_path)
    images = images_of("a", kind=Landmarked, size=(112, 112))
    before = embedded(cache, images=images)
    images.shift = 9.0
    assert not np.allclose(embedded(cache, images=images), before) and cache.taken == 0


def test_the_names_of_images_do_not_matter(tmp_path):
    cache = EmbeddingCache(tmp_path)
    embedded(cache)
    embedded(cache, images=EncodedImages([IMAGES[i]["image"] for i in range(3)], "elsewhere"))
    assert cache.taken == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "rows"])
def test_what_is_damaged_is_computed_anew_and_told(damage, tmp_path, capsys):
    cache = EmbeddingCache(tmp_path)
    fresh = embedded(cache)
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    place = content.find(fresh.tobytes()) + 5
    content[place] ^= damage == "flipped"
    path.write_bytes({"cut": content[:-40], "empty": b"", "other": b"hello"}.get(damage, content))
    if damage == "rows":
        np.savez(path, embeddings=fresh[:2])
    np.testing.assert_array_equal(embedded(cache), fresh)
    told = capsys.readouterr().err
    assert told.startswith(f"ATTENTION: {path} is damaged") and told.count("\n") == 1
    np.testing.assert_array_equal(embedded(cache), fresh)  # it was replaced
    assert cache.taken == 3 and not capsys.readouterr().err


def test_what_was_used_longest_ago_goes_and_what_was_left_behind(tmp_path):
    row = 4 * 4
    cache = EmbeddingCache(tmp_path, most=3 * (3 * row + 300))
    weights = [{"params": {"w": WEIGHTS["params"]["w"] * (2 + i)}} for i in range(4)]
    for each in weights[:3]:
        embedded(cache, weights=each)
        for path in files(tmp_path):
            os.utime(path, (path.stat().st_mtime - 100,) * 2)
    for name, age in ((".old.npz.1", 1e6), (".new.npz.2", 0), ("somebodys.txt", 1e6)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    embedded(cache, weights=weights[0])  # used: the second is now the one of longest ago
    embedded(cache, weights=weights[3])
    for number in (0, 2, 3):
        embedded(cache, weights=weights[number])
    assert cache.taken == 4 * 3
    embedded(cache, weights=weights[1])
    assert cache.taken == 4 * 3
    names = {path.name for path in files(tmp_path)}
    assert {".new.npz.2", "somebodys.txt"} < names and ".old.npz.1" not in names


def test_more_than_there_is_room_for_is_not_kept(tmp_path):
    cache = EmbeddingCache(tmp_path, most=40)
    embedded(cache)
    assert not files(tmp_path)


def test_a_directory_that_is_gone_costs_a_line(tmp_path, capsys):
    cache = EmbeddingCache(tmp_path / "gone")
    np.testing.assert_array_equal(embedded(cache), embedded(None))
    told = capsys.readouterr().err
    assert told.startswith("embeddings are not kept in ") and told.count("\n") == 1


def test_weights_in_half_precision_are_told_apart(tmp_path):
    cache = EmbeddingCache(tmp_path)
    halves = {"params": {"w": jnp.asarray(WEIGHTS["params"]["w"], jnp.bfloat16)}}
    embedded(cache, weights=halves)
    embedded(cache, weights={"params": {"w": halves["params"]["w"] + 1}})
    assert cache.taken == 0
    embedded(cache, weights=halves)
    assert cache.taken == 3
