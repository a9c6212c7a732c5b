"""Groups by links, beside a plain walk over them."""

import numpy as np

from ddl_jax.data.linked_groups import linked_groups


def test_what_links_reach_is_one_group_whichever_way_and_however_often():
    group = linked_groups(7, np.array([0, 4, 2, 4, 5]), np.array([4, 2, 4, 0, 5]))
    assert len({group[0], group[2], group[4]}) == 1
    assert len(set(group.tolist())) == 5  # 1, 3, 5 and 6 are alone, also who is linked to itself


def test_nothing_linked_and_nothing_at_all():
    none = np.zeros(0, int)
    assert len(set(linked_groups(3, none, none).tolist())) == 3


def test_as_merging_one_link_after_the_other():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 40, (2, 25))
    wanted = np.arange(40)
    for a, b in zip(first, second):
        wanted[wanted == wanted[b]] = wanted[a]
    group = linked_groups(40, first, second)
    assert np.array_equal(group[:, None] == group, wanted[:, None] == wanted)
