"""Seeds for draws that must not depend on each other."""

import zlib


def random_key(purpose: str, *numbers: int) -> list[int]:
    """A seed for `numpy.random.default_rng`: other for every purpose and every row of numbers.

    NumPy takes [1, 2] and [1, 2, 0] for one seed, hence their count; the purpose keeps draws apart
    that happen to have the same numbers.
    """
    return [zlib.crc32(purpose.encode()), len(numbers), *numbers]
