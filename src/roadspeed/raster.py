"""GeoTIFFs in and out: whole or by window, tiled, compressed, written atomically, errors in one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from roadspeed.errors import InputError
from roadspeed.files import atomic

TILE_PX = 256
FAST: dict[str, Any] = {"compress": "zstd", "zstd_level": 1}
"""Options for files that are written and read often: twice as fast as deflate, a little smaller, but unknown to
programs that do not read TIFF through GDAL."""


def rgb_bands(count: int) -> tuple[int, int, int]:
    """Return the band numbers of red, green and blue: 5, 3, 2 of WorldView's eight bands, else the first three."""
    return (5, 3, 2) if count >= 8 else (1, 2, 3)


@dataclass(frozen=True)
class Grid:
    """Where a raster lies: its size in pixels, CRS (None when the file has none) and pixel-to-CRS transform."""

    width: int
    height: int
    crs: CRS | None
    transform: Affine

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in the CRS."""
        corners = [self.transform * p for p in ((0, 0), (self.width, 0), (0, self.height), (self.width, self.height))]
        xs, ys = [p[0] for p in corners], [p[1] for p in corners]
        return min(xs), min(ys), max(xs), max(ys)


def read_grid(path: Path | str) -> Grid:
    """Return the grid of a raster without reading pixels.

    Raises:
        InputError: the file is missing or is not a raster.
    """
    with open_raster(path) as source:
        return Grid(source.width, source.height, source.crs, source.transform)


def open_raster(path: Path | str) -> Any:
    """Open a raster for reading, as `rasterio.open` does.

    Raises:
        InputError: the file is missing or is not a raster.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; expected a GeoTIFF")
    try:
        return rasterio.open(path)
    except RasterioError as error:
        raise InputError(f"{path}: not a readable raster ({error}); expected a GeoTIFF") from error


def read_raster(
    path: Path | str, bands: list[int] | None = None, window: Window | None = None
) -> tuple[NDArray[Any], Grid]:
    """Read pixels and where they lie.

    Args:
        path: a raster file.
        bands: band numbers from 1; all by default.
        window: the part to read, inside the raster; all by default.

    Returns:
        (bands, rows, columns) in the file's dtype, and the grid of that part.

    Raises:
        InputError: the file is missing, damaged, not a raster, or lacks a band.
    """
    with open_raster(path) as source:
        if bands and max(bands) > source.count:
            raise InputError(f"{path}: has {source.count} bands, band {max(bands)} is wanted")
        try:
            pixels = source.read(bands, window=window)
        except RasterioError as error:
            raise InputError(f"{path}: pixels cannot be read ({error}); the file may be cut short") from error
        transform = source.transform if window is None else source.window_transform(window)
        return pixels, Grid(pixels.shape[2], pixels.shape[1], source.crs, transform)


def write_raster(
    path: Path | str, pixels: NDArray[Any], grid: Grid, nodata: float | None = None, **options: object
) -> None:
    """Write a tiled, compressed GeoTIFF atomically.

    Args:
        path: the file to make.
        pixels: (bands, rows, columns).
        grid: where the pixels lie; its size must be theirs.
        nodata: the value that means no data, stored in the file.
        options: further creation options of GDAL's GTiff driver.
    """
    assert pixels.shape[1:] == (grid.height, grid.width), (pixels.shape, grid)
    small = min(pixels.shape[1:]) < TILE_PX
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": grid.height,
        "width": grid.width,
        "dtype": pixels.dtype,
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": nodata,
        "compress": "deflate",
        "predictor": 2 if np.issubdtype(pixels.dtype, np.integer) else 3,
        "interleave": "pixel" if pixels.shape[0] == 3 else "band",
        "BIGTIFF": "IF_SAFER",
    }
    if options.get("compress", "deflate") == "deflate":
        profile["zlevel"] = 1
    if not small:
        profile |= {"tiled": True, "blockxsize": TILE_PX, "blockysize": TILE_PX}
    with atomic(path) as temporary, rasterio.open(temporary, "w", **(profile | options)) as target:
        target.write(pixels)
