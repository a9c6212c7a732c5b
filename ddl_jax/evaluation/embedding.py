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
from tqdm import tqdm

from ddl_jax import parallel
from ddl_jax.data.alignment import align
from ddl_jax.data.decode import decode_image, fit
from ddl_jax.data.worker_pool import available_cores
from ddl_jax.errors import UserError
from ddl_jax.evaluation.embedding_cache import EmbeddingCache
from ddl_jax.evaluation.images import Images
from ddl_jax.models import ModelCard


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
    cache: EmbeddingCache | None = None,
    progress: bool = False,
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
      cache: where embeddings are kept, of a program that is one process; None keeps none.
      progress: whether to show a bar where there is a terminal and it takes its time.

    Returns:
      `[n, D]` float32, not normalised; with `apart` `[n, 2, D]`.
    """
    batch_size = -(-batch_size // mesh.size) * mesh.size
    whole = NamedSharding(mesh, PartitionSpec())
    forward = _forward(module, card, "apart" if apart else "sum" if flip else "image", whole)
    key = None
    if cache is not None and jax.process_count() == 1:
        rows = jax.ShapeDtypeStruct((batch_size, *card.input_size, 3), np.uint8)
        batch = parallel.abstract(rows, parallel.row_sharding(mesh))
        weights = jax.tree.map(lambda leaf: parallel.abstract(leaf, whole), variables)
        key = cache.key(forward.lower(weights, batch).as_text(), variables, images)
        if (kept := cache.read(key, len(images))) is not None:
            return kept
    variables = jax.device_put(variables, whole)
    found: list[np.ndarray | jax.Array] = []
    hidden = None if progress else True
    with tqdm(total=len(images), unit=" images", desc="embedding", delay=2, disable=hidden) as bar:
        for pixels in _batches(images, tuple(card.input_size), batch_size, jax.process_index()):
            # Left on the devices, so that decoding the next batch overlaps with this one; the one
            # before has come by then, and need not wait there for all the others.
            found.append(forward(variables, parallel.global_batch(mesh, pixels)))
            if len(found) > 1:
                found[-2] = np.asarray(found[-2])
                bar.update(batch_size)
    embeddings = np.concatenate([np.asarray(part) for part in found])[: len(images)]
    if key is not None:
        cache.write(key, embeddings)
    return embeddings


def check_finite(embeddings: np.ndarray, images: Images, where: str = "") -> None:
    """Refuses embeddings `[n, ...]` that are not finite, with the first image's name.

    Raises:
      UserError: there is one; the line begins with `where`.
    """
    finite = np.isfinite(embeddings.reshape(len(embeddings), -1)).all(axis=1)
    if not finite.all():
        name = images[int(np.argmin(finite))]["path"]
        raise UserError(
            f"{where}the embedding of {name} is not finite ({np.sum(~finite)} such images); the "
            "weights have diverged, or are read wrongly"
        )


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
    # Each holds one batch: 500, grain's default, would be gigabytes if the network is slower.
    threads = min(available_cores(), 16)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return iter(pixels.to_iter_dataset(options))
