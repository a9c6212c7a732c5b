"""Yaw and roll from five landmarks: by hand, and of a head that is turned in space."""

import numpy as np
import pytest

from ddl_jax.data.pose import head_pose

# Right, down, towards the viewer; the nose stands as far before the eyes as an eye from the middle.
HEAD = np.array([[-1, 0, 0], [1, 0, 0], [0, 1.2, 1], [-0.8, 2.3, 0], [0.8, 2.3, 0]], float)


def _seen(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The head turned about the upright, then nodded, then tilted clockwise; seen from afar."""
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (HEAD @ (tilt @ nod @ turn).T)[:, :2]


@pytest.mark.parametrize("yaw", [-80, -45, -10, 0, 30, 60, 85])
@pytest.mark.parametrize("roll", [-100, 0, 25])
def test_a_turned_head_is_read_whatever_its_nod(yaw, roll):
    for pitch in (-20, 0, 15):
        seen = _seen(*np.radians([yaw, pitch, roll]))
        found = head_pose(3.7 * seen[None] + [50, 60])
        np.testing.assert_allclose(np.concatenate(found), [yaw, roll], atol=1e-9)


def test_by_hand():
    # Eyes 40 apart, the nose 10 to the right of their middle: tan(yaw) = 10 / 20.
    face = np.array([[30, 50], [70, 50], [60, 70], [35, 90], [65, 90]], float)
    yaw, roll = head_pose(np.stack([face, np.full((5, 2), np.nan)]))
    np.testing.assert_allclose([yaw[0], roll[0]], [np.degrees(np.arctan(0.5)), 0])
    assert np.isnan([yaw[1], roll[1]]).all()


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\[n, 5, 2\] are needed"):
        head_pose(np.zeros((5, 2)))
