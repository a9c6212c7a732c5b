"""What one reading of all records found, kept on disk: the next start need not read them again."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from etils import epath

from ddl_jax.errors import UserError
from ddl_jax.files import is_remote

_log = logging.getLogger(__name__)

_VERSION = 1  # of what is kept; raise it when the reading finds something else
_NAMES = "names.json"
_UNFINISHED = ".unfinished"
_MOST_KEPT = 8  # readings of one folder, those used last: of other people, and of changed files
NO_NUMBER = -(1 << 63)  # in place of a label that a data set has not, or not as a number
_COLUMNS = ("paths", "identities", "domains", "labels", "checksums", "places")


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Facts about the readable records of a data set, in its order, and what the others lack.

    Columns that were read from disk are memory-mapped, and travel to other processes by the name of
    their folder: however many workers there are, the memory holds them once.

    Attributes:
      paths: `[n]` UTF-8 bytes, the images' names.
      identities, domains: `[n]` numbers into `identity_names` and `domain_names`.
      labels: `[n]` class numbers of the data set's own; `NO_NUMBER` where it has none.
      checksums: `[n]` of the encoded images.
      places: `[n, p]` int64: what finds a record again, in the format's own terms.
      unreadable: `(name, what is wrong)` of every record that could not be read.
      folder: where it is kept; None if only memory has it.
    """

    paths: np.ndarray
    identities: np.ndarray
    domains: np.ndarray
    labels: np.ndarray
    checksums: np.ndarray
    places: np.ndarray
    identity_names: list[str]
    domain_names: list[str]
    unreadable: list[tuple[str, str]]
    folder: str | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __reduce__(self) -> Any:
        if self.folder is not None:
            return load, (self.folder,)
        return type(self), tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Catalogues one after the other as one."""
        names: dict[str, dict[str, int]] = {"identity": {}, "domain": {}}

        def renumbered(kind: str, codes: np.ndarray, own: list[str]) -> np.ndarray:
            known = names[kind]
            table = [known.setdefault(name, len(known)) for name in own]
            return np.array(table, np.int32)[codes]

        identities = [renumbered("identity", p.identities, p.identity_names) for p in parts]
        domains = [renumbered("domain", p.domains, p.domain_names) for p in parts]
        filled = [part for part in parts if len(part)] or parts[:1]
        columns = {
            name: np.concatenate([getattr(part, name) for part in filled])
            for name in ("paths", "labels", "checksums", "places")
        }
        return cls(
            identities=np.concatenate(identities),
            domains=np.concatenate(domains),
            identity_names=list(names["identity"]),
            domain_names=list(names["domain"]),
            unreadable=[one for part in parts for one in part.unreadable],
            **columns,
        )


def key_of(files: Iterable[tuple[str, int, int]], *settings: Any) -> str:
    """Stands for files as they are, `(name, bytes, modified in ns)`, and how they are read."""
    digest = hashlib.sha256(repr((_VERSION, settings)).encode())
    for file in files:
        digest.update(repr(file).encode())
    return digest.hexdigest()[:16]


def stamp(path: str, name: str | None = None) -> tuple[str, int, int]:
    """A file's name, size and time of modification: what tells that it was changed.

    Raises:
      UserError: there is no such file.
    """
    try:
        if is_remote(path):
            found = epath.Path(path).stat()
            return name or path, found.length, int(found.mtime * 1e9)
        facts = os.stat(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return name or path, facts.st_size, facts.st_mtime_ns


def stamp_of_image(root: str, path: str) -> tuple[str, int, int]:
    """As `stamp`; an image that is not there is stamped so, and told or skipped when it is read."""
    try:
        return stamp(os.path.join(root, path), path)
    except UserError:
        return path, -1, -1


def find(folder: str, name: str) -> Catalogue | None:
    """The catalogue that is kept for the data in `folder` under this name, if there is one."""
    for place in _places(folder):
        if (place / name / _NAMES).is_file():
            try:
                found = load(str(place / name))
                with contextlib.suppress(OSError):
                    os.utime(place / name)  # used: others are dropped before it
                return found
            except (OSError, ValueError, KeyError, TypeError) as error:
                _log.warning("%s is damaged (%s); the data are read anew", place / name, error)
                shutil.rmtree(place / name, ignore_errors=True)
    return None


def keep(catalogue: Catalogue, folder: str, name: str) -> Catalogue:
    """Writes a catalogue beside the data, or into the user's cache -> the same, memory-mapped.

    Where neither can be written it stays in memory, and the next start reads the data again. Parts
    of it are removed, and the readings of this folder that were used longest ago.
    """
    kept = _keep(catalogue, folder, name)
    for place in _places(folder):
        shutil.rmtree(place / f"{name}{_UNFINISHED}", ignore_errors=True)
        with contextlib.suppress(OSError):
            readings = sorted(place.glob("records-*"), key=lambda path: path.stat().st_mtime)
            for old in readings[:-_MOST_KEPT]:
                shutil.rmtree(old, ignore_errors=True)
    if kept is None:
        _log.warning(
            "%s: nowhere to keep what was found in it; the next start reads it again", folder
        )
    return kept or catalogue


def find_part(folder: str, name: str, start: int) -> Catalogue | None:
    """What an unfinished reading of the records from number `start` on has kept."""
    return find(folder, os.path.join(f"{name}{_UNFINISHED}", f"{start:09d}"))


def keep_part(part: Catalogue, folder: str, name: str, start: int) -> None:
    """Keeps part of a catalogue until it is whole, if it can."""
    if len(part):  # nothing cannot be mapped
        _keep(part, folder, os.path.join(f"{name}{_UNFINISHED}", f"{start:09d}"))


def _keep(catalogue: Catalogue, folder: str, name: str) -> Catalogue | None:
    """Writes a catalogue where it can -> the same, memory-mapped, or None."""
    for place in _places(folder):
        target = place / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        except OSError:
            continue
        try:
            _write(catalogue, temporary)
            temporary.chmod(0o755)  # a temporary folder is its maker's alone
            with contextlib.suppress(OSError):  # another process was faster: its is the same
                temporary.rename(target)
            return load(str(target))
        except OSError as error:
            _log.warning("%s cannot be kept: %s", target, error.strerror or error)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return None


def load(folder: str) -> Catalogue:
    """The catalogue in a folder, memory-mapped."""
    place = pathlib.Path(folder)
    names = json.loads((place / _NAMES).read_text())
    columns = {
        name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _COLUMNS
    }
    if {len(column) for column in columns.values()} != {names["records"]}:
        raise ValueError("columns of unequal lengths")
    return Catalogue(
        **columns,
        identity_names=names["identities"],
        domain_names=names["domains"],
        unreadable=[tuple(one) for one in names["unreadable"]],
        folder=folder,
    )


def _write(catalogue: Catalogue, folder: pathlib.Path) -> None:
    for name in _COLUMNS:
        np.save(folder / f"{name}.npy", getattr(catalogue, name), allow_pickle=False)
    names = {
        "records": len(catalogue),
        "identities": catalogue.identity_names,
        "domains": catalogue.domain_names,
        "unreadable": catalogue.unreadable,
    }
    (folder / _NAMES).write_text(json.dumps(names))


def _places(folder: str) -> list[pathlib.Path]:
    """Where catalogues may be: with the data, where the pairs are too, or in the user's cache."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    apart = hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:8]
    cache = home / "ddl_jax" / f"data-{apart}"
    return [cache] if is_remote(folder) else [pathlib.Path(folder) / ".ddl_jax", cache]
