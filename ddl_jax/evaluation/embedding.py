"""Embeddings of a data set, computed on all devices."""

import functools
from collections.abc import Iterator
from typing import Any, NotRequired, Protocol, TypedDict

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ddl_jax import parallel
from ddl_jax.data.alignment import align
from ddl_jax.data.decode import decode_image, fit
from ddl_jax.models import ModelCard


class EncodedImage(TypedDict):
    """An image file: `image` its bytes, `path` what to call it, `landmarks` `[5, 2]` if unaligned.

    A `data.source.Record` is one.
    """

    image: bytes
    path: str
    landmarks: NotRequired[np.ndarray]


class Images(Protocol):
    """Images by number, safe to read from several threads; every `data.source.Source` is such."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> EncodedImage: ...


def embed(
    module: nn.Module,
    variables: Any,
    card: ModelCard,
    images: Images,
    *,
    mesh: Mesh,
    batch_size: int = 256,
    flip: bool = True,
    apart: bool = False,
) -> np.ndarray:
    """The embedding of every image, in order.

    Every process decodes its own part of each batch; all get all embeddings.

    Args:
      module: the backbone.
      variables: its `{"params": ..., "batch_stats": ...}`.
      card: how its images are decoded and normalised.
      images: the images; those with landmarks are aligned by them.
      mesh: whose devices share the work.
      batch_size: images a batch over all devices, rounded up to a multiple of them.
      flip: whether the embedding of the mirror image is added, as the references do.
      apart: gives image and mirror image apart, whatever `flip` says.

    Returns:
      `[n, D]` float32, not normalised; with `apart` `[n, 2, D]`.
    """
    batch_size = -(-batch_size // mesh.size) * mesh.size
    whole = NamedSharding(mesh, PartitionSpec())
    variables = jax.device_put(variables, whole)
    forward = _forward(module, card, "apart" if apart else "sum" if flip else "image", whole)
    found: list[np.ndarray | jax.Array] = []
    for pixels in _batches(images, tuple(card.input_size), batch_size, jax.process_index()):
        # Left on the devices, so that decoding the next batch overlaps with this one; the one
        # before has come by then, and need not wait there for all the others.
        found.append(forward(variables, parallel.global_batch(mesh, pixels)))
        if len(found) > 1:
            found[-2] = np.asarray(found[-2])
    return np.concatenate([np.asarray(part) for part in found])[: len(images)]


@functools.lru_cache(maxsize=8)  # one compilation for all data sets and all evaluations of a run
def _forward(module: nn.Module, card: ModelCard, what: str, whole: NamedSharding):
    def forward(variables: Any, images: jax.Array) -> jax.Array:
        images = card.normalise(images)
        embeddings = module.apply(variables, images, train=False)
        if what != "image":
            mirrored = module.apply(variables, images[:, :, ::-1], train=False)
            together = what == "sum"
            embeddings = embeddings + mirrored if together else jnp.stack([embeddings, mirrored], 1)
        return embeddings.astype(jnp.float32)

    return jax.jit(forward, out_shardings=whole)


def _batches(
    images: Images, size: tuple[int, int], batch_size: int, host: int
) -> Iterator[np.ndarray]:
    """This process's rows `[batch_size / hosts, H, W, 3]` of every batch, decoded in threads."""

    def read(number: int) -> np.ndarray:
        # The last batch is filled up with the last image: one shape, one compilation.
        record = images[min(number, len(images) - 1)]
        landmarks = record.get("landmarks")
        if landmarks is None:
            return decode_image(record["image"], record["path"], size)
        # 112x112; of that, 112x96 is the middle, which is what its recognizers were trained on.
        return fit(align(decode_image(record["image"], record["path"]), landmarks), size)

    share = batch_size // jax.process_count()
    numbers = [
        start + host * share + row
        for start in range(0, len(images), batch_size)
        for row in range(share)
    ]
    pixels = grain.MapDataset.source(numbers).map(read).batch(share)
    return iter(pixels.to_iter_dataset(grain.ReadOptions(num_threads=4)))
