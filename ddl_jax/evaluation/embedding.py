"""Embeddings of a data set, computed on all devices."""

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ddl_jax import parallel
from ddl_jax.data.decode import decode_image
from ddl_jax.data.source import Source
from ddl_jax.models import ModelCard


def embed(
    module: nn.Module,
    variables: Any,
    card: ModelCard,
    source: Source,
    *,
    mesh: Mesh,
    batch_size: int = 256,
    flip: bool = True,
) -> np.ndarray:
    """The embedding of every record, in the source's order.

    Every process decodes its own part of each batch; all get all embeddings.

    Args:
      module: the backbone.
      variables: its `{"params": ..., "batch_stats": ...}`.
      card: how its images are decoded and normalised.
      source: the images.
      mesh: whose devices share the work.
      batch_size: images a batch over all devices, rounded up to a multiple of them.
      flip: whether the embedding of the mirror image is added, as the references do.

    Returns:
      `[n, D]` float32, not normalised.
    """
    batch_size = -(-batch_size // mesh.size) * mesh.size
    whole = NamedSharding(mesh, PartitionSpec())
    variables = jax.device_put(variables, whole)
    forward = _forward(module, card, flip, whole)
    found = []
    for images in _batches(source, tuple(card.input_size), batch_size, jax.process_index()):
        # Left on the devices, so that decoding the next batch overlaps with this one.
        found.append(forward(variables, parallel.global_batch(mesh, images)))
    return np.concatenate([np.asarray(part) for part in found])[: len(source)]


@functools.lru_cache(maxsize=8)  # one compilation for all data sets and all evaluations of a run
def _forward(module: nn.Module, card: ModelCard, flip: bool, whole: NamedSharding):
    def forward(variables: Any, images: jax.Array) -> jax.Array:
        images = card.normalise(images)
        embeddings = module.apply(variables, images, train=False)
        if flip:
            embeddings += module.apply(variables, images[:, :, ::-1], train=False)
        return embeddings.astype(jnp.float32)

    return jax.jit(forward, out_shardings=whole)


def _batches(
    source: Source, size: tuple[int, int], batch_size: int, host: int
) -> Iterator[np.ndarray]:
    """This process's rows `[batch_size / hosts, H, W, 3]` of every batch, decoded in threads."""

    def read(number: int) -> np.ndarray:
        # The last batch is filled up with the last image: one shape, one compilation.
        record = source[min(number, len(source) - 1)]
        return decode_image(record["image"], record["path"], size)

    share = batch_size // jax.process_count()
    numbers = [
        start + host * share + row
        for start in range(0, len(source), batch_size)
        for row in range(share)
    ]
    images = grain.MapDataset.source(numbers).map(read).batch(share)
    return iter(images.to_iter_dataset(grain.ReadOptions(num_threads=4)))
