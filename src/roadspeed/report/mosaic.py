"""A city's chips shrunk into one picture, reading each at the size it is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from roadspeed.chips import Chip
from roadspeed.errors import InputError
from roadspeed.files import read_table
from roadspeed.raster import open_raster, rgb_bands


@dataclass(frozen=True)
class Mosaic:
    """A picture and the part of the world it shows."""

    pixels: NDArray[np.uint8]
    """(rows, columns, 3); ground without a chip is mid grey."""
    extent: tuple[float, float, float, float]
    """West, east, south, north in the chips' CRS, as matplotlib's imshow takes them."""


def column_paths(table: Path, column: str) -> dict[str, Path]:
    """Return the files named in a stage's table, by chip id; chips without one are left out."""
    return {row["chip_id"]: table.parent / row[column] for row in read_table(table) if row[column]}


def read_mosaic(chips: Sequence[Chip], rgb: Mapping[str, Path], longest_px: int) -> Mosaic:
    """Read all chips into one picture.

    Memory: the picture alone; each chip is decimated by the reader.

    Args:
        chips: chips in one CRS.
        rgb: 8-bit RGB file by chip id.
        longest_px: longer side of the picture; it is never drawn larger than the chips' own pixels.

    Raises:
        InputError: there is no chip, or a file cannot be read.
    """
    if not chips:
        raise InputError("the chip table is empty: there is nothing to draw")
    west, south = min(c.west for c in chips), min(c.south for c in chips)
    east, north = max(c.east for c in chips), max(c.north for c in chips)
    pixel = min((c.east - c.west) / c.width for c in chips if c.width)
    scale = min(1.0, longest_px * pixel / max(east - west, north - south)) / pixel
    width, height = max(1, round((east - west) * scale)), max(1, round((north - south) * scale))
    picture = np.full((height, width, 3), 128, np.uint8)
    for chip in chips:
        if chip.chip_id not in rgb:
            continue
        left, right = round((chip.west - west) * scale), round((chip.east - west) * scale)
        top, bottom = round((north - chip.north) * scale), round((north - chip.south) * scale)
        if right <= left or bottom <= top:
            continue
        shape = (3, bottom - top, right - left)
        try:
            with open_raster(rgb[chip.chip_id]) as source:
                tile = source.read(rgb_bands(source.count), out_shape=shape, resampling=Resampling.average)
        except RasterioError as error:
            raise InputError(f"{rgb[chip.chip_id]}: cannot be drawn ({error}); run stage prepare again") from error
        picture[top:bottom, left:right] = np.moveaxis(tile, 0, 2)
    return Mosaic(picture, (west, east, south, north))
