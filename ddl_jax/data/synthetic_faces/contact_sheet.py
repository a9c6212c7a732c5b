"""A grid of faces: a row an identity, a column a view.

python -m ddl_jax.data.synthetic_faces.contact_sheet --out=docs/pictures/synthetic_faces.png
"""

import argparse

import numpy as np

from ddl_jax.data.contact_sheet import draw_sheet, write_sheet
from ddl_jax.data.synthetic_faces import domains
from ddl_jax.data.synthetic_faces.render import render_identity


def contact_sheet(seed: int, identities: range, views: dict[str, int], size: int) -> np.ndarray:
    """The pictures of `identities`, uint8 RGB; `views` says how many of each domain, in order."""
    rows = [
        np.stack([image for _, _, image in render_identity(seed, number, views, size)])
        for number in identities
    ]
    titles = [
        domain if first else ""
        for domain, number in views.items()
        for first in [True] + [False] * (number - 1)
    ]
    return draw_sheet(np.stack(rows), titles)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="the PNG to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=8, help="the first identity's number")
    parser.add_argument("--identities", type=int, default=6)
    parser.add_argument("--size", type=int, default=112)
    args = parser.parse_args()
    views = {domains.EASY: 2} | {domain: 1 for domain in domains.HARD}
    identities = range(args.first, args.first + args.identities)
    sheet = contact_sheet(args.seed, identities, views, args.size)
    write_sheet(args.out, sheet)


if __name__ == "__main__":
    main()
