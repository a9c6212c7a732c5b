"""Reading every record of a data set once, on all cores, to know what is in it before any work."""

import concurrent.futures
import contextlib
import functools
import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tqdm

from ddl_jax.data.catalogue import NO_NUMBER, Catalogue, find_part, keep_part
from ddl_jax.data.decode import decode_image
from ddl_jax.data.source import DEFAULT_DOMAIN, checksum, numbered
from ddl_jax.data.worker_pool import available_cores, process_pool
from ddl_jax.errors import UserError

_log = logging.getLogger(__name__)

_CHUNK = 512
_CHUNKS_KEPT = 16  # that are kept together: what a kill can lose
# A process takes a second to start, in which it would check thousands of faces.
_RECORDS_PER_PROCESS = 8192


class Entry(NamedTuple):
    """A record as its format knows it; see `Catalogue` for label and place."""

    image: bytes
    identity: str
    path: str
    domain: str = DEFAULT_DOMAIN
    label: int = NO_NUMBER
    place: tuple[int, ...] = (0,)


class Format(Protocol):
    """How the records of a data set are read: picklable, light, safe in several threads.

    Attributes:
      where: the data set's name, for messages.
    """

    where: str

    def entry(self, item: Any) -> Entry:
        """The record of an item, one of those that the scan is given.

        Raises:
          UserError: it cannot be read, or says what cannot be.
        """

    def title(self, item: Any) -> str:
        """What to call the record in a message, with its file and place."""

    def read(self, place: np.ndarray, path: str) -> bytes:
        """The encoded image of a record that the scan has seen."""


def scan(records: Format, items: Sequence[Any], folder: str, name: str) -> Catalogue:
    """Reads and decodes every record once -> what was found; keeps no pixels.

    Shows a progress bar where there is a terminal and it takes its time. What is done is kept, part
    by part, so that a scan that was stopped goes on.

    Args:
      records: how they are read.
      items: the records; see `Format.entry`.
      folder: of the data.
      name: of the catalogue there, whose parts are kept until it is.

    Raises:
      UserError: two records of one path, since pairs name images by their paths.
    """
    _log.info("checking %d images of %s, once", len(items), records.where)
    size = _CHUNK * _CHUNKS_KEPT
    starts = range(0, max(len(items), 1), size)
    # A set of one part is not worth it.
    found = {start: find_part(folder, name, start) for start in starts} if len(starts) > 1 else {}
    todo = [start for start in starts if found.get(start) is None]
    chunks = [
        items[first : min(first + _CHUNK, start + size)]
        for start in todo
        for first in range(start, max(min(start + size, len(items)), start + 1), _CHUNK)
    ]
    with (
        _pool(sum(map(len, chunks))) as pool,
        tqdm.tqdm(
            total=len(items),
            desc=f"checking {records.where}, once",
            unit=" images",
            delay=2,
            disable=None,  # nothing into log files
        ) as bar,
    ):
        bar.update(len(items) - sum(map(len, chunks)))
        scanned = pool.map(functools.partial(_scan, records), chunks)
        for start in todo:
            parts = []
            for part in itertools.islice(scanned, _CHUNKS_KEPT):
                parts.append(part)
                bar.update(len(part) + len(part.unreadable))
            found[start] = Catalogue.joined(parts)
            if len(starts) > 1:
                keep_part(found[start], folder, name, start)
    catalogue = Catalogue.joined([found[start] for start in starts])
    paths, counts = np.unique(catalogue.paths, return_counts=True)
    if len(paths) and counts.max() > 1:
        name = paths[counts.argmax()].decode()
        raise UserError(
            f"{records.where}: {counts.max()} images have the path {name!r}; give every image its "
            "own"
        )
    return catalogue


@contextlib.contextmanager
def _pool(count: int) -> Iterator[concurrent.futures.Executor]:
    """Processes where there is work for them, else threads."""
    workers = min(available_cores(), count // _RECORDS_PER_PROCESS)
    if workers < 2:
        with concurrent.futures.ThreadPoolExecutor(available_cores()) as threads:
            yield threads
        return
    pool = process_pool(workers)
    try:
        yield pool
    except concurrent.futures.process.BrokenProcessPool as error:
        raise UserError(
            "a process that checks images ended early: give it memory, and in a script of your "
            'own put the work under if __name__ == "__main__"'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _scan(records: Format, items: Sequence[Any]) -> Catalogue:
    """A few records' part of the catalogue."""
    entries, checksums, unreadable = [], [], []
    for item in items:
        title = records.title(item)
        try:
            entry = records.entry(item)
            decode_image(entry.image, title)
        except UserError as error:
            unreadable.append((title, str(error)))
            continue
        entries.append(entry._replace(image=b""))  # the pixels are not kept
        checksums.append(checksum(entry.image))
    identities, identity_names = numbered([entry.identity for entry in entries])
    domains, domain_names = numbered([entry.domain for entry in entries])
    return Catalogue(
        paths=np.array([entry.path.encode() for entry in entries], "S"),
        identities=identities,
        domains=domains,
        labels=np.array([entry.label for entry in entries], np.int64),
        checksums=np.array(checksums, np.uint32),
        places=np.array([entry.place for entry in entries] or np.empty((0, 1)), np.int64),
        identity_names=identity_names,
        domain_names=domain_names,
        unreadable=unreadable,
    )
