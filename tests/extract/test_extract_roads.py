"""The road graph's files: GeoPackage, GraphML, challenge CSV."""

import csv
import sqlite3

import geopandas as gpd
import numpy as np
import osmnx
import pyogrio
import pytest
import shapely
from rasterio.transform import Affine

from roadspeed.errors import InputError
from roadspeed.extract.roads import (
    RoadGraph,
    by_chip,
    concatenate,
    empty_graph,
    make_graph,
    read_geopackage,
    write_challenge_csv,
    write_geopackage,
    write_graphml,
)


def triangle(chip: str = "chip1") -> RoadGraph:
    """Three nodes; a slow direct edge 0-1, a fast way round by 2, and a second, curved edge 0-1."""
    xy = np.array([[10.0, 50.0], [10.002, 50.0], [10.001, 50.001]])
    lines = [[xy[0], xy[1]], [xy[1], xy[2]], [xy[2], xy[0]], [xy[1], [10.001, 49.999], xy[0]]]
    geometry = np.array([shapely.LineString(line) for line in lines], object)
    u, v = np.array([0, 1, 2, 1]), np.array([1, 2, 0, 0])
    return make_graph(
        xy, u, v, geometry, np.array([143.0, 132.0, 132.0, 264.0]), np.array([15.0, 55.0, 55.0, 25.0]), chip
    )


def test_units_and_parallel_edges() -> None:
    graph = triangle()
    assert graph.key.tolist() == [0, 0, 0, 1]
    assert graph.speed_mps[0] == pytest.approx(6.7056)
    assert graph.travel_time_s[0] == pytest.approx(143 / 6.7056)


def test_geopackage_comes_back_as_it_was(tmp_path) -> None:
    graph = concatenate([triangle("a"), triangle("b")])
    write_geopackage(graph, tmp_path / "roads.gpkg")
    back = read_geopackage(tmp_path / "roads.gpkg")
    for name in ("node_xy", "u", "v", "key", "length_m", "speed_mph"):
        np.testing.assert_array_equal(getattr(back, name), getattr(graph, name))
    assert shapely.equals_exact(back.geometry, graph.geometry, 0).all()
    assert back.chip.tolist() == ["a"] * 4 + ["b"] * 4
    parts = by_chip(back)
    assert list(parts) == ["a", "b"]
    assert parts["b"].u.tolist() == [0, 1, 2, 1]
    np.testing.assert_array_equal(parts["b"].node_xy, graph.node_xy[3:])


def test_geopackage_has_the_promised_layers_columns_and_style(tmp_path) -> None:
    write_geopackage([triangle("a"), triangle("b")], tmp_path / "roads.gpkg")
    edges = gpd.read_file(tmp_path / "roads.gpkg")
    assert edges.crs.to_epsg() == 4326
    assert {"u", "v", "key", "chip", "length_m", "speed_mph", "speed_mps", "travel_time_s"} <= set(edges.columns)
    assert (edges["inferred_speed_mph"] == edges["speed_mph"]).all()
    assert (edges["length"] == edges["length_m"]).all()
    nodes = gpd.read_file(tmp_path / "roads.gpkg", layer="nodes")
    assert nodes["osmid"].tolist() == list(range(6))
    assert nodes.geometry.x.tolist() == nodes["x"].tolist()
    with sqlite3.connect(tmp_path / "roads.gpkg") as database:
        rows = database.execute("SELECT f_table_name, useAsDefault, styleQML FROM layer_styles").fetchall()
    assert [row[:2] for row in rows] == [("edges", 1)]
    assert 'attr="speed_mph"' in rows[0][2]


def test_same_graph_gives_the_same_bytes(tmp_path) -> None:
    for name in ("a", "b"):
        write_geopackage(triangle(), tmp_path / f"{name}.gpkg")
        write_graphml(triangle(), tmp_path / f"{name}.graphml")
    assert (tmp_path / "a.gpkg").read_bytes() == (tmp_path / "b.gpkg").read_bytes()
    assert (tmp_path / "a.graphml").read_bytes() == (tmp_path / "b.graphml").read_bytes()


def test_osmnx_routes_on_the_graphml_both_ways(tmp_path) -> None:
    write_graphml(triangle(), tmp_path / "roads.graphml")
    graph = osmnx.load_graphml(tmp_path / "roads.graphml", edge_dtypes={"travel_time_s": float})
    assert graph.graph["crs"] == "EPSG:4326"
    assert osmnx.routing.shortest_path(graph, 0, 1, weight="length") == [0, 1]
    assert osmnx.routing.shortest_path(graph, 0, 1, weight="travel_time") == [0, 2, 1]
    assert osmnx.routing.shortest_path(graph, 1, 0, weight="travel_time_s") == [1, 2, 0]
    assert graph.number_of_edges(0, 1) == 2
    forth, back = graph.edges[1, 2, 0], graph.edges[2, 1, 0]
    assert forth["geometry"].equals_exact(back["geometry"].reverse(), 1e-9)
    assert osmnx.convert.to_undirected(graph).number_of_edges() == 4


def test_loops_keep_both_directions_in_graphml(tmp_path) -> None:
    ring = shapely.LineString([(10, 50), (10.001, 50), (10.001, 50.001), (10, 50)])
    graph = make_graph(
        np.array([[10.0, 50.0]]),
        np.array([0]),
        np.array([0]),
        np.array([ring], object),
        np.array([300.0]),
        np.array([25.0]),
    )
    write_graphml(graph, tmp_path / "ring.graphml")
    assert osmnx.load_graphml(tmp_path / "ring.graphml").number_of_edges(0, 0) == 2


def test_empty_graph_gives_valid_empty_files(tmp_path) -> None:
    write_geopackage(empty_graph(), tmp_path / "roads.gpkg")
    write_geopackage([], tmp_path / "none.gpkg")
    write_graphml(empty_graph(), tmp_path / "roads.graphml")
    assert len(read_geopackage(tmp_path / "roads.gpkg").u) == 0
    assert {name for name, _ in pyogrio.list_layers(tmp_path / "none.gpkg")} >= {"edges", "nodes"}
    assert "travel_time_s" in gpd.read_file(tmp_path / "roads.gpkg").columns
    assert len(osmnx.load_graphml(tmp_path / "roads.graphml")) == 0


def test_challenge_csv_is_in_pixels_and_has_a_row_for_an_empty_chip(tmp_path) -> None:
    transform = Affine(0.001, 0, 10, 0, -0.001, 50)
    write_challenge_csv([("c1", triangle(), transform), ("c2", empty_graph(), transform)], tmp_path / "s.csv")
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert rows[0]["WKT_Pix"] == "LINESTRING (0 0, 2 0)"
    assert float(rows[0]["travel_time_s"]) == pytest.approx(143 / 6.7056, abs=1e-3)
    assert rows[-1] == {"ImageId": "c2", "WKT_Pix": "LINESTRING EMPTY", "length_m": "0", "travel_time_s": "0"}


def test_a_file_that_is_no_road_geopackage_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_geopackage(tmp_path / "absent.gpkg")
    (tmp_path / "text.gpkg").write_text("no database")
    with pytest.raises(InputError, match="not a GeoPackage of roads"):
        read_geopackage(tmp_path / "text.gpkg")
