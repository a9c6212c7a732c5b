"""A grid of faces: a row an identity, a column a view.

python -m ddl_jax.data.synthetic_faces.contact_sheet --out=docs/pictures/synthetic_faces.png
"""

import argparse

import cv2
import numpy as np
from etils import epath
from PIL import Image  # comes with matplotlib

from ddl_jax.data.picture_grid import picture_grid
from ddl_jax.data.synthetic_faces import domains
from ddl_jax.data.synthetic_faces.render import render_identity

_HEADER = 22  # pixels for the domains' names


def contact_sheet(seed: int, identities: range, views: dict[str, int], size: int) -> np.ndarray:
    """The pictures of `identities`, uint8 RGB; `views` says how many of each domain, in order."""
    rows = [
        np.stack([image for _, _, image in render_identity(seed, number, views, size)])
        for number in identities
    ]
    sheet = picture_grid(np.stack(rows))
    step = sheet.shape[1] // sum(views.values())
    header = np.full((_HEADER, sheet.shape[1], 3), 255, np.uint8)
    column = 0
    for domain, number in views.items():
        cv2.putText(
            header,
            domain.replace("_", " "),
            (column * step + 2, _HEADER - 7),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.4,
            (40, 40, 40),
            1,
            cv2.LINE_AA,
        )
        column += number
    return np.concatenate([header, sheet])


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
    # A palette, which OpenCV cannot write, makes the file a third of the size.
    picture = Image.fromarray(sheet)
    picture = picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)
    with epath.Path(args.out).open("wb") as file:
        picture.save(file, "PNG", optimize=True)


if __name__ == "__main__":
    main()
