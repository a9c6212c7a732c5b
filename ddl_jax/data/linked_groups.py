"""Groups of things that pairs link, directly or by way of others."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def linked_groups(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The group `[count]` of each of `count` things; `first[n]` and `second[n]` are linked."""
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(links, directed=False)[1]
