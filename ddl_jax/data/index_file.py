"""The index file of a split: a domain for every image, with the scores that led to it."""

from collections.abc import Mapping

import numpy as np

from ddl_jax.data.source import RecordIndex
from ddl_jax.data.table import table_text


def index_table(index: RecordIndex, domains: np.ndarray, scores: Mapping[str, np.ndarray]) -> str:
    """A CSV `path,domain,SCORE,...` that `config.data.metadata` reads with `domain_column=domain`.

    Args:
      index: whose images it is about, in order.
      domains: `[n]` their names.
      scores: `{name: [n] float}`; NaN, no score, is left empty.
    """
    columns = [index.paths.tolist(), domains.tolist(), *(v.tolist() for v in scores.values())]
    return table_text(("path", "domain", *scores), zip(*columns, strict=True))
