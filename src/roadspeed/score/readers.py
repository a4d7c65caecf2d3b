"""Vector files to roads: GeoJSON, GeoPackage, GraphML and the challenge's CSV, each by chip where the file says so.

Speeds come from the attributes; labels without a speed get SpaceNet's table (`roadspeed.prepare.labels`).
"""

import csv
import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from roadspeed.chips import read_chips
from roadspeed.errors import InputError
from roadspeed.geo import LONLAT, project
from roadspeed.names import parse_name
from roadspeed.prepare.labels import read_labels, stated_speed_mph
from roadspeed.raster import Grid, read_grid
from roadspeed.score.roads import Roads, no_roads
from roadspeed.speedbins import MPH_TO_MPS

log = logging.getLogger(__name__)

SUFFIXES = (".geojson", ".json", ".gpkg", ".graphml", ".csv")
WHOLE = ""
"""The chip of a file that does not name one."""
_NO_LINE = ("", "null", "none", "nan")


def read_roads(path: Path | str, image: Path | str | None = None) -> dict[str, Roads]:
    """Read the roads of a file, or of all road files of a folder, by chip.

    Args:
        path: GeoJSON, GeoPackage (layer `edges`, else the first), GraphML, challenge CSV, or a folder of such.
        image: for a CSV in pixel coordinates: its GeoTIFF, a folder of them, or a chip table.

    Returns:
        chip id to roads; one entry `WHOLE` for a file that names no chip.

    Raises:
        InputError: a file is missing, unreadable, of an unknown kind, or lacks what its kind needs.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, image)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected roads as {', '.join(SUFFIXES)}, or a folder of them")
    suffix = path.suffix.lower()
    if suffix in (".geojson", ".json"):
        name = parse_name(str(path.with_suffix(".geojson")))
        labels = read_labels(path)
        return {name.chip_id if name else WHOLE: Roads(labels.lines, labels.speed_mph)}
    if suffix == ".gpkg":
        return read_geopackage_roads(path)
    if suffix == ".graphml":
        return {WHOLE: read_graphml_roads(path)}
    if suffix == ".csv":
        return read_submission(path, image)
    raise InputError(f"{path}: unknown kind of file; expected one of {', '.join(SUFFIXES)}, or a folder of them")


def _read_folder(folder: Path, image: Path | str | None) -> dict[str, Roads]:
    found: dict[str, Roads] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES:
            for chip, roads in read_roads(file, image).items():
                key = chip or chip_of(file.stem)
                if key in found:
                    raise InputError(f"{folder}: chip {key} is in more than one file, the second is {file.name}")
                found[key] = roads
    if not found:
        raise InputError(f"{folder}: no roads in this folder; expected files as {', '.join(SUFFIXES)}")
    return found


def read_geopackage_roads(path: Path | str) -> dict[str, Roads]:
    """Read the layer `edges` (else the first layer) of a GeoPackage, by its column `chip` where it has one.

    Raises:
        InputError: the file is not a GeoPackage, or its roads have no CRS.
    """
    import geopandas
    import pyogrio

    try:
        layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
        if not layers:
            raise InputError(f"{path}: holds no layer; expected a layer 'edges' with lines")
        layer = "edges" if "edges" in layers else layers[0]
        table = geopandas.read_file(path, layer=layer)
    except pyogrio.errors.DataSourceError as error:
        raise InputError(f"{path}: not a readable GeoPackage ({error})") from error
    if "geometry" not in table or not len(table):
        return {}
    if table.crs is None:
        raise InputError(f"{path}: layer '{layer}' has no CRS; expected one, such as EPSG:4326")
    columns = [name for name in table.columns if name not in ("geometry", "chip")]
    rows = table[columns].to_dict("records")
    speeds = np.array([_stated(row) for row in rows])
    lines, origin = explode(np.asarray(table.geometry.array, object))
    if table.crs != LONLAT:
        lines = project(lines, table.crs, LONLAT)
    if "chip" not in table:
        return {WHOLE: Roads(lines, speeds[origin])}
    names, number = np.unique(table["chip"].fillna("").astype(str).to_numpy()[origin], return_inverse=True)
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    return {chip_of(name): Roads(lines[part], speeds[origin][part]) for name, part in zip(names, parts, strict=True)}


def read_graphml_roads(path: Path | str) -> Roads:
    """Read a street graph in GraphML as OSMnx writes it: nodes with x and y, edges with or without a geometry.

    Raises:
        InputError: the file is not GraphML, or a node has no place.
    """
    from xml.etree.ElementTree import ParseError

    try:
        graph = nx.read_graphml(path, force_multigraph=True)
    except (ParseError, nx.NetworkXError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not readable GraphML ({error})") from error
    try:
        place = {node: (float(data["x"]), float(data["y"])) for node, data in graph.nodes(data=True)}
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: a node has no coordinates x and y ({error}); expected OSMnx's GraphML") from error
    geometries, speeds = [], []
    for first, last, data in graph.edges(data=True):
        text = data.get("geometry")
        geometries.append(_from_wkt(text, path) if text else shapely.LineString([place[first], place[last]]))
        speeds.append(_stated(data))
    lines, origin = explode(np.array(geometries, object))
    crs = str(graph.graph.get("crs", "EPSG:4326"))
    if len(lines) and not crs.upper().endswith(("EPSG:4326", "CRS84")):
        lines = project(lines, crs, LONLAT)
    return Roads(lines, np.array(speeds)[origin] if len(lines) else np.empty(0))


def read_submission(path: Path | str, image: Path | str | None) -> dict[str, Roads]:
    """Read a challenge CSV: `ImageId,WKT_Pix[,length_m,travel_time_s]`, an edge a row, in pixels of its image.

    Raises:
        InputError: not such a table, a row's line cannot be read, or no image for a row's ImageId.
    """
    path = Path(path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"ImageId", "WKT_Pix"} <= set(rows[0]):
        raise InputError(f"{path}: has columns {', '.join(map(str, rows[0]))}; expected ImageId and WKT_Pix")
    geometries: dict[str, list[Any]] = defaultdict(list)
    speeds: dict[str, list[float]] = defaultdict(list)
    for number, row in enumerate(rows, 2):
        chip = chip_of(row["ImageId"] or "")
        geometries[chip], speeds[chip] = geometries[chip], speeds[chip]
        text = (row["WKT_Pix"] or "").strip()
        if text.lower() in _NO_LINE:
            continue
        geometries[chip].append(_from_wkt(text, f"{path}, line {number}"))
        length_m, time_s = _float(row.get("length_m")), _float(row.get("travel_time_s"))
        speeds[chip].append(length_m / time_s / MPH_TO_MPS if length_m > 0 and time_s > 0 else _stated(row))
    grids = _Grids(image, path)
    result = {}
    for chip, members in geometries.items():
        lines, origin = explode(np.array(members, object))
        result[chip] = (
            Roads(grids.to_lonlat(lines, chip), np.array(speeds[chip])[origin]) if len(lines) else no_roads()
        )
    return result


def chip_of(image_id: str) -> str:
    """Return the short ImageId, such as `AOI_9_San_Juan_chip98`, of a long or a short one; others stay as given."""
    name = parse_name(f"{image_id.strip()}.geojson") or parse_name(f"{image_id.strip()}.tif")
    return name.chip_id if name else image_id.strip()


def explode(geometries: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the 2-D LineStrings in some geometries and the number of the geometry that each comes from.

    Parts of collections are taken one by one; what is missing, empty, no line or without length is left out.
    """
    parts, origin = shapely.get_parts(geometries, return_index=True)
    while (shapely.get_type_id(parts) > shapely.GeometryType.POLYGON).any():
        parts, inner = shapely.get_parts(parts, return_index=True)
        origin = origin[inner]
    parts = shapely.force_2d(parts)
    lines = np.isin(shapely.get_type_id(parts), (shapely.GeometryType.LINESTRING, shapely.GeometryType.LINEARRING))
    keep = lines & (shapely.length(parts) > 0)
    return np.asarray(parts[keep], object), origin[keep].astype(np.int64)


