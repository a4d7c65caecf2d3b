"""Chips with a border: pixels of the neighbouring chips where there are some, the chip's reflection elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window

from roadspeed.errors import InputError
from roadspeed.raster import Grid, read_grid, read_raster
from roadspeed.train.model import MULTIPLE_PX

SAME_PIXEL = 1e-3
"""Share by which the pixel sizes of neighbours may differ."""


@dataclass(frozen=True)
class Placed:
    """An image file and where it lies."""

    path: Path
    grid: Grid


def place(path: Path) -> Placed:
    """Look up where an image lies."""
    return Placed(path, read_grid(path))


def bordered_size(size_px: int, context_px: int) -> tuple[int, int]:
    """Return the border before and behind a side so that it has the least context and a multiple of 32."""
    border = -(-(size_px + 2 * context_px) // MULTIPLE_PX) * MULTIPLE_PX - size_px
    return border // 2, border - border // 2


def read_bordered(
    image: Placed, neighbours: Sequence[Placed], bands: int, context_px: int
) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
    """Read an image with a border around it.

    Args:
        image: the image.
        neighbours: images that may overlap the border; those of another CRS or pixel size are left out.
        bands: bands to read.
        context_px: least width of the border.

    Returns:
        (bands, H, W) uint8, H and W multiples of 32, and where the image itself lies in it (rows, columns).

    Raises:
        InputError: the image is unreadable, or not uint8 with that many bands.
    """
    pixels, grid = read_raster(image.path)
    if pixels.shape[0] != bands or pixels.dtype != np.uint8:
        raise InputError(
            f"{image.path}: has {pixels.shape[0]} bands {pixels.dtype}; the network wants {bands} bands uint8, as "
            "prepare.stretch.bands gave it"
        )
    top, bottom = bordered_size(grid.height, context_px)
    left, right = bordered_size(grid.width, context_px)
    own = slice(top, top + grid.height), slice(left, left + grid.width)
    result = np.pad(pixels[:bands], ((0, 0), (top, bottom), (left, right)), "symmetric")
    covered = np.zeros(result.shape[1:], bool)
    covered[own] = True
    origin = grid.transform * Affine.translation(-left, -top)
    for neighbour in neighbours:
        _paste(result, covered, origin, grid, neighbour, bands)
    return result, own


def _paste(
    result: NDArray[np.uint8],
    covered: NDArray[np.bool_],
    origin: Affine,
    grid: Grid,
    neighbour: Placed,
    bands: int,
) -> None:
    """Put the neighbour's pixels where nothing lies yet and it has data."""
    other = neighbour.grid
    sizes = ((origin.a, other.transform.a), (origin.e, other.transform.e))
    if other.crs != grid.crs or any(abs(b / a - 1) > SAME_PIXEL for a, b in sizes):
        return
    # The neighbour's upper left corner in pixels of the bordered image; grids may differ by part of a pixel.
    x, y = (round(value) for value in ~origin * (other.transform.c, other.transform.f))
    left, right = max(0, x), min(result.shape[2], x + other.width)
    top, bottom = max(0, y), min(result.shape[1], y + other.height)
    if left >= right or top >= bottom:
        return
    free = ~covered[top:bottom, left:right]
    if not free.any():
        return
    # Only the part that is still free is read: a strip along one side, or a corner.
    rows, columns = np.flatnonzero(free.any(1)), np.flatnonzero(free.any(0))
    top, bottom, left, right = top + rows[0], top + rows[-1] + 1, left + columns[0], left + columns[-1] + 1
    window = Window(left - x, top - y, right - left, bottom - top)
    pixels, _ = read_raster(neighbour.path, list(range(1, bands + 1)), window)
    put = ~covered[top:bottom, left:right] & pixels.any(0)
    result[:, top:bottom, left:right][:, put] = pixels[:, put]
    covered[top:bottom, left:right] |= put


def neighbours_of(images: Sequence[Placed], place: int, context_px: int) -> list[Placed]:
    """Return the images whose bounds come within the border of image `place`."""
    bounds = np.array([image.grid.bounds for image in images])
    own = images[place].grid
    west, south, east, north = own.bounds
    margin_x = (context_px + MULTIPLE_PX) * abs(own.transform.a)
    margin_y = (context_px + MULTIPLE_PX) * abs(own.transform.e)
    near = (
        (bounds[:, 0] < east + margin_x)
        & (bounds[:, 2] > west - margin_x)
        & (bounds[:, 1] < north + margin_y)
        & (bounds[:, 3] > south - margin_y)
    )
    near[place] = False
    return [image for image, is_near in zip(images, near, strict=True) if is_near]
