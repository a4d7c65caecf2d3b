"""Degrees to metres."""

import numpy as np
import pytest
import shapely

from roadspeed.geo import LONLAT, lengths_m, project, utm_crs


def test_lengths_are_metres_on_the_ground() -> None:
    # One degree of latitude at the equator is 110.574 km, of longitude 111.320 km (WGS 84).
    lines = [shapely.LineString([(15, -0.005), (15, 0.005)]), shapely.LineString([(14.995, 0), (15.005, 0)])]
    assert lengths_m(lines) == pytest.approx([1105.74, 1113.20], rel=5e-4)


def test_lengths_of_nothing() -> None:
    assert lengths_m([]).shape == (0,)
    assert lengths_m(np.array([shapely.LineString()], object)).tolist() == [0.0]


def test_zones_and_dropped_heights() -> None:
    assert [utm_crs(*place).to_epsg() for place in ((-115.2, 36.2), (-66.1, -18.4), (180, 10))] == [
        32611,
        32719,
        32601,
    ]
    line = project(shapely.LineString([(15, 48, 7), (15, 49, 7)]), LONLAT, utm_crs(15, 48))
    assert not line.has_z
    assert line.coords[0][0] == pytest.approx(500_000)
