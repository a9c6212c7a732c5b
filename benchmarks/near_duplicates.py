"""What finding near duplicates among a million faces takes, and how many are different people.

    python -m benchmarks.near_duplicates --faces=FOLDER [--images=1000000]

FOLDER holds aligned faces, some thousands. Each of that many faces is two of them in one, a pair
that no other is of (duplicates left out): aligned faces are alike, and hashes drawn bit by bit, or
faces drawn from a normal distribution, would meet far less often. Prints how many pairs have near
coarse hashes by chance, how many faces the detail still takes for near duplicates, and seconds and
memory.
"""

import argparse
import resource
import time

import cv2
import numpy as np

from ddl_jax.data import duplicates
from ddl_jax.data.decode import decode_image
from ddl_jax.data.image_folder import find_images, read_file

_AT_ONCE = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", required=True)
    parser.add_argument("--images", type=int, default=1_000_000)
    options = parser.parse_args()
    known = np.array([_frequencies(options.faces, path) for path in find_images(options.faces)])
    own = duplicates.near_groups(*duplicates.hashes(known.reshape(-1, 16, 16)))
    known = np.delete(known, [row for rows in own for row in rows[1:]], axis=0)
    coarse, detail = _drawn(known, options.images)
    before, start = _megabytes(), time.process_time()
    chance = sum(
        len(first)
        for mask in duplicates._masks(duplicates.MAX_DISTANCE)
        for first, _ in duplicates._near_pairs(coarse, mask, duplicates.MAX_DISTANCE)
    )
    search = time.process_time() - start
    start = time.process_time()
    groups = duplicates.near_groups(coarse, detail)
    print(
        f"{options.images} faces like the {len(known)} of {options.faces}: {chance} times two "
        f"coarse hashes are near (a pair up to 35 times), {search:.0f} s of a core; "
        f"{sum(map(len, groups))} faces in {len(groups)} groups of near duplicates, "
        f"{time.process_time() - start:.0f} s, {_megabytes() - before:.0f} MB more memory"
    )


def _frequencies(folder: str, path: str) -> np.ndarray:
    """The 16x16 lowest frequencies of a face."""
    grey = cv2.cvtColor(decode_image(read_file(folder, path), path), cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.dct(grey.astype(np.float32))[:16, :16].ravel()


def _drawn(known: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Coarse and detailed hashes of faces that nobody has."""
    rng = np.random.default_rng(0)
    mean, (first, second) = known.mean(0), np.triu_indices(len(known), 1)
    pairs, parts = rng.choice(len(first), images, replace=False), []
    for part in np.split(pairs, range(_AT_ONCE, images, _AT_ONCE)):
        # The deviation from the mean face is as large as that of one.
        faces = mean + (known[first[part]] + known[second[part]] - 2 * mean) / np.sqrt(2)
        parts.append(duplicates.hashes(faces.reshape(-1, 16, 16)))
    return tuple(np.concatenate(part) for part in zip(*parts))


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
