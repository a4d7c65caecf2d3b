"""GeoJSON with roads in, and all its dirt, once: plain 2-D lines in lon/lat with the attributes as written.

Strategy: the file is parsed whole (a chip's labels are tens of kB), all coordinates are gathered into one array
and all lines are built, measured and projected in single calls.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from roadspeed.errors import InputError
from roadspeed.geo import LONLAT, project

MOST_NESTED = 20
"""Geometry collections in each other that are looked into."""
_LONLAT_NAMES = ("CRS84", "EPSG:4326", "EPSG::4326")


@dataclass(frozen=True)
class RoadLines:
    """The lines of a GeoJSON file."""

    lines: NDArray[np.object_]
    """(n,) shapely LineStrings, 2-D, lon/lat in degrees, each with a length; a MultiLineString gives one a part."""
    feature: NDArray[np.int64]
    """(n,) the number, from 0, of the feature that each line comes from."""
    properties: list[dict[str, Any]]
    """(n,) the feature's attributes as they stand in the file."""
    notes: tuple[str, ...]
    """What was left out and why, one text a kind, such as `2 features without geometry`."""


def read_lines(path: Path | str) -> RoadLines:
    """Read the line features of a GeoJSON file.

    Z and M are dropped, MultiLineStrings and collections are taken apart; geometries that are no road (none at
    all, empty, points, areas, no length, coordinates that are not finite numbers) are left out and named in `notes`.

    Raises:
        InputError: the file is missing, is not GeoJSON, or its coordinates are not in a known CRS.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such label file")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: label is unreadable, not valid JSON ({error}); expected GeoJSON") from error
    features = _features(document, path)

    odd: Counter[str] = Counter()
    points: list[tuple[float, float]] = []
    line_of_point: list[int] = []
    feature_of_line: list[int] = []
    for number, feature in enumerate(features):
        if not isinstance(feature, dict):
            odd["features that are no GeoJSON object"] += 1
            continue
        for part in _parts(feature.get("geometry"), odd):
            pairs = _pairs(part)
            if pairs is None:
                odd["lines with coordinates that are not finite numbers"] += 1
            elif len(pairs) < 2:
                odd["lines with fewer than two points"] += 1
            else:
                line_of_point += [len(feature_of_line)] * len(pairs)
                feature_of_line.append(number)
                points += pairs
    origin = np.asarray(feature_of_line, np.int64)
    lines = np.empty(0, object)
    if points:
        lines = np.atleast_1d(shapely.linestrings(np.asarray(points, float), indices=np.asarray(line_of_point)))
        with_length = shapely.length(lines) > 0
        if not with_length.all():
            odd["lines without length"] += int((~with_length).sum())
            lines, origin = lines[with_length], origin[with_length]
        lines = _to_lonlat(lines, document, path)
    properties = [_properties(features[number]) for number in origin]
    notes = tuple(f"{count} {what}" for what, count in sorted(odd.items()))
    return RoadLines(lines, origin, properties, notes)


def _features(document: object, path: Path) -> list[Any]:
    if isinstance(document, dict):
        if document.get("type") == "FeatureCollection" and isinstance(document.get("features"), list):
            return document["features"]
        if document.get("type") == "Feature":
            return [document]
    raise InputError(f"{path}: label is unreadable, not a GeoJSON FeatureCollection with a list of features")


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _parts(geometry: object, odd: Counter[str], depth: int = 0) -> Iterator[object]:
    """Yield the coordinate lists of a geometry's lines; count what is none."""
    if geometry is None:
        odd["features without geometry"] += 1
        return
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or not isinstance(kind, str):
        odd["features with a geometry that is none"] += 1
    elif kind == "GeometryCollection" and isinstance(geometry.get("geometries"), list):
        if depth == MOST_NESTED:
            odd["collections nested too deeply"] += 1
            return
        for member in geometry["geometries"]:
            yield from _parts(member, odd, depth + 1)
    elif kind == "LineString":
        if geometry.get("coordinates") == []:
            odd["features that are empty"] += 1
        else:
            yield geometry.get("coordinates")
    elif kind == "MultiLineString" and isinstance(geometry.get("coordinates"), list):
        if not geometry["coordinates"]:
            odd["features that are empty"] += 1
        yield from geometry["coordinates"]
    else:
        odd[f"features of type {kind[:30]}"] += 1


def _pairs(coordinates: object) -> list[tuple[float, float]] | None:
    """Return x and y of each point, or None when they are not finite numbers."""
    if not isinstance(coordinates, list):
        return None
    pairs = []
    for point in coordinates:
        if not isinstance(point, list) or len(point) < 2:
            return None
        x, y = point[0], point[1]
        # A boolean is an int in Python; the comparison is false for NaN and for infinities.
        if type(x) not in (int, float) or type(y) not in (int, float) or not (abs(x) < 1e12 and abs(y) < 1e12):
            return None
        pairs.append((x, y))
    return pairs


def _to_lonlat(lines: NDArray[np.object_], document: dict[str, Any], path: Path) -> NDArray[np.object_]:
    """Project from the CRS that the file names (an old GeoJSON habit), lon/lat being the default."""
    name = document.get("crs")
    if isinstance(name, dict):
        properties = name.get("properties")
        name = properties.get("name") if isinstance(properties, dict) else None
    if isinstance(name, str) and not name.upper().endswith(_LONLAT_NAMES):
        try:
            lines = project(lines, CRS.from_user_input(name), LONLAT)
        except CRSError as error:
            raise InputError(f"{path}: label's CRS {name!r} is unknown; expected lon/lat or an EPSG code") from error
    west, south, east, north = shapely.total_bounds(lines) if len(lines) else (0, 0, 0, 0)
    # Written so that NaN and infinity, which a failed projection gives, do not pass.
    if not (west >= -180 and south >= -90 and east <= 180 and north <= 90):
        raise InputError(
            f"{path}: label's coordinates reach {west:.6g}, {south:.6g}, {east:.6g}, {north:.6g}; expected lon/lat "
            "in degrees, or a 'crs' member that names their CRS"
        )
    return lines
