"""Photos as aligned faces, and a word about those that are none."""

import threading
from collections.abc import Sequence

import numpy as np

from ddl_jax.data.decode import decode_image
from ddl_jax.data.survey import FaceFinder, face_of
from ddl_jax.errors import UserError
from ddl_jax.evaluation.images import EncodedImage, Images


class FaceImages:
    """Photos with the landmarks of the face that each is of, by which `embed` aligns them."""

    def __init__(self, images: Images, finder: FaceFinder, names: Sequence[str]):
        """`names[n]` are those by which the finder knows the photos."""
        self._images, self._finder, self._names = images, finder, names
        self._found: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()  # a detector looks at one image at a time

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> EncodedImage:
        """The photo; a UserError where no face is known."""
        record = self._images[number]
        with self._lock:
            if number not in self._found:
                self._found[number] = self._landmarks(record, self._names[number])
            return record | {"landmarks": self._found[number]}

    def _landmarks(self, record: EncodedImage, name: str) -> np.ndarray:
        image = decode_image(record["image"], record["path"])
        count, landmarks = face_of(image, name, self._finder)
        if not count:
            raise UserError(
                f"{record['path']}: no face is known in it; name it in --landmarks, try another "
                "--detector or leave it out"
            )
        return landmarks


def unlike_input(images: Images, size: tuple[int, int], most: int = 100) -> str:
    """A warning if one of the first images is of another size than aligned faces are; "" if none.

    Args:
      images: as they are.
      size: `(height, width)` that the network takes.
      most: how many are looked at.
    """
    seen = range(min(most, len(images)))
    shapes = {}
    for number in seen:
        record = images[number]
        shape = decode_image(record["image"], record["path"]).shape[:2]
        if shape != tuple(size):
            shapes[record["path"]] = shape
    if not shapes:
        return ""
    (name, (height, width)) = next(iter(shapes.items()))
    more = f" ({len(shapes)} such among {len(seen)})" if len(seen) > 1 else ""
    return (
        f"ATTENTION: {name} is {width}x{height}, an aligned face {size[1]}x{size[0]}{more}: scaled "
        "and cut as it is; cosines of faces that are not aligned mean little, give "
        "--landmarks=FILE or --detector=YUNET.onnx to align them"
    )
