"""Labels of one chip: its roads cut at its borders, with the attributes of SpaceNet 5's geojson_roads_speed."""

import json
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from roadspeed.acquire.sample.looks import PIXEL_DEG
from roadspeed.acquire.sample.network import Road, roads_within
from roadspeed.acquire.sample.spec import CitySpec, Place
from roadspeed.speedbins import MPH_TO_MPS

Points = NDArray[np.float64]

DECIMALS = 9
"""Of degrees: 0.1 mm."""
SHORTEST_PX = 0.5
"""Shorter rests at a chip's border are dropped."""


def chip_labels(spec: CitySpec, place: Place) -> str:
    """Return the label file of a chip as GeoJSON text; a chip without road has a file without features.

    Lines follow the middle of each carriageway and are cut at the chip's borders and at the edge of the image
    strip. Ways that meet share a vertex; a bridge shares none with what it spans.
    """
    bounds = spec.chip_bounds_m(place.row, place.column)
    window = _covered(spec, place)
    features: list[dict[str, Any]] = []
    for road in roads_within(spec, bounds):
        line = shapely.LineString(to_city_px(spec, road.points))
        for part in shapely.get_parts(shapely.intersection(line, window)):
            if not isinstance(part, shapely.LineString) or part.length < SHORTEST_PX:
                continue
            degrees = to_degrees(spec, shapely.get_coordinates(part))
            share = part.length / line.length
            features.append(
                {
                    "type": "Feature",
                    "properties": _properties(spec, road, len(features) + 1, line.length * PIXEL_DEG, share),
                    "geometry": {"type": "LineString", "coordinates": degrees.tolist()},
                }
            )
    collection = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
        "features": features,
    }
    return json.dumps(collection, indent=0).replace("\n", "") + "\n"


def to_city_px(spec: CitySpec, points: Points) -> Points:
    """Turn city metres (n, 2) into pixels of the city."""
    return points / np.array(spec.pixel_m)


def to_degrees(spec: CitySpec, pixels: Points) -> Points:
    """Turn pixels of the city (n, 2) into longitude and latitude, rounded."""
    lon = spec.look.lon + pixels[:, 0] * PIXEL_DEG
    lat = spec.look.lat - pixels[:, 1] * PIXEL_DEG
    return np.asarray(np.round(np.column_stack([lon, lat]), DECIMALS), dtype=np.float64)


def _covered(spec: CitySpec, place: Place) -> shapely.Polygon:
    """Return the chip's rectangle without the part beyond the image strip's edge, in pixels of the city."""
    size = spec.chip_px
    x0, y0 = place.column * size, place.row * size
    chip = shapely.box(x0, y0, x0 + size, y0 + size)
    a, b, c = spec.nodata_line
    if a * x0 + b * y0 >= c:
        return chip
    return shapely.difference(chip, shapely.Polygon([(-1, -1), (c / a + 1 / a, -1), (-1, c / b + 1 / b)]))


def _properties(spec: CitySpec, road: Road, number: int, length_deg: float, share: float) -> dict[str, Any]:
    kind = road.road
    digits = "".join(f"{part % 1000:03d}" for part in road.key)
    return {
        "OBJECTID": str(number),
        "bridge": "yes" if road.bridge else "no",
        "highway": kind.highway,
        "inferred_speed_mph": kind.speed_mph,
        "inferred_speed_mps": round(kind.speed_mph * MPH_TO_MPS, 6),
        "lanes": str(kind.lanes),
        "origarea": 0,
        "origlen": length_deg,
        "osm_id": int(f"{spec.look.aoi}{digits}"),
        "partialDec": round(share, 6),
        "surface": kind.surface,
        "truncated": int(share < 0.999999),
    }
