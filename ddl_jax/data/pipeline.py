"""From step numbers to batches of pixels, in this process's threads or in worker processes."""

import functools
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from ddl_jax.data.augment import Augment
from ddl_jax.data.decode import decode_image
from ddl_jax.data.sampling import Sampler
from ddl_jax.data.source import Source
from ddl_jax.errors import UserError

# A batch: image [b, m, H, W, 3] uint8 RGB and label [b, m] int32.
Batch = dict[str, np.ndarray]


class BatchRows:
    """Rows of batches by number: row i of this host is row `i % b'` of the batch of step `i // b'`.

    b' are the host's contiguous rows of the global batch. Every row is a pure function of its step
    and place, what is done to its pixels included, so that any host, worker or restart makes the
    same one.
    """

    def __init__(
        self,
        source: Source,
        sampler: Sampler,
        *,
        size: tuple[int, int],
        augment: Augment,
        steps: int,
        host: int = 0,
        hosts: int = 1,
    ):
        if sampler.batch_size % hosts:
            raise UserError(
                f"config.batch_size is {sampler.batch_size}, which {hosts} hosts cannot share "
                "evenly"
            )
        self._source, self._sampler, self._steps = source, sampler, steps
        self._size, self._augment = size, augment
        self.rows = sampler.batch_size // hosts
        self._first = host * self.rows
        # The rows of a step are drawn once, not once for each of them.
        self._records = functools.lru_cache(maxsize=8)(sampler.records)

    def __len__(self) -> int:
        return self._steps * self.rows

    def __getitem__(self, number: int) -> Batch:
        step, place = divmod(int(number), self.rows)
        row = self._first + place
        records = [self._source[int(n)] for n in self._records(step)[row]]
        decoded = [decode_image(r["image"], r["path"], self._size) for r in records]
        images = self._augment(decoded, [r["domain"] for r in records], step, row)
        return {"image": images, "label": np.array([r["label"] for r in records], np.int32)}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_records": None}  # a cache does not travel to worker processes

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state
        self._records = functools.lru_cache(maxsize=8)(self._sampler.records)


def batches(rows: BatchRows, *, step: int, workers: int) -> Iterator[Batch]:
    """The batches of this host from `step` on. Close the iterator when done.

    Args:
      rows: all rows of all steps.
      step: finished updates; the first batch is the one that takes the run to `step + 1`.
      workers: processes that decode; 0 decodes in threads of this process.
    """
    dataset = grain.MapDataset.source(rows)[step * rows.rows :]
    # Of a worker's threads one decodes while the other reads; more would be in each other's way.
    threads = 2 if workers else 4
    dataset = dataset.batch(rows.rows, drop_remainder=True).to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=8)
    )
    if workers:
        if not flags.FLAGS.is_parsed():  # grain asks absl for flags, which a script need not have
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        dataset = dataset.mp_prefetch(options)
    return iter(dataset)
