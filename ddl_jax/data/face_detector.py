"""Faces found by a detector whose model the user has: OpenCV's YuNet."""

import hashlib
from typing import Protocol

import cv2
import numpy as np
from etils import epath

from ddl_jax.errors import UserError

# Long photos are found in as well when they are smaller, and far sooner.
_LONGEST_SIDE = 1024
_SCORE = 0.6  # what OpenCV's own examples start from is 0.9, which leaves hard faces out


class FaceDetector(Protocol):
    """What finds faces; picklable."""

    def faces(self, image: np.ndarray) -> np.ndarray:
        """The five landmarks of every face, `[n, 5, 2]` (x, y) in pixels of `[H, W, 3]` RGB."""
        ...

    def fingerprint(self) -> str:
        """What tells this detector from another."""
        ...


class YuNet:
    """OpenCV's `FaceDetectorYN` with a model file such as face_detection_yunet_2023mar.onnx."""

    def __init__(self, path: str):
        """Loads the model and tries it.

        Raises:
          UserError: no file, or no model of this kind.
        """
        self._path = path
        if not epath.Path(path).is_file():
            raise UserError(
                f"no detector {path!r}; give the .onnx file of OpenCV's YuNet face detector"
            )
        self._load()
        self.faces(np.zeros((64, 64, 3), np.uint8))

    def _load(self) -> None:
        model = np.frombuffer(epath.Path(self._path).read_bytes(), np.uint8)
        try:
            self._net = cv2.FaceDetectorYN.create(
                "onnx", model, np.zeros(0, np.uint8), (320, 320), _SCORE
            )
        except cv2.error as error:
            raise self._no_model() from error

    def faces(self, image: np.ndarray) -> np.ndarray:
        """See `FaceDetector.faces`."""
        factor = min(1.0, _LONGEST_SIDE / max(image.shape[:2]))
        if factor < 1:
            size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        else:
            small = image
        try:
            self._net.setInputSize(small.shape[1::-1])
            _, found = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise self._no_model() from error
        if found is None:
            return np.zeros((0, 5, 2))
        # Behind the box; OpenCV's right eye is the person's own, on the left of the image.
        points = found[:, 4:14].reshape(-1, 5, 2).astype(np.float64)
        scale = np.array(image.shape[1::-1]) / small.shape[1::-1]
        return (points + 0.5) * scale - 0.5

    def fingerprint(self) -> str:
        """The SHA-256 of the model's file."""
        return hashlib.sha256(epath.Path(self._path).read_bytes()).hexdigest()

    def _no_model(self) -> UserError:
        return UserError(
            f"detector {self._path!r} is no model that OpenCV's FaceDetectorYN takes; give the "
            ".onnx file of YuNet"
        )

    def __getstate__(self) -> dict:
        return {"_path": self._path}

    def __setstate__(self, state: dict) -> None:
        self.__dict__ |= state
        self._load()


def choose_face(faces: np.ndarray, size: tuple[int, int]) -> int:
    """Which of several faces a photo is of: the largest, those in the middle before others.

    insightface's rule: the area less twice the squared distance from the middle; the area is that
    of the aligned 112x112 image, 23.2 times the mean squared distance of its points from theirs.

    Args:
      faces: `[n, 5, 2]`, n >= 1.
      size: `(height, width)` of the photo.
    """
    centres = faces.mean(1)
    area = 23.2 * np.sum((faces - centres[:, None]) ** 2, (1, 2)) / 5
    middle = np.array(size[::-1]) / 2
    return int(np.argmax(area - 2 * np.sum((centres - middle) ** 2, 1)))
