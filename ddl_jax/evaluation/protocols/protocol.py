"""What a protocol is: images to embed, and a function from their embeddings to results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ddl_jax.evaluation.images import Images
from ddl_jax.evaluation.result import ProtocolResult


@dataclasses.dataclass(frozen=True)
class PairRows:
    """Pairs of images by their numbers: `first[n]`, `second[n]`, `same[n]` bool."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray

    def sample(self, most: int) -> PairRows:
        """At most `most` pairs of each kind, evenly spread over all of that kind."""
        rows = np.concatenate([_spread(np.flatnonzero(self.same == kind), most) for kind in (1, 0)])
        return PairRows(self.first[rows], self.second[rows], self.same[rows])


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A benchmark whose files have been read and checked.

    Attributes:
      name: of its results: `name`, or `name/part`.
      images: every image once.
      evaluate: the embeddings of all images, in order, -> `{name or name/part: result}`. It raises
        ValueError for embeddings that do not fit.
      pairs: some genuine and impostor pairs of images, to probe the channel order with.
      card: what a reader must know of the data and the rule to compare the numbers.
      apart: whether `evaluate` takes image and mirror image apart, `[n, 2, D]`, not `[n, D]`.
    """

    name: str
    images: Images
    evaluate: Callable[[np.ndarray], dict[str, ProtocolResult]]
    pairs: PairRows
    card: Mapping[str, Any]
    apart: bool = False


def check_rows(embeddings: np.ndarray, images: Images) -> None:
    """Raises ValueError unless there is one embedding for each image."""
    if len(embeddings) != len(images):
        raise ValueError(f"{len(embeddings)} embeddings for {len(images)} images: give one each")


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
