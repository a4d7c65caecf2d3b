"""Labels: dirt of geometries, and the speed of each road worked out by hand from SpaceNet's table."""

import json
from pathlib import Path

import pytest

from roadspeed.errors import InputError
from roadspeed.prepare.labels import read_labels

LINE = [[-115.17, 36.24], [-115.16, 36.24]]


def write(folder: Path, *features: tuple[object, dict[str, object]], **more: object) -> Path:
    path = folder / "label.geojson"
    document = {"type": "FeatureCollection", **more}
    document["features"] = [{"type": "Feature", "geometry": g, "properties": p} for g, p in features]
    path.write_text(json.dumps(document))
    return path


def line(points: object = LINE, kind: str = "LineString") -> dict[str, object]:
    return {"type": kind, "coordinates": points}


@pytest.mark.parametrize(
    ("properties", "speed_mph", "lanes"),
    [
        ({"inferred_speed_mph": 33.75, "road_type": "1"}, 33.75, 0),
        ({"inferred_speed_mph": "18.75"}, 18.75, 0),
        ({"speed_mph": "30 mph"}, 30, 0),
        ({"inferred_speed_mph": "None", "inferred_speed_mps": 8.9408}, 20, 0),
        ({"maxspeed": "50"}, 50 / 1.609344, 0),
        ({"maxspeed": "35 mph"}, 35, 0),
        ({"inferred_speed_mph": -5, "highway": "residential"}, 25, 0),
        ({"inferred_speed_mph": 9999, "highway": "residential"}, 25, 0),
        ({"inferred_speed_mph": True, "highway": "residential"}, 25, 0),
        ({"inferred_speed_mph": float("nan"), "highway": "residential", "lanes": "3"}, 30, 3),
        ({"road_type": "1", "lane_number": "2", "paved": "1"}, 55, 2),
        ({"road_type": "1", "lane_numbe": "3", "paved": "1"}, 65, 3),
        ({"road_type": "2", "lane_number": "2"}, 45, 2),
        ({"road_type": "3", "lane_number": "4"}, 45, 4),
        ({"road_type": "4", "lane_number": "2", "paved": "2"}, 22.5, 2),
        ({"road_type": "5", "lane_number": "1", "paved": "2"}, 18.75, 1),
        ({"road_type": "6", "lane_number": "5", "paved": "3"}, 20, 5),
        ({"road_type": "7", "paved": "2"}, 15, 0),
        ({"road_type": "99"}, 20, 0),
        ({"highway": "motorway_link", "lanes": "2;3"}, 55, 2),
        ({"highway": "tertiary", "lanes": "None", "surface": "gravel"}, 22.5, 0),
        ({}, 20, 0),
    ],
)
def test_speed_and_lanes(tmp_path: Path, properties: dict[str, object], speed_mph: float, lanes: int) -> None:
    labels = read_labels(write(tmp_path, (line(), properties)))
    assert labels.speed_mph.tolist() == pytest.approx([speed_mph])
    assert labels.lanes.tolist() == [lanes]


def test_unknown_road_type_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path, (line(), {"road_type": "99"}), (line(), {"highway": "corridor"}), (line(), {"speed_mph": 20})
    )
    assert read_labels(path).notes == (
        "1 roads get their speed from the table, as unclassified (road type '99')",
        "1 roads get their speed from the table, as unclassified (road type 'corridor')",
    )


def test_odd_geometries(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        (line([[-115.17, 36.24, 7.0, 1.0], [-115.16, 36.24, 7.0, 2.0]]), {"speed_mph": 20}),
        (line([LINE, [[-115.15, 36.2], [-115.15, 36.3], [-115.14, 36.3]]], "MultiLineString"), {"speed_mph": 35}),
        (None, {}),
        (line([]), {}),
        (line([[-115.17, 36.24]]), {}),
        (line([[-115.17, 36.24], [-115.17, 36.24]]), {}),
        (line([[-115.17, float("nan")], [-115.17, 36.24]]), {}),
        (line([["a", 1], [2, 3]]), {}),
        (line([-115.17, 36.24], "Point"), {}),
        ({"type": "GeometryCollection", "geometries": [line()]}, {"speed_mph": 45}),
        ("nonsense", {}),
    )
    labels = read_labels(path)
    assert [list(g.coords) for g in labels.lines] == [
        [(-115.17, 36.24), (-115.16, 36.24)],
        [(-115.17, 36.24), (-115.16, 36.24)],
        [(-115.15, 36.2), (-115.15, 36.3), (-115.14, 36.3)],
        [(-115.17, 36.24), (-115.16, 36.24)],
    ]
    assert labels.speed_mph.tolist() == [20, 35, 35, 45]
    assert labels.feature.tolist() == [0, 1, 1, 9]
    assert labels.notes == (
        "1 features of type Point",
        "1 features that are empty",
        "1 features with a geometry that is none",
        "1 features without geometry",
        "2 lines with coordinates that are not finite numbers",
        "1 lines with fewer than two points",
        "1 lines without length",
    )


def test_collections_in_collections_are_looked_into_only_so_far(tmp_path: Path) -> None:
    def nested(depth: int) -> dict[str, object]:
        geometry = line()
        for _ in range(depth):
            geometry = {"type": "GeometryCollection", "geometries": [geometry]}
        return geometry

    labels = read_labels(write(tmp_path, (nested(5), {"speed_mph": 45}), (nested(200), {})))
    assert labels.feature.tolist() == [0]
    assert labels.notes == ("1 collections nested too deeply",)


def test_no_roads_is_legitimate(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path))
    assert len(labels.lines) == len(labels.speed_mph) == 0


def test_other_crs_is_projected(tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32611"}}
    # The zone's central meridian, 117° W, has easting 500 km; 4000 km north is 36.1447° N.
    path = write(tmp_path, (line([[500000, 4000000], [500000, 4001000]]), {"speed_mph": 20}), crs=crs)
    west, south, _, north = read_labels(path).lines[0].bounds
    assert west == pytest.approx(-117)
    assert south == pytest.approx(36.1447, abs=1e-3)
    assert north - south == pytest.approx(1000 / 111e3, rel=0.01)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{broken", "not valid JSON"),
        ("", "not valid JSON"),
        ("\x00\xff", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "FeatureCollection"),
        ('{"type": "FeatureCollection"}', "FeatureCollection"),
        ('{"type": "Topology", "features": []}', "FeatureCollection"),
        (
            '{"type": "Feature", "properties": {}, "geometry": {"type": "LineString",'
            ' "coordinates": [[500000, 4e6], [500000, 5e6]]}}',
            "expected lon/lat",
        ),
    ],
)
def test_unreadable_label_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.geojson"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=said) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)


def test_missing_label_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such label file"):
        read_labels(tmp_path / "absent.geojson")


def test_real_labels(real_data: Path) -> None:
    labels = read_labels(
        real_data / "vegas_labels" / "SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_img998.geojson"
    )
    assert len(labels.lines) == 34  # 32 LineStrings and a MultiLineString of two parts
    assert sorted(set(labels.speed_mph)) == [15, 20, 25, 35, 45]
    assert labels.notes == ()
