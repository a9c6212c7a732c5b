"""From step numbers to batches of pixels, in this process's threads or in worker processes."""

import gc
from collections.abc import Callable, Iterator

import grain
import numpy as np
from absl import flags

from ddl_jax.data.augment import Augment
from ddl_jax.data.decode import decode_image
from ddl_jax.data.sampling import Sampler
from ddl_jax.data.shared_batches import Batch, Batches, SharedBatches, end_with_parent
from ddl_jax.data.source import Source
from ddl_jax.errors import UserError

# Of this process, where no worker decodes: each makes a batch. With four the same number of images
# came by the clock, and took a quarter more of the processors: Python runs one of them at a time.
_THREADS = 2
# Images that are read, then decoded, then changed. One by one through all stages would take a fifth
# longer (the processor forgets the code of one in another), and whole batches more memory.
_TOGETHER = 16


class HostBatches:
    """This host's part of the batches by step: its contiguous rows of each.

    Every row is a pure function of its step and place, what is done to its pixels included, so that
    any host, worker or restart makes the same one.
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
        share = sampler.batch_size // hosts
        self._rows = range(host * share, (host + 1) * share)

    @property
    def nbytes(self) -> int:
        """Memory of a batch."""
        height, width = self._size
        return len(self._rows) * self._sampler.images * (height * width * 3 + 4)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        numbers = self._sampler.records(step)[self._rows.start : self._rows.stop]
        batch = {
            "image": np.empty((*numbers.shape, *self._size, 3), np.uint8),
            "label": np.empty(numbers.shape, np.int32),
        }
        together = max(1, _TOGETHER // self._sampler.images)
        for start in range(0, len(numbers), together):
            rows = slice(start, start + together)
            part = {name: array[rows] for name, array in batch.items()}
            self._fill(part, numbers[rows], step, self._rows[start])
        return batch

    def _fill(self, batch: Batch, numbers: np.ndarray, step: int, first: int) -> None:
        """Makes the rows of a batch from `first` on, of the records `numbers`."""
        records = [[self._source[number] for number in row] for row in numbers.tolist()]
        size = self._size
        decoded = [[decode_image(r["image"], r["path"], size) for r in row] for row in records]
        for place, (row, images) in enumerate(zip(records, decoded)):
            domains = [r["domain"] for r in row]
            for number, image in enumerate(self._augment(images, domains, step, first + place)):
                batch["image"][place, number] = image
            batch["label"][place] = [r["label"] for r in row]


def batches(
    whole: Batches, *, step: int, workers: int, tell: Callable[[str], None] = print
) -> Iterator[Batch]:
    """The batches of this host from `step` on. Close the iterator when done.

    A worker process that dies, killed for its memory as a rule, costs time only: all are started
    again, from the batch that is wanted next.

    Args:
      whole: the batches of all steps.
      step: finished updates; the first batch is the one that takes the run to `step + 1`.
      workers: processes that decode, a batch each at a time; 0 decodes in threads of this process.
      tell: is told when workers are started again.

    Raises:
      UserError: workers have died twice before the same batch was made.
    """
    died_at = -1
    while step < len(whole):
        made = _made_ahead(whole, step, workers)
        try:
            for batch in made:
                yield batch
                step += 1
        except RuntimeError as error:
            if _DEATH not in str(error):
                raise
            reason = f"a data worker process ended before the batch of step {step + 1} ({error})"
            if step == died_at:
                raise UserError(
                    f"{reason}, and again when it was started anew; give it more memory, fewer "
                    "config.data.workers, or none: 0 decodes in the training process"
                ) from error
            died_at = step
            tell(f"ATTENTION: {reason}; all are started again, and nothing is lost")
        finally:
            made.close()


_DEATH = "process was terminated unexpectedly"  # of grain's error for one that somebody killed


def _made_ahead(whole: Batches, step: int, workers: int) -> Iterator[Batch]:
    return _from_workers(whole, step, workers) if workers else iter(_ahead(whole, step, _THREADS))


def _from_workers(whole: Batches, step: int, workers: int) -> Iterator[Batch]:
    if not flags.FLAGS.is_parsed():  # grain asks absl for flags, which a script need not have
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
    # Semaphores of workers before these: Python's tracker of them and of shared memory reports an
    # error (3.13.0) if they are collected while it is at work.
    gc.collect()
    with SharedBatches(whole, workers) as shared:
        # A worker has one thread, which makes the next batch while the last one waits.
        tickets = iter(_ahead(shared, step, 1).mp_prefetch(options, end_with_parent))
        try:
            yield from map(shared.take, tickets)
        finally:
            shared.stop()
            tickets.close()


def _ahead(whole: Batches | SharedBatches, step: int, threads: int) -> grain.IterDataset:
    return grain.MapDataset.source(whole)[step:].to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    )
