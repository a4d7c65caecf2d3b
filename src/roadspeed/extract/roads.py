"""The road graph: nodes, edges with geometry and speed, and its files (GeoPackage, GraphML, challenge CSV)."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.transform import Affine

from roadspeed.errors import InputError
from roadspeed.files import atomic, write_table
from roadspeed.speedbins import MPH_TO_MPS

EDGE_COLUMNS = (
    "u",
    "v",
    "key",
    "chip",
    "length_m",
    "speed_mph",
    "speed_mps",
    "travel_time_s",
    "inferred_speed_mph",
    "inferred_speed_mps",
    "length",
)
CSV_COLUMNS = ("ImageId", "WKT_Pix", "length_m", "travel_time_s")
WRITTEN = "2000-01-01T00:00:00.000Z"
"""Time stamp inside every GeoPackage, so that the same roads give the same bytes."""


@dataclass(frozen=True)
class RoadGraph:
    """An undirected road network of n nodes and m edges, in lon/lat (EPSG:4326), degrees.

    Edges may be parallel (told apart by `key`) and may be loops (u == v). Edge i's line runs from node u[i]
    to node v[i].
    """

    node_xy: NDArray[np.float64]
    """(n, 2) longitude, latitude."""
    u: NDArray[np.int64]
    """(m,) index of the first node, 0 … n-1."""
    v: NDArray[np.int64]
    """(m,) index of the last node."""
    key: NDArray[np.int64]
    """(m,) 0, 1, … among the edges that join the same two nodes."""
    geometry: NDArray[np.object_]
    """(m,) shapely LineStrings, 2-D."""
    length_m: NDArray[np.float64]
    """(m,) metres on the ground."""
    speed_mph: NDArray[np.float64]
    """(m,) miles an hour."""
    chip: NDArray[np.object_]
    """(m,) name of the chip the edge was found on; the city's name, or empty, for a joined network."""

    @property
    def speed_mps(self) -> NDArray[np.float64]:
        """Speed in metres a second."""
        return self.speed_mph * MPH_TO_MPS

    @property
    def travel_time_s(self) -> NDArray[np.float64]:
        """Seconds from one end to the other."""
        return self.length_m / self.speed_mps

    @property
    def node_chip(self) -> NDArray[np.object_]:
        """(n,) name of the chip of each node's edges."""
        names = np.full(len(self.node_xy), "", object)
        names[self.u] = self.chip
        names[self.v] = self.chip
        return names


def make_graph(
    node_xy: NDArray[np.float64],
    u: NDArray[np.int64],
    v: NDArray[np.int64],
    geometry: NDArray[np.object_],
    length_m: NDArray[np.float64],
    speed_mph: NDArray[np.float64],
    chip: str = "",
) -> RoadGraph:
    """Return a graph with keys counted and one chip name for all edges; see `RoadGraph` for the arrays."""
    names = np.full(len(u), chip, object)
    return RoadGraph(node_xy, u, v, _keys(u, v), geometry, length_m, speed_mph, names)


def empty_graph() -> RoadGraph:
    """Return a graph without nodes and edges."""
    nothing, none = np.empty(0), np.empty(0, np.int64)
    return make_graph(np.empty((0, 2)), none, none, np.empty(0, object), nothing, nothing)


def concatenate(graphs: Sequence[RoadGraph]) -> RoadGraph:
    """Return one graph that holds several side by side, unconnected, nodes renumbered."""
    if not graphs:
        return empty_graph()
    offset = np.cumsum([0, *(len(graph.node_xy) for graph in graphs)])[:-1]
    return RoadGraph(
        np.concatenate([graph.node_xy for graph in graphs]),
        np.concatenate([graph.u + shift for graph, shift in zip(graphs, offset, strict=True)]),
        np.concatenate([graph.v + shift for graph, shift in zip(graphs, offset, strict=True)]),
        *(
            np.concatenate([getattr(graph, name) for graph in graphs])
            for name in ("key", "geometry", "length_m", "speed_mph", "chip")
        ),
    )


def by_chip(graph: RoadGraph) -> dict[str, RoadGraph]:
    """Return the part of each chip that has edges, under its name, nodes renumbered."""
    parts = {}
    names, number = np.unique(graph.chip, return_inverse=True)
    order = np.argsort(number, kind="stable")
    of_each = np.split(order, np.searchsorted(number[order], np.arange(1, len(names))))
    for name, edges in zip(names.tolist(), of_each, strict=False):
        ends = np.concatenate([graph.u[edges], graph.v[edges]])
        nodes, index = np.unique(ends, return_inverse=True)
        parts[name] = RoadGraph(
            graph.node_xy[nodes],
            index[: len(edges)],
            index[len(edges) :],
            graph.key[edges],
            graph.geometry[edges],
            graph.length_m[edges],
            graph.speed_mph[edges],
            graph.chip[edges],
        )
    return parts


