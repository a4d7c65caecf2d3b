"""Road files of every kind to roads, with their dirt."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from roadspeed.errors import InputError
from roadspeed.extract.roads import make_graph, write_geopackage, write_graphml
from roadspeed.score.evaluate import evaluate
from roadspeed.score.pairs import match_chips, mean_scores
from roadspeed.score.readers import WHOLE, chip_of, explode, read_roads
from roadspeed.score.roads import Roads, no_roads
from roadspeed.score.settings import ScoreSettings

MPS = 0.44704


def write_image(path: Path, crs: str | None = "EPSG:4326", west: float = 10.0, size: float = 1e-5) -> Path:
    profile = {"driver": "GTiff", "width": 100, "height": 100, "count": 1, "dtype": "uint8", "crs": crs}
    with rasterio.open(path, "w", transform=from_origin(west, 50.0, size, size), **profile) as target:
        target.write(np.zeros((1, 100, 100), np.uint8))
    return path


def write_csv(path: Path, *rows: str, head: str = "ImageId,WKT_Pix,length_m,travel_time_s") -> Path:
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def graph():
    """Two roads that meet: 20 and 40 mph."""
    lines = [[(10.0, 50.0), (10.001, 50.0)], [(10.001, 50.0), (10.001, 50.001), (10.002, 50.001)]]
    return make_graph(
        np.array([(10.0, 50.0), (10.001, 50.0), (10.002, 50.001)]),
        np.array([0, 1]),
        np.array([1, 2]),
        np.array([shapely.LineString(line) for line in lines], object),
        np.array([71.7, 182.9]),
        np.array([20.0, 40.0]),
    )


def the_only(roads: dict[str, Roads]) -> Roads:
    assert len(roads) == 1
    return next(iter(roads.values()))


def test_all_kinds_of_files_hold_the_same_roads(tmp_path: Path) -> None:
    write_geopackage(graph(), tmp_path / "roads.gpkg")
    write_graphml(graph(), tmp_path / "roads.graphml")
    write_image(tmp_path / "image.tif")
    write_csv(
        tmp_path / "roads.csv",
        f'x,"LINESTRING (0 0, 100 0)",71.7,{71.7 / 20 / MPS}',
        f'x,"LINESTRING (100 0, 100 -100, 200 -100)",182.9,{182.9 / 40 / MPS}',
    )
    features = [
        {"type": "Feature", "properties": {"speed_mph": mph}, "geometry": shapely.geometry.mapping(line)}
        for line, mph in zip(graph().geometry, (20, 40), strict=True)
    ]
    (tmp_path / "roads.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    kinds = [the_only(read_roads(tmp_path / f"roads.{kind}", tmp_path / "image.tif"))
             for kind in ("gpkg", "graphml", "csv", "geojson")]  # fmt: skip
    for one in kinds:
        for other in kinds:
            scores = evaluate(one, other, ScoreSettings())
            assert scores.apls_length == pytest.approx(1.0, abs=1e-6)
            assert scores.apls_time == pytest.approx(1.0, abs=1e-4)
            assert (scores.truth_km, scores.control_nodes_truth) == (pytest.approx(0.2545, abs=3e-3), 7)


def test_graphml_that_osmnx_wrote(tmp_path: Path) -> None:
    osmnx = pytest.importorskip("osmnx")
    write_graphml(graph(), tmp_path / "ours.graphml")
    osmnx.save_graphml(osmnx.load_graphml(tmp_path / "ours.graphml"), tmp_path / "theirs.graphml")
    ours, theirs = (the_only(read_roads(tmp_path / name)) for name in ("ours.graphml", "theirs.graphml"))
    assert evaluate(ours, theirs, ScoreSettings()).apls_time == pytest.approx(1.0)


def test_graphml_edges_without_geometry_are_straight(tmp_path: Path) -> None:
    keys = '<key id="a" for="node" attr.name="x" attr.type="double"/><key id="b" for="node" attr.name="y" '
    keys += 'attr.type="double"/><key id="c" for="edge" attr.name="speed_kph" attr.type="double"/>'
    nodes = "".join(
        f'<node id="{i}"><data key="a">{10 + i / 1000}</data><data key="b">50</data></node>' for i in (0, 1)
    )
    edge = '<edge source="0" target="1"><data key="c">{}</data></edge>'
    text = '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{}<graph edgedefault="directed">{}{}</graph>'
    text += "</graphml>"
    path = tmp_path / "g.graphml"
    path.write_text(text.format(keys, nodes, edge.format(80.4672)))
    roads = the_only(read_roads(path))
    assert roads.lines[0].equals(shapely.LineString([(10, 50), (10.001, 50)]))
    assert roads.speed_mph == pytest.approx([50])
    path.write_text(text.format(keys, '<node id="0"/><node id="1"/>', edge.format(1)))
    with pytest.raises(InputError, match="no coordinates"):
        read_roads(path)
    path.write_text("<graphml")
    with pytest.raises(InputError, match="not readable GraphML"):
        read_roads(path)


def test_a_geopackage_of_others_in_another_projection(tmp_path: Path) -> None:
    import geopandas

    line = shapely.MultiLineString([[(0, 0, 5), (100, 0, 5)], [(200, 0, 5), (300, 0, 5)]])
    metres = shapely.transform(shapely.force_2d(line), lambda xy: xy + np.array([500_000, 5_300_000]))
    table = geopandas.GeoDataFrame({"maxspeed": ["50"]}, geometry=[metres], crs="EPSG:32633")
    table.to_file(tmp_path / "streets.gpkg", layer="streets")
    roads = the_only(read_roads(tmp_path / "streets.gpkg"))
    assert len(roads.lines) == 2
    assert roads.speed_mph == pytest.approx([50 / 1.609344] * 2)
    assert evaluate(roads, roads, ScoreSettings()).truth_km == pytest.approx(0.2, abs=1e-4)
    (tmp_path / "bad.gpkg").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a readable GeoPackage"):
        read_roads(tmp_path / "bad.gpkg")


def test_challenge_csv_with_its_dirt(tmp_path: Path) -> None:
    image = write_image(tmp_path / "image.tif")
    path = write_csv(
        tmp_path / "s.csv",
        '\ufeffAOI_9_San_Juan_chip1,"LINESTRING Z (0 0 3, 50 0 3)",35.8,3.5'.lstrip("\ufeff"),
        'SN5_roads_test_public_AOI_9_San_Juan_chip1,"MULTILINESTRING ((0 0, 0 50), (10 10, 10 60))",71.6,7.0',
        "AOI_9_San_Juan_chip1,Null,0,0",
        'AOI_9_San_Juan_chip1,"LINESTRING (5 5, 5 5)",0,0',
        'AOI_9_San_Juan_chip1,"LINESTRING (20 0, 20 30)",,',
        "AOI_9_San_Juan_chip2,LINESTRING EMPTY,0,0",
        "AOI_9_San_Juan_chip3,,0,0",
    )
    found = read_roads(path, image)
    assert {chip: len(roads) for chip, roads in found.items()} == {
        "AOI_9_San_Juan_chip1": 4,
        "AOI_9_San_Juan_chip2": 0,
        "AOI_9_San_Juan_chip3": 0,
    }
    roads = found["AOI_9_San_Juan_chip1"]
    assert not shapely.has_z(roads.lines).any()
    np.testing.assert_allclose(roads.lines[0].coords, [(10, 50), (10.0005, 50)])
    assert roads.speed_mph == pytest.approx([35.8 / 3.5 / MPS] + [71.6 / 7 / MPS] * 2 + [np.nan], nan_ok=True)


def test_csv_takes_each_chip_s_image_from_a_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "SN5_roads_test_public_AOI_9_San_Juan_PS-MS_chip1.tif", west=10.0)
    write_image(tmp_path / "SN5_roads_test_public_AOI_9_San_Juan_PS-MS_chip2.tif", west=20.0)
    line = '"LINESTRING (0 0, 50 0)",1,1'
    path = write_csv(tmp_path / "s.csv", f"AOI_9_San_Juan_chip1,{line}", f"AOI_9_San_Juan_chip2,{line}")
    found = read_roads(path, tmp_path)
    assert [roads.lines[0].coords[0][0] for roads in found.values()] == [10.0, 20.0]
    write_csv(path, f"AOI_9_San_Juan_chip3,{line}")
    with pytest.raises(InputError, match="no image of AOI_9_San_Juan_chip3"):
        read_roads(path, tmp_path)


def test_csv_in_a_projected_image(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "width": 10, "height": 10, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    image = tmp_path / "utm.tif"
    with rasterio.open(image, "w", transform=from_origin(500_000, 5_300_000, 0.5, 0.5), **profile):
        pass
    roads = the_only(read_roads(write_csv(tmp_path / "s.csv", 'x,"LINESTRING (0 0, 200 0)",,'), image))
    assert evaluate(roads, roads, ScoreSettings()).truth_km == pytest.approx(0.1, abs=1e-5)
    assert roads.lines[0].coords[0] == pytest.approx((15.0, 47.85), abs=0.01)


@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        (["x,LINESTRING (0 0)"], "ImageId,WKT_Pix", "line 2: line 'LINESTRING"),
        (["x,y"], "id,geometry", "expected ImageId and WKT_Pix"),
        (['x,"LINESTRING (0 0, 5 0)"'], "ImageId,WKT_Pix", "with --image"),
    ],
)
def test_what_is_wrong_with_a_csv_is_said(tmp_path: Path, rows: list[str], head: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_roads(write_csv(tmp_path / "s.csv", *rows, head=head))


def test_unusable_paths_are_said(tmp_path: Path) -> None:
    (tmp_path / "roads.txt").write_text("")
    (tmp_path / "empty").mkdir()
    for path, message in (("none.csv", "no such file"), ("roads.txt", "unknown kind"), ("empty", "no roads in")):
        with pytest.raises(InputError, match=message):
            read_roads(tmp_path / path)
    image = write_image(tmp_path / "plain.tif", crs=None)
    with pytest.raises(InputError, match="no CRS"):
        read_roads(write_csv(tmp_path / "s.csv", 'x,"LINESTRING (0 0, 5 0)",1,1'), image)


def test_names_and_parts() -> None:
    assert chip_of("SN5_roads_test_public_AOI_9_San_Juan_chip98") == "AOI_9_San_Juan_chip98"
    assert chip_of("SN5_roads_test_public_AOI_9_San_Juan_PS-MS_chip98") == "AOI_9_San_Juan_chip98"
    assert chip_of("mine") == "mine"
    nested = shapely.GeometryCollection([
        shapely.Point(0, 0),
        shapely.MultiLineString([[(0, 0), (1, 0)], [(0, 0), (0, 1)]]),
        shapely.GeometryCollection([shapely.LineString([(5, 5), (6, 5)]), shapely.Polygon([(0, 0), (1, 0), (1, 1)])]),
    ])  # fmt: skip
    lines, origin = explode(
        np.array([None, nested, shapely.LineString(), shapely.LineString([(1, 1), (1, 1)])], object)
    )
    assert (len(lines), origin.tolist()) == (3, [1, 1, 1])


def line(east: float = 10.0) -> Roads:
    return Roads(np.array([shapely.LineString([(east, 50), (east + 0.001, 50)])], object), np.array([25.0]))


def test_truths_find_their_proposals() -> None:
    two = {"a": line(10), "b": line(11)}
    assert [(pair.chip, pair.proposal_given) for pair in match_chips(two, {"b": line(11)})] == [
        ("a", False),
        ("b", True),
    ]
    assert match_chips({"a": line()}, two)[0].proposal is two["a"]
    assert match_chips({WHOLE: line()}, {"a": line()})[0].chip == "a"
    assert len(match_chips({"a": line()}, {})[0].proposal) == 0
    assert len(match_chips({}, {})) == 1
    with pytest.raises(InputError, match="truth names no chip"):
        match_chips({WHOLE: line()}, two)
    with pytest.raises(InputError, match="proposal names no chip"):
        match_chips(two, {WHOLE: line()})
    with pytest.raises(InputError, match="no chip c"):
        match_chips({"c": line()}, two)


def test_means_count_empty_graphs_both_ways() -> None:
    settings = ScoreSettings()
    scores = [evaluate(line(), line(), settings), evaluate(line(), no_roads(), settings)]
    means = mean_scores(scores)
    assert (means["apls_length"], means["apls_length_compatible"]) == pytest.approx((0.5, 1.0))
    assert means["sp"] is None
