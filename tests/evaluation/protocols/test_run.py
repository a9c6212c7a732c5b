"""What happens between files and results: mirror images, the channel probe, bad embeddings."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from ddl_jax import parallel
from ddl_jax.config import Evaluation
from ddl_jax.data.alignment import template_points
from ddl_jax.data.decode import decode_image
from ddl_jax.errors import UserError
from ddl_jax.evaluation.embedding import embed
from ddl_jax.evaluation.protocols.images import EncodedImages, JoinedImages
from ddl_jax.evaluation.protocols.protocol import PairRows, Protocol
from ddl_jax.evaluation.protocols.run import run_protocols, separability
from ddl_jax.evaluation.result import ProtocolResult
from ddl_jax.models import ModelCard

from ...data.image_files import encode

SIZE = (16, 16)


class FirstChannel(nn.Module):
    """The first channel's pixels, as they are: a network that sees nothing else."""

    broken: bool = False

    def __call__(self, images, train=False):
        flat = images[..., 0].reshape(len(images), -1)
        return jnp.where(flat[:, :1] > 0.9, jnp.nan, flat) if self.broken else flat


def _card(colour="RGB") -> ModelCard:
    return ModelCard("iresnet_tiny", SIZE, colour, embedding_size=256)


def _people(channel: int, pairs: int = 60) -> tuple[list[bytes], np.ndarray]:
    """Pairs of images of which one channel tells who it is, and the others are noise."""
    rng = np.random.default_rng(0)
    images, same = [], np.arange(pairs) % 2 == 0
    for pair in range(pairs):
        faces = rng.integers(0, 256, (2, *SIZE, 3))
        if same[pair]:
            faces[1, ..., channel] = 0.7 * faces[0, ..., channel] + 0.3 * faces[1, ..., channel]
        images += [encode(face.astype(np.uint8)) for face in faces]
    return images, same


def _protocol(channel: int = 0, seen: list | None = None, *, apart: bool = False) -> Protocol:
    encoded, same = _people(channel)
    rows = np.arange(len(encoded))

    def evaluate(embeddings):
        if seen is not None:
            seen.append(embeddings)
        return {"made": ProtocolResult({"images": len(embeddings)})}

    pairs = PairRows(rows[::2], rows[1::2], same)
    return Protocol("made", EncodedImages(encoded, "made"), evaluate, pairs, {}, apart)


def _run(protocol: Protocol, card: ModelCard, module: nn.Module | None = None, **settings):
    settings = Evaluation(batch_size=32, **settings)
    module, mesh = module or FirstChannel(), parallel.make_mesh(1)
    return run_protocols(module, {}, card, [protocol], settings, mesh)


@pytest.mark.parametrize("colour, channel", [("RGB", 2), ("BGR", 0)])
def test_the_wrong_channel_order_is_told(colour, channel):
    # Identity is in blue; a network for RGB images sees red first. Or the other way round.
    run = _run(_protocol(channel), _card(colour))
    (line,) = run.attention
    other = "BGR" if colour == "RGB" else "RGB"
    assert line.startswith(f"ATTENTION: made: with {other} channels 60 sampled pairs")
    assert f"this model's {colour}" in line


@pytest.mark.parametrize("colour, channel", [("RGB", 0), ("BGR", 2), ("RGB", 1)])
def test_the_right_channel_order_is_not(colour, channel):
    # Green is the same in both orders.
    assert _run(_protocol(channel), _card(colour)).attention == []


def test_separability_by_hand():
    # Cosines 1 and .8 (variance .01) against 0 and 0: .9 over sqrt(.005).
    vectors = np.array([[1, 0], [1, 0], [0.8, 0.6], [0, 1]])
    pairs = PairRows(*np.array([[0, 0, 0, 1], [1, 2, 3, 3]]), np.array([True, True, False, False]))
    assert separability(vectors, pairs) == pytest.approx(0.9 / np.sqrt(0.005))
    apart = np.stack([vectors, 2 * vectors], axis=1)
    assert separability(apart, pairs) == pytest.approx(0.9 / np.sqrt(0.005))


def test_mirror_images_are_added_left_out_or_apart():
    found = {}
    for name, apart, flip in (("sum", False, True), ("image", False, False), ("apart", True, True)):
        seen = []
        _run(_protocol(seen=seen, apart=apart), _card(), flip=flip)
        (found[name],) = seen
    image = decode_image(_people(0)[0][5], "5")[..., 0]
    pixels = (image.astype(np.float32) - 127.5) / 127.5
    np.testing.assert_allclose(found["image"][5], pixels.ravel(), atol=1e-6)
    assert found["apart"].shape == (120, 2, 256)
    np.testing.assert_array_equal(found["apart"][:, 0], found["image"])
    np.testing.assert_allclose(found["apart"][5, 1], pixels[:, ::-1].ravel(), atol=1e-6)
    np.testing.assert_allclose(found["sum"], found["apart"].sum(axis=1), atol=1e-6)


def test_an_embedding_that_is_not_finite_is_named():
    with pytest.raises(UserError, match=r"made: the embedding of made image \d+ is not finite"):
        _run(_protocol(), _card(), FirstChannel(broken=True))


class _Unaligned:
    """A picture with a white spot of five pixels around each of a face's five points."""

    points = 3.0 * template_points("arcface_112") + (40.0, 25.0)

    def __len__(self):
        return 1

    def __getitem__(self, number):
        picture = np.zeros((450, 450, 3), np.uint8)
        for x, y in np.rint(self.points).astype(int):
            picture[y - 4 : y + 5, x - 4 : x + 5] = 255
        return {"image": encode(picture), "path": "p", "landmarks": self.points}


@pytest.mark.parametrize("size", [(112, 112), (112, 96), (56, 56)])
def test_images_with_landmarks_are_aligned(size):
    card = ModelCard("iresnet_tiny", size, mean=(0.0,) * 3, deviation=(255.0,) * 3)
    mesh = parallel.make_mesh(1)
    pixels = embed(FirstChannel(), {}, card, _Unaligned(), mesh=mesh, batch_size=1, flip=False)
    seen = pixels.reshape(size)
    scale, left = size[0] / 112, (112 - size[1] * 112 / size[0]) / 2
    for x, y in template_points("arcface_112"):
        assert seen[round(y * scale), round((x - left) * scale)] > 0.5
    assert np.mean(seen > 0.5) < 0.02


def test_joined_images_keep_their_order():
    parts = [EncodedImages([b"a", b"b"], "x"), EncodedImages([], "y"), EncodedImages([b"c"], "z")]
    joined = JoinedImages(parts)
    assert [joined[i]["path"] for i in range(len(joined))] == [
        "x image 0",
        "x image 1",
        "z image 0",
    ]


def test_a_sample_of_pairs_is_spread_and_has_both_kinds():
    same = np.arange(1000) < 900
    rows = PairRows(np.arange(1000), np.arange(1000), same).sample(10)
    assert rows.first[:10].tolist() == np.linspace(0, 899, 10).astype(int).tolist()
    assert rows.same.sum() == 10 and len(rows.same) == 20
