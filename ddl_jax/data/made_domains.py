"""Domains that no file is of: the easy images once more, to be degraded when they are read."""

import dataclasses
from collections.abc import Collection

import numpy as np

from ddl_jax.data.source import Record, Source
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
        index = source.index
        for domain in made:
            if domain in index.domains:
                raise UserError(
                    f"config.batch.degradations makes {domain!r}, but the data have images of "
                    "this domain; give it another name"
                )
        rows = index.rows_of(easy)
        self._source = source
        self._numbers = np.concatenate([np.arange(len(index)), *[rows] * len(made)])
        columns = {
            field.name: getattr(index, field.name)[self._numbers]
            for field in dataclasses.fields(index)
        }
        paths = index.paths[rows].tolist()
        columns["paths"] = np.array(
            index.paths.tolist() + [f"{path}#{domain}" for domain in made for path in paths]
        )
        columns["domains"] = np.array(
            index.domains.tolist() + [domain for domain in made for _ in paths]
        )
        self.index = dataclasses.replace(index, **columns)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Record:
        index = self.index
        record = self._source[int(self._numbers[number])]
        return record | {"path": str(index.paths[number]), "domain": str(index.domains[number])}
