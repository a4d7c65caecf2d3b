"""Smooth random fields fixed to the ground: neighbouring chips see the same ones, whatever is asked first.

Value noise: a lattice of hashed numbers, enlarged with cubic interpolation. Cost: one hash a lattice point and
one enlargement, a few ms a megapixel.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

_A, _B, _C = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def lattice(seed: int, x0: int, y0: int, width: int, height: int) -> NDArray[np.float32]:
    """Return (height, width) numbers of mean 0 and deviation 1 (uniform), a function of seed and place."""
    with np.errstate(over="ignore"):
        x = np.arange(x0, x0 + width, dtype=np.int64).astype(np.uint64) * _B
        y = np.arange(y0, y0 + height, dtype=np.int64).astype(np.uint64) * _C
        bits = (x[None, :] ^ (y[:, None] + np.uint64(seed) * _A)) * _A
        bits = (bits ^ (bits >> np.uint64(29))) * _B
        bits ^= bits >> np.uint64(32)
    return ((bits & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(3.4641016 / 0x1000000)) - np.float32(
        1.7320508
    )


def field(seed: int, cell: int, x0: int, y0: int, width: int, height: int) -> NDArray[np.float32]:
    """Return smooth noise of mean 0 and deviation about 1 on a window of an endless raster.

    Args:
        seed: which field.
        cell: size of its features in pixels.
        x0, y0: the window's first pixel.
        width, height: the window's size.

    Returns:
        (height, width) float32.
    """
    if cell == 1:
        return lattice(seed, x0, y0, width, height)
    first_x, first_y = x0 // cell - 2, y0 // cell - 2
    columns, rows = width // cell + 6, height // cell + 6
    points = lattice(seed, first_x, first_y, columns, rows)
    large = cv2.resize(points, (columns * cell, rows * cell), interpolation=cv2.INTER_CUBIC)
    left, top = x0 - first_x * cell, y0 - first_y * cell
    return large[top : top + height, left : left + width] * np.float32(1.35)
