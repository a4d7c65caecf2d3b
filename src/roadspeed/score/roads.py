"""Roads to be scored: lines with speeds, whatever file they came from."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from roadspeed.geo import utm_crs


@dataclass(frozen=True)
class Roads:
    """Lines with speeds; both arrays have one entry a line."""

    lines: NDArray[np.object_]
    """(n,) shapely LineStrings, 2-D, lon/lat in degrees."""
    speed_mph: NDArray[np.float64]
    """(n,) miles an hour, NaN where unknown."""

    def __len__(self) -> int:
        return len(self.lines)


def no_roads() -> Roads:
    """Return an empty road set."""
    return Roads(np.empty(0, object), np.empty(0))


def local_crs(roads: Roads) -> CRS:
    """Return the UTM zone of the roads' centre; any zone when there are none."""
    if not len(roads):
        return utm_crs(0, 0)
    west, south, east, north = shapely.total_bounds(roads.lines)
    return utm_crs((west + east) / 2, (south + north) / 2)
