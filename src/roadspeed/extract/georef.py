"""From pixels to metres and to lon/lat: one frame a raster or city, all coordinates projected in one call."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.errors import InputError
from roadspeed.geo import LONLAT, transformer, utm_crs


@dataclass(frozen=True)
class Frame:
    """A flat frame in metres over a raster: x = column × width, y = row × height of a pixel on the ground.

    Distances in it decide what is joined and removed; the lengths of the final edges come from UTM.
    """

    transform: Affine
    """Pixel (column, row) to the raster's CRS."""
    crs: str
    """The raster's CRS as WKT."""
    width_m: float
    """Width of a pixel on the ground, metres."""
    height_m: float

    @property
    def pixel_m(self) -> float:
        """Mean side of a pixel, metres."""
        return float(np.sqrt(self.width_m * self.height_m))

    def metres(self, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return (n, 2) x, y of the centres of pixels."""
        return np.column_stack([(columns + 0.5) * self.width_m, (rows + 0.5) * self.height_m])

    def lonlat(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n, 2) lon, lat of (n, 2) points of the frame."""
        x, y = self.transform * (points[:, 0] / self.width_m, points[:, 1] / self.height_m)
        if self.crs == LONLAT.to_wkt():
            return np.column_stack([x, y])
        return np.column_stack(transformer(self.crs, LONLAT).transform(x, y))


def make_frame(transform: Affine, crs: CRS | None, width: int, height: int, name: str) -> Frame:
    """Return the frame of a raster, pixel size taken at its middle.

    Raises:
        InputError: no CRS, or a transform that places no pixels on the ground.
    """
    if crs is None:
        raise InputError(f"{name}: has no CRS; assign one, for example with gdal_edit -a_srs EPSG:4326")
    if not np.isfinite(tuple(transform)).all() or transform.determinant == 0:
        raise InputError(f"{name}: its geotransform {tuple(transform)[:6]} places no pixels on the ground")
    middle = np.array([width / 2, height / 2])
    steps = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]]) * [width, height]
    x, y = transform * tuple((middle + steps).T)
    text = crs.to_wkt()
    try:
        if transformer(text, LONLAT).source_crs == LONLAT:
            text = LONLAT.to_wkt()
        lon, lat = transformer(text, LONLAT).transform(x, y)
        if not (np.isfinite(lon).all() and np.abs(lon).max() <= 360 and np.abs(lat).max() <= 90):
            raise InputError(f"{name}: its geotransform {tuple(transform)[:6]} places pixels outside the Earth")
        local = transformer(LONLAT, utm_crs(float(lon.mean()), float(lat.mean())))
        east, north = local.transform(lon, lat)
    except ProjError as error:
        raise InputError(f"{name}: its CRS cannot be used ({error})") from error
    points = np.column_stack([east, north])
    width_m = np.linalg.norm(points[1] - points[0]) / width
    height_m = np.linalg.norm(points[3] - points[2]) / height
    if not (1e-3 < width_m < 1e3 and 1e-3 < height_m < 1e3):
        raise InputError(f"{name}: a pixel is {width_m:.3g} × {height_m:.3g} m; expected about 0.3 m")
    return Frame(transform, text, float(width_m), float(height_m))


def lonlat_lines(frame: Frame, points: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return LineStrings in lon/lat of lines whose points (n, 2), in metres of the frame, lie one after another."""
    index = np.repeat(np.arange(len(counts)), counts)
    return np.asarray(shapely.linestrings(frame.lonlat(points), indices=index), object)