def _keys(u: NDArray[np.int64], v: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count 0, 1, … among the edges of each pair of nodes, in their order."""
    pair = np.column_stack([np.minimum(u, v), np.maximum(u, v)])
    order = np.lexsort((np.arange(len(u)), pair[:, 1], pair[:, 0]))
    first = np.ones(len(u), bool)
    first[1:] = (pair[order][1:] != pair[order][:-1]).any(axis=1)
    place = np.arange(len(u))
    key = np.empty(len(u), np.int64)
    key[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return key


def write_geopackage(graph: RoadGraph | Sequence[RoadGraph], path: Path | str) -> None:
    """Write layers `edges` and `nodes` atomically, with a QGIS style that colours the edges by speed.

    The same graph gives the same bytes. Several graphs are put side by side in the two layers.
    """
    import geopandas as gpd
    import pyogrio

    if not isinstance(graph, RoadGraph):
        graph = concatenate(list(graph))
    edges = gpd.GeoDataFrame(_edge_table(graph), geometry=graph.geometry, crs="EPSG:4326")
    nodes = gpd.GeoDataFrame(
        {
            "osmid": np.arange(len(graph.node_xy)),
            "x": graph.node_xy[:, 0],
            "y": graph.node_xy[:, 1],
            "chip": graph.node_chip.astype(str),
        },
        geometry=shapely.points(graph.node_xy),
        crs="EPSG:4326",
    )
    option = "OGR_CURRENT_DATE"
    before = pyogrio.get_gdal_config_option(option)
    pyogrio.set_gdal_config_options({option: WRITTEN})
    try:
        with atomic(path) as temporary:
            temporary.unlink()
            pyogrio.write_dataframe(edges, temporary, layer="edges", driver="GPKG", geometry_type="LineString")
            pyogrio.write_dataframe(
                nodes, temporary, layer="nodes", driver="GPKG", geometry_type="Point", append=True
            )
            _add_style(temporary)
    finally:
        pyogrio.set_gdal_config_options({option: before})


def _edge_table(graph: RoadGraph) -> dict[str, Any]:
    values = {
        "u": graph.u,
        "v": graph.v,
        "key": graph.key,
        "chip": graph.chip.astype(str),
        "length_m": graph.length_m,
        "speed_mph": graph.speed_mph,
        "speed_mps": graph.speed_mps,
        "travel_time_s": graph.travel_time_s,
    }
    values |= {
        "inferred_speed_mph": graph.speed_mph,
        "inferred_speed_mps": graph.speed_mps,
        "length": graph.length_m,
    }
    return {name: values[name] for name in EDGE_COLUMNS}


def _add_style(path: Path) -> None:
    """Store the default style of layer `edges` the way QGIS does, in the table `layer_styles`."""
    style = resources.files("roadspeed.extract").joinpath("style.qml").read_text(encoding="utf-8")
    with sqlite3.connect(path) as database:
        database.executescript(
            """
            CREATE TABLE layer_styles (
                id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
                f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
                styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
                description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME);
            """
        )
        database.execute(
            "INSERT INTO layer_styles VALUES (1, '', '', 'edges', 'geom', 'speed', ?, '', 1, ?, '', NULL, ?)",
            (style, "speed in mph", WRITTEN),
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change) VALUES (?, ?, ?, ?)",
            ("layer_styles", "attributes", "layer_styles", WRITTEN),
        )
    database.close()


def read_geopackage(path: Path | str) -> RoadGraph:
    """Read what `write_geopackage` wrote.

    Raises:
        InputError: the file is missing, or has no such layers and columns.
    """
    import pyogrio

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; expected a GeoPackage of roads")
    try:
        edges = pyogrio.read_dataframe(path, layer="edges")
        nodes = pyogrio.read_dataframe(path, layer="nodes")
        order = np.argsort(nodes["osmid"].to_numpy(), kind="stable")
        osmid = nodes["osmid"].to_numpy(np.int64)[order]
        node_xy = np.column_stack([nodes["x"].to_numpy(float)[order], nodes["y"].to_numpy(float)[order]])
        u, v = (edges[name].to_numpy(np.int64) for name in ("u", "v"))
        length_m, speed_mph = (edges[name].to_numpy(np.float64) for name in ("length_m", "speed_mph"))
        return RoadGraph(
            node_xy.reshape(-1, 2),
            np.searchsorted(osmid, u),
            np.searchsorted(osmid, v),
            edges["key"].to_numpy(np.int64),
            np.asarray(edges.geometry.to_numpy(), object),
            length_m,
            speed_mph,
            edges["chip"].fillna("").to_numpy(object),
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise InputError(f"{path}: not a GeoPackage of roads ({error}); make it with `roadspeed graph`") from error
    except KeyError as error:
        raise InputError(f"{path}: has no column {error}; make it with `roadspeed graph`") from error


_GRAPHML_KEYS = {
    "graph": ("crs", "name", "simplified"),
    "node": ("x", "y"),
    "edge": (
        "chip",
        "osmid",
        "oneway",
        "reversed",
        "length",
        "travel_time",
        "speed_kph",
        "length_m",
        "speed_mph",
        "speed_mps",
        "travel_time_s",
        "inferred_speed_mph",
        "inferred_speed_mps",
        "geometry",
    ),
}


def write_graphml(graph: RoadGraph, path: Path | str, name: str = "roads") -> None:
    """Write GraphML that `osmnx.load_graphml` loads and routes on, atomically.

    OSMnx routes on directed graphs, so each road is there once in each direction, with OSMnx's names beside
    ours: `length` in metres, `speed_kph`, `travel_time` in seconds. All values are declared as text, as OSMnx
    does and expects; `load_graphml(path, edge_dtypes={"travel_time_s": float})` reads ours as numbers too.
    """
    scopes = [(scope, key) for scope, keys in _GRAPHML_KEYS.items() for key in keys]
    ids = {pair: f"d{number}" for number, pair in enumerate(scopes)}

    def data(scope: str, key: str, value: object) -> str:
        return f'<data key="{ids[scope, key]}">{escape(str(value))}</data>'

    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n')
        file.write('<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n')
        for number, (scope, key) in enumerate(scopes):
            file.write(f'<key id="d{number}" for="{scope}" attr.name="{key}" attr.type="string"/>\n')
        file.write('<graph edgedefault="directed">\n')
        file.write(data("graph", "crs", "EPSG:4326") + data("graph", "name", name))
        file.write(data("graph", "simplified", True) + "\n")
        for number, (x, y) in enumerate(graph.node_xy.tolist()):
            file.write(f'<node id="{number}">{data("node", "x", x)}{data("node", "y", y)}</node>\n')
        ways = (shapely.to_wkt(graph.geometry, 9), shapely.to_wkt(shapely.reverse(graph.geometry), 9))
        rows = zip(graph.u, graph.v, graph.key, graph.chip, graph.length_m, graph.speed_mph, strict=True)
        for number, (u, v, key, chip, length_m, speed_mph) in enumerate(rows):
            speed_mps = float(speed_mph) * MPH_TO_MPS
            common = data("edge", "chip", chip) + data("edge", "osmid", number) + data("edge", "oneway", False)
            values = {"length": length_m, "travel_time": length_m / speed_mps, "speed_kph": speed_mps * 3.6}
            values |= {"length_m": length_m, "speed_mph": speed_mph, "speed_mps": speed_mps}
            values |= {"travel_time_s": length_m / speed_mps}
            values |= {"inferred_speed_mph": speed_mph, "inferred_speed_mps": speed_mps}
            common += "".join(data("edge", column, float(value)) for column, value in values.items())
            for back, (a, b) in enumerate(((u, v), (v, u))):
                # A loop's two directions join the same ordered pair of nodes, so they need two keys.
                key_out = 2 * key + back if u == v else key
                file.write(f'<edge id="{key_out}" source="{a}" target="{b}">{common}')
                file.write(data("edge", "reversed", bool(back)))
                file.write(data("edge", "geometry", ways[back][number]) + "</edge>\n")
        file.write("</graph>\n</graphml>\n")


def write_challenge_csv(parts: Iterable[tuple[str, RoadGraph, Affine]], path: Path | str) -> None:
    """Write the SpaceNet 5 challenge's table atomically: one row an edge, in pixel coordinates.

    Args:
        parts: image id, graph, and pixel-to-lon/lat transform of each image; one without roads gets a row with
            `LINESTRING EMPTY` and zeros.
        path: the CSV file to make.
    """
    write_table(path, CSV_COLUMNS, (row for part in parts for row in challenge_rows(*part)))


def challenge_rows(image_id: str, graph: RoadGraph, transform: Affine) -> list[dict[str, object]]:
    """Return the rows of one image for `write_challenge_csv`."""
    if not len(graph.u):
        return [dict(zip(CSV_COLUMNS, (image_id, "LINESTRING EMPTY", 0, 0), strict=True))]
    inverse = ~transform

    def to_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(inverse * (points[:, 0], points[:, 1]))

    texts = shapely.to_wkt(shapely.transform(graph.geometry, to_pixels), 2)
    return [
        {
            "ImageId": image_id,
            "WKT_Pix": text,
            "length_m": f"{length_m:.3f}",
            "travel_time_s": f"{travel_time_s:.4f}",
        }
        for text, length_m, travel_time_s in zip(texts, graph.length_m, graph.travel_time_s, strict=True)
    ]
