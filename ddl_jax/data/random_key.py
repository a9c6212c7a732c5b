"""Seeds for draws that must not depend on each other."""

import hashlib
import zlib

import numpy as np


def random_key(purpose: str, *numbers: int) -> list[int]:
    """A seed for `numpy.random.default_rng`: other for every purpose and every row of numbers.

    NumPy takes [1, 2] and [1, 2, 0] for one seed, hence their count; the purpose keeps draws apart
    that happen to have the same numbers.
    """
    return [zlib.crc32(purpose.encode()), len(numbers), *numbers]


def random_bits(count: int, purpose: str, *numbers: int) -> np.ndarray:
    """`[count]` booleans, each True with probability one half, at most 512.

    For a few draws of an image: a generator takes four times as long to be made.
    """
    key = ",".join(map(str, (purpose, *numbers))).encode()
    digest = hashlib.blake2b(key, digest_size=(count + 7) // 8).digest()
    return np.unpackbits(np.frombuffer(digest, np.uint8), count=count).astype(bool)
