"""Small probability rasters drawn for the tests of the extract stage."""

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.raster import Grid

PIXEL_M = 0.3
UTM = CRS.from_epsg(32611)


def grid(height: int, width: int, row: int = 0, column: int = 0) -> Grid:
    """Return a grid of 0.3 m pixels in UTM zone 11, moved by whole pixels."""
    return Grid(
        width, height, UTM, Affine(PIXEL_M, 0, 660000 + column * PIXEL_M, 0, -PIXEL_M, 4010000 - row * PIXEL_M)
    )


def draw(
    height: int, width: int, roads: list[tuple[list[tuple[float, float]], int]], width_px: int = 13
) -> NDArray[np.uint8]:
    """Return (8, height, width): roads as (column, row) corners with the class (1 … 7) of their speed bin."""
    bands = np.zeros((8, height, width), np.uint8)
    for corners, speed_class in roads:
        points = [np.round(np.array(corners)).astype(np.int32).reshape(-1, 1, 2)]
        for band in (speed_class - 1, 7):
            cv2.polylines(bands[band], points, False, 255, width_px)
    return bands