class _Grids:
    """Finds the georeference of a chip's image in what `--image` gave: one GeoTIFF, a folder, or a chip table."""

    def __init__(self, image: Path | str | None, wanted_by: Path) -> None:
        self.image = None if image is None else Path(image)
        self.wanted_by = wanted_by
        self.files: dict[str, Path] = {}
        if self.image is None:
            return
        if self.image.is_dir():
            for file in sorted(self.image.glob("*.tif*")):
                name = parse_name(str(file))
                self.files.setdefault(name.chip_id if name else file.stem, file)
        elif self.image.suffix.lower() == ".csv":
            self.files = {chip.chip_id: chip.image for chip in read_chips(self.image) if chip.image}

    def grid(self, chip: str) -> Grid:
        if self.image is None:
            raise InputError(
                f"{self.wanted_by}: its lines are in pixels; give the image, a folder of images or a chip table "
                "with --image"
            )
        file = self.files.get(chip) if self.image.is_dir() or self.image.suffix.lower() == ".csv" else self.image
        if file is None:
            raise InputError(f"{self.image}: no image of {chip}, which {self.wanted_by} has roads of")
        grid = read_grid(file)
        if grid.crs is None:
            raise InputError(f"{file}: has no CRS; expected a georeferenced image")
        return grid

    def to_lonlat(self, lines: NDArray[np.object_], chip: str) -> NDArray[np.object_]:
        grid = self.grid(chip)

        def change(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.column_stack(grid.transform * (pixels[:, 0], pixels[:, 1]))

        lines = shapely.transform(lines, change)
        return lines if grid.crs == LONLAT else project(lines, CRS.from_user_input(grid.crs), LONLAT)


def _from_wkt(text: str, where: Path | str) -> Any:
    try:
        return shapely.from_wkt(text)
    except shapely.errors.ShapelyError as error:
        raise InputError(f"{where}: line {text[:60]!r} is not WKT ({' '.join(str(error).split())})") from error


def _stated(attributes: Mapping[str, Any]) -> float:
    """Return the speed in mph that attributes state, NaN where they state none."""
    speed = stated_speed_mph(attributes)
    if speed is not None:
        return speed
    kph = _float(attributes.get("speed_kph"))
    return kph / 1.609344 if kph > 0 else math.nan


def _float(value: object) -> float:
    """Return a number or a text as a number, NaN for anything else."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
