"""Several data sets as one: a list of sources, and a list of the identities that are one person."""

import functools
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from etils import epath

from ddl_jax import config as config_lib
from ddl_jax.data.linked_groups import linked_groups
from ddl_jax.data.source import Record, RecordIndex, Source, make_index, natural_key
from ddl_jax.data.table import read_table
from ddl_jax.errors import UserError

_log = logging.getLogger(__name__)

_COLUMNS = ("name", "source", "path", "root", "split")  # the last two may be left out


class MergedSource:
    """The records of several sources, one source after the other.

    Paths and identities carry the name of their source, `NAME/...`: the same name in two sources is
    two people, unless they are told to be one.

    Attributes:
      index: the records without pixels; labels number the identities in natural order of names.
      skipped: names of unreadable records that were left out.
      parts: the names of the sources.
    """

    def __init__(self, parts: Mapping[str, Source], *, same: str = ""):
        """Puts them together.

        Args:
          parts: the sources by their names.
          same: a CSV `first,second` of identities that are one, as `audit` writes it.

        Raises:
          UserError: a file that cannot be read, or names nobody.
        """
        self.parts = list(parts)
        self.skipped = [
            f"{name}/{path}"
            for name, part in parts.items()
            for path in getattr(part, "skipped", ())
        ]
        self._sources = list(parts.values())
        self._ends = np.cumsum([len(source) for source in self._sources])
        names = {
            f"{name}/{identity}"
            for name, source in parts.items()
            for identity in np.unique(source.index.identities).tolist()
        }
        self._one = _joined(same, sorted(names, key=natural_key)) if same else {}
        self._labels = self.index.labels.astype(np.int32)

    @functools.cached_property
    def index(self) -> RecordIndex:
        """Made when first asked for: worker processes do without."""
        parts = [(name, source.index) for name, source in zip(self.parts, self._sources)]
        return make_index(
            [self._person(name, i) for name, part in parts for i in part.identities.tolist()],
            [f"{name}/{path}" for name, part in parts for path in part.paths.tolist()],
            [domain for _, part in parts for domain in part.domains.tolist()],
            [checksum for _, part in parts for checksum in part.checksums.tolist()],
        )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> Record:
        number = range(len(self))[number]  # past the end the IndexError that iteration wants
        place = int(np.searchsorted(self._ends, number, side="right"))
        start = int(self._ends[place - 1]) if place else 0
        record, name = self._sources[place][number - start], self.parts[place]
        return record | {
            "label": int(self._labels[number]),
            "identity": self._person(name, record["identity"]),
            "path": f"{name}/{record['path']}",
        }

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "index"}

    def _person(self, part: str, identity: str) -> str:
        name = f"{part}/{identity}"
        return self._one.get(name, name)


def _joined(file: str, names: Sequence[str]) -> dict[str, str]:
    """The first name, in order, of every identity that is one with others."""
    if not epath.Path(file).is_file():
        raise UserError(f"same: no file {file!r}; give a CSV first,second, as audit writes it")
    number = {name: place for place, name in enumerate(names)}
    pairs = []
    for where, row in read_table(epath.Path(file), ("first", "second")):
        for name in (row["first"], row["second"]):
            if name not in number:
                raise UserError(
                    f"{where}: no identity {name!r}; those of this data are named as "
                    f"{names[0]!r} is"
                )
        pairs.append((number[row["first"]], number[row["second"]]))
    first, second = np.array(pairs, int).reshape(-1, 2).T
    group = linked_groups(len(names), first, second)
    _, start = np.unique(group, return_index=True)
    joined = {name: names[start[g]] for name, g in zip(names, group) if names[start[g]] != name}
    people = len(set(joined.values()))
    _log.warning("%s: makes %d of %d identities", file, people, len(joined) + people)
    return joined


def open_merged(
    data: config_lib.Data, open_part: Callable[[config_lib.Data, str], Source]
) -> MergedSource:
    """Opens the sources of a list, a CSV `name,source,path[,root][,split]` with a line for each.

    Args:
      data: its `path` is the list, `same` the identities that are one; `corrupt` is for all.
      open_part: opens one of them, given what to call its settings in an error.

    Raises:
      UserError: a line that says something else, or a source that cannot be opened.
    """
    file = epath.Path(data.path)
    if not file.is_file():
        raise UserError(f"no file {data.path!r}; give a CSV name,source,path with a line a source")
    parts: dict[str, Source] = {}
    for where, row in read_table(file, _COLUMNS[:3]):
        name = row["name"]
        if not re.fullmatch(r"\w[\w.-]*", name) or name in parts:
            raise UserError(
                f"{where}: the name {name!r} is "
                + ("there twice" if name in parts else "none; use letters, digits, '_', '.', '-'")
            )
        parts[name] = open_part(_part(data, row, where), where)
    if not parts:
        raise UserError(f"{data.path} names no source; write a line name,source,path for each")
    return MergedSource(parts, same=data.same)


def _part(data: config_lib.Data, row: Mapping[str, str], where: str) -> config_lib.Data:
    """The settings of a line; relative paths are below the list's folder."""
    if row["source"] in ("merged", "synthetic_faces"):
        raise UserError(f"{where}: the source {row['source']!r} cannot be merged; prepare it first")
    folder = os.path.dirname(data.path)
    part = config_lib.Data(
        source=row["source"],
        path=row["path"] and os.path.join(folder, row["path"]),
        root=row.get("root") and os.path.join(folder, row["root"]) or "",
        split=row.get("split") or "train",
        corrupt=data.corrupt,
    )
    try:
        config_lib.validate(config_lib.Config(data=part))
    except UserError as error:
        raise UserError(f"{where}: {str(error).replace('config.data.', '')}") from error
    return part
