"""People for the commands that look at data with a network: so unlike that any network tells."""

import csv
import pathlib

import cv2
import numpy as np

from ..data.image_files import encode, pixels

SIZE = (32, 32, 3)


def write_view(root: pathlib.Path, path: str, person: str, domain: str = "easy") -> None:
    """Writes a view of a person as `root/path`: large patches, and hard ones darkened and noisy."""
    patches = cv2.resize(pixels(f"person {person}", (6, 6, 3)), SIZE[:2])
    strength = 0.03 if domain == "easy" else 0.25
    noise = pixels(path, SIZE).astype(float) - 127.5
    image = np.clip((patches + strength * noise) * (1 if domain == "easy" else 0.6), 0, 255)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(encode(image.astype(np.uint8)))


def write_people(root: pathlib.Path, people: int, *, easy: int = 3, hard: int = 2) -> pathlib.Path:
    """Writes `root/<person>/<domain>-<number>.png`, persons counted from 1 -> root."""
    for person in range(1, people + 1):
        for domain, count in (("easy", easy), ("hard", hard)):
            for number in range(count):
                write_view(root, f"{person}/{domain}-{number}.png", str(person), domain)
    return root


def read_rows(file: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a CSV that a command wrote."""
    with file.open() as text:
        return list(csv.DictReader(text))
