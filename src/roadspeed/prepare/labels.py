"""Road labels in: lines with the speed each of them has, or gets from its road type, lanes and surface."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadspeed.geojson import read_lines
from roadspeed.speedbins import MPH_TO_MPS

KMH_TO_MPH = 1 / 1.609344
SPEED_FIELDS = {
    "inferred_speed_mph": 1.0,
    "speed_mph": 1.0,
    "inferred_speed_mps": 1 / MPH_TO_MPS,
    "speed_mps": 1 / MPH_TO_MPS,
    "speed_m/s": 1 / MPH_TO_MPS,
    "maxspeed": KMH_TO_MPH,
}
"""Attributes that hold a speed, the best first, and the factor to mph where the value names no unit."""
LANE_FIELDS = ("lanes", "lane_number", "lane_numbe")
ROAD_TYPES = {
    1: "motorway",
    2: "primary",
    3: "secondary",
    4: "tertiary",
    5: "residential",
    6: "unclassified",
    7: "track",
}
"""SpaceNet 3's codes of `road_type`."""
SPEED_TABLE_MPH = {
    "motorway": (55.0, 65.0),
    "trunk": (45.0, 55.0),
    "primary": (45.0, 55.0),
    "secondary": (35.0, 45.0),
    "tertiary": (30.0, 35.0),
    "residential": (25.0, 30.0),
    "unclassified": (20.0, 20.0),
    "track": (20.0, 20.0),
}
"""SpaceNet's speeds for up to two lanes and for more; OpenStreetMap's trunk roads count as primary."""
UNPAVED_FACTOR = 0.75
UNPAVED_SURFACES = frozenset(
    [
        "unpaved",
        "compacted",
        "fine_gravel",
        "gravel",
        "pebblestone",
        "ground",
        "dirt",
        "earth",
        "grass",
        "mud",
        "sand",
    ]
)
SPEED_LIMITS_MPH = (1.0, 150.0)
"""A speed outside is taken for an error in the file, and the table's is used."""

_NUMBER = re.compile(r"\s*([+-]?\d+(?:[.,]\d+)?)\s*(mph|mi/h|km/h|kmh|kph|m/s|mps)?\b", re.IGNORECASE)
_UNITS = {"mph": 1.0, "mi/h": 1.0, "km/h": KMH_TO_MPH, "kmh": KMH_TO_MPH, "kph": KMH_TO_MPH}
_UNITS |= {"m/s": 1 / MPH_TO_MPS, "mps": 1 / MPH_TO_MPS}


@dataclass(frozen=True)
class Labels:
    """The roads of one label file; all arrays have one entry a line."""

    lines: NDArray[np.object_]
    """(n,) shapely LineStrings, 2-D, lon/lat in degrees."""
    speed_mph: NDArray[np.float64]
    """(n,) each road's speed in miles an hour, always positive."""
    lanes: NDArray[np.int64]
    """(n,) number of lanes; 0 where the file does not say."""
    feature: NDArray[np.int64]
    """(n,) number, from 0, of the feature in the file; lines of one MultiLineString share it."""
    notes: tuple[str, ...]
    """What was odd, one text a kind with its count: geometries left out, speeds from the table, unknown codes."""


def read_labels(path: Path | str) -> Labels:
    """Read a label file of SpaceNet 3 or 5, or any GeoJSON with roads.

    The speed is the first usable of `SPEED_FIELDS`; a road without one gets it from `SPEED_TABLE_MPH` by road
    type (code or OpenStreetMap's `highway`), lanes and surface.

    Raises:
        InputError: the file is missing, is not GeoJSON, or is not in lon/lat; the message names it.
    """
    roads = read_lines(path)
    odd: Counter[str] = Counter()
    speeds, lanes = [], []
    for properties in roads.properties:
        lane_count = road_lanes(properties)
        speed_mph = stated_speed_mph(properties)
        if speed_mph is None:
            speed_mph, kind = table_speed_mph(properties, lane_count)
            odd[f"roads get their speed from the table, {kind}"] += 1
        speeds.append(speed_mph)
        lanes.append(lane_count)
    notes = roads.notes + tuple(f"{count} {what}" for what, count in sorted(odd.items()))
    return Labels(roads.lines, np.asarray(speeds, float), np.asarray(lanes, np.int64), roads.feature, notes)


def stated_speed_mph(properties: Mapping[str, Any]) -> float | None:
    """Return the speed that a road's attributes state, in mph, or None where they state none that can be."""
    for name, factor in SPEED_FIELDS.items():
        if name in properties:
            speed_mph = _number(properties[name], factor)
            if speed_mph is not None and SPEED_LIMITS_MPH[0] <= speed_mph <= SPEED_LIMITS_MPH[1]:
                return speed_mph
    return None


def table_speed_mph(properties: Mapping[str, Any], lanes: int) -> tuple[float, str]:
    """Return the table's speed in mph for a road, and what it was taken for.

    A type that is not in the table counts as unclassified; the text then says which type was found.

    Args:
        properties: the road's attributes.
        lanes: number of lanes, 0 where unknown (counts as up to two).
    """
    kind = road_type(properties)
    known = kind if kind in SPEED_TABLE_MPH else "unclassified"
    speed_mph = SPEED_TABLE_MPH[known][lanes > 2]
    what = f"as {known}" if known == kind else f"as {known} (road type {kind[:30]!r})"
    if is_unpaved(properties):
        return speed_mph * UNPAVED_FACTOR, f"{what}, unpaved"
    return speed_mph, what


def road_type(properties: Mapping[str, Any]) -> str:
    """Return a road's type in OpenStreetMap's words; an unknown code or word comes back as its text."""
    for name in ("road_type", "highway"):
        value = properties.get(name)
        if _is_given(value):
            code = _number(value, 1.0)
            if code is not None:
                return ROAD_TYPES.get(int(code), str(value))
            word = str(value).strip().lower()
            return "track" if word == "cart track" else word.removesuffix("_link")
    return "none"


def road_lanes(properties: Mapping[str, Any]) -> int:
    """Return a road's number of lanes, 0 where the attributes do not say."""
    for name in LANE_FIELDS:
        value = _number(properties.get(name), 1.0)
        if value is not None and 1 <= value <= 20:
            return int(value)
    return 0


def is_unpaved(properties: Mapping[str, Any]) -> bool:
    """Return whether a road is stated to be unpaved (SpaceNet 3's `paved` is 2, or an unpaved `surface`)."""
    paved = _number(properties.get("paved"), 1.0)
    return paved == 2 or str(properties.get("surface")).strip().lower() in UNPAVED_SURFACES


def _is_given(value: object) -> bool:
    return value is not None and str(value).strip().lower() not in ("", "none", "null", "nan", "n/a")


def _number(value: object, factor: float) -> float | None:
    """Return a number times `factor`, or a text's leading number times its own unit's factor; None for the rest."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        match = _NUMBER.match(value)
        if match is None:
            return None
        factor = _UNITS[match[2].lower()] if match[2] else factor
        value = float(match[1].replace(",", "."))
    if isinstance(value, int | float) and abs(value) < 1e9:  # false for NaN too
        return value * factor
    return None
