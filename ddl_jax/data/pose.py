"""How far a head is turned, from five points of its face."""

import numpy as np


def head_pose(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and roll from the geometry of eyes, nose and mouth.

    The line from the middle of the eyes to the middle of the mouth is the face's upright: roll is
    its angle to the image's. Across it, seen from afar, an eye is e cos(yaw) from the middle of the
    eyes and the tip of the nose d sin(yaw), where e is half the distance of the eyes and d how far
    the tip stands before them. With d = e, about what heads have,

        yaw = atan2(nose - middle of the eyes, half the distance of the eyes), all across

    A flat nose reads low and a long one high: with d off by a fifth, 45 degrees read 39 to 50.
    Nodding does not matter, since nothing is measured along the upright. Beyond some 60 degrees the
    far eye is hidden, and landmarks are what their detector imagines: a yaw there says "profile",
    no more.

    Args:
      landmarks: `[n, 5, 2]` (x, y) in pixels, y down: the eye on the left of the image, the eye on
        its right, the tip of the nose, the corners of the mouth on the left and on the right.

    Returns:
      `(yaw[n], roll[n])` in degrees, -180 to 180: yaw above 0 with the nose towards the right of
      the image, roll above 0 with the chin towards the left (turned clockwise). Aligning an image
      (turning, scaling, moving it) changes roll only. NaN where a point is NaN.

    Raises:
      ValueError: another shape.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(f"landmarks have shape {points.shape}: [n, 5, 2] are needed")
    left, right, nose, mouth_left, mouth_right = np.moveaxis(points, 1, 0)
    eyes = (left + right) / 2
    down = (mouth_left + mouth_right) / 2 - eyes
    roll = np.arctan2(-down[:, 0], down[:, 1])
    across = np.stack([np.cos(roll), np.sin(roll)], axis=1)
    half = np.sum((right - left) * across, axis=1) / 2
    yaw = np.arctan2(np.sum((nose - eyes) * across, axis=1), half)
    return np.degrees(yaw), np.degrees(roll)
