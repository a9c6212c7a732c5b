"""The index file of a split: a domain for every image, with the scores that led to it."""

import csv
import io
from collections.abc import Mapping

import numpy as np

from ddl_jax.data.source import RecordIndex


def index_table(index: RecordIndex, domains: np.ndarray, scores: Mapping[str, np.ndarray]) -> str:
    """A CSV `path,domain,SCORE,...` that `config.data.metadata` reads with `domain_column=domain`.

    Args:
      index: whose images it is about, in order.
      domains: `[n]` their names.
      scores: `{name: [n]}`, six digits of each; NaN, no score, is left empty.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "domain", *scores))
    columns = [map(_written, values) for values in scores.values()]
    table.writerows(zip(index.paths, domains, *columns, strict=True))
    return text.getvalue()


def _written(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""
