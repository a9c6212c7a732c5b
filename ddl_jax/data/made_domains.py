"""Domains that no file is of: the easy images once more, to be degraded when they are read."""

import dataclasses
import functools
from collections.abc import Collection

import numpy as np

from ddl_jax.data.source import Record, RecordIndex, Source
from ddl_jax.errors import UserError


class MadeDomains:
    """A source, and behind its records those of one domain again under the name of each other.

    An image `PATH` of the domain `cctv` that is made has the path `PATH#cctv` and the bytes of
    `PATH`; `augment.Augment` makes the domain of its pixels, anew at every reading.
    """

    def __init__(self, source: Source, easy: str, made: Collection[str]):
        """Args:
          source: the real images.
          easy: the domain that the others are made of.
          made: their names.

        Raises:
          UserError: the data have a domain of such a name already.
        """
        for domain in made:
            if domain in source.index.domains:
                raise UserError(
                    f"config.batch.degradations makes {domain!r}, but the data have images of "
                    "this domain; give it another name"
                )
        self._source, self._made = source, list(made)
        self._rows = source.index.rows_of(easy)

    @functools.cached_property
    def index(self) -> RecordIndex:
        """Made when first asked for: worker processes do without."""
        real, rows, made = self._source.index, self._rows, self._made
        numbers = np.concatenate([np.arange(len(real)), *[rows] * len(made)])
        columns = {
            field.name: getattr(real, field.name)[numbers] for field in dataclasses.fields(real)
        }
        paths = real.paths[rows].tolist()
        columns["paths"] = np.array(
            real.paths.tolist() + [f"{path}#{domain}" for domain in made for path in paths]
        )
        columns["domains"] = np.array(
            real.domains.tolist() + [domain for domain in made for _ in paths]
        )
        return dataclasses.replace(real, **columns)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "index"}

    def __len__(self) -> int:
        return len(self._source) + len(self._made) * len(self._rows)

    def __getitem__(self, number: int) -> Record:
        number = range(len(self))[number]  # past the end the IndexError that iteration wants
        if number < len(self._source):
            return self._source[number]
        code, place = divmod(number - len(self._source), len(self._rows))
        record, domain = self._source[int(self._rows[place])], self._made[code]
        return record | {"path": f"{record['path']}#{domain}", "domain": domain}
