"""Degrees to metres: the local UTM zone, applied to whole arrays of coordinates or geometries at once."""

from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer

LONLAT = CRS.from_epsg(4326)


def utm_crs(lon: float, lat: float) -> CRS:
    """Return the UTM zone (WGS 84) of a place; near the poles the nearest zone that UTM has.

    Args:
        lon: degrees east, -180 to 180 (wrapped).
        lat: degrees north.
    """
    zone = int((lon + 180) % 360 // 6) + 1
    return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)


@lru_cache(maxsize=64)
def transformer(source: CRS | str, target: CRS | str) -> Transformer:
    """Return a cached transformer with x (longitude) before y (latitude), whatever the CRS says."""
    return Transformer.from_crs(source, target, always_xy=True)


def project(geometries: Any, source: CRS | str, target: CRS | str) -> Any:
    """Project one shapely geometry or an array of them, all coordinates in one call; Z is dropped."""
    change = transformer(source, target)

    def coordinates(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(change.transform(points[:, 0], points[:, 1]))

    return shapely.transform(shapely.force_2d(geometries), coordinates)


def lengths_m(geometries: ArrayLike) -> NDArray[np.float64]:
    """Return the length in metres of each lon/lat line, in the UTM zone of their common centre.

    Good to 0.04 % in the zone; empty lines give 0, no lines an empty array.
    """
    lines = np.atleast_1d(np.asarray(geometries, dtype=object))
    if not len(lines):
        return np.zeros(0)
    west, south, east, north = shapely.total_bounds(lines)
    if np.isnan(west):
        return np.zeros(len(lines))
    local = utm_crs((west + east) / 2, (south + north) / 2)
    return np.asarray(shapely.length(project(lines, LONLAT, local)), dtype=np.float64)
