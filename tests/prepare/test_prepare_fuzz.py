"""Labels of any content are read, or refused with an error of ours that names the file."""

import json
import os

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.errors import RoadspeedError
from roadspeed.prepare.labels import read_labels
from roadspeed.prepare.masks import draw_mask
from roadspeed.prepare.settings import MaskSettings
from roadspeed.raster import Grid
from roadspeed.speedbins import SpeedBins

FUZZ = int(os.environ.get("ROADSPEED_FUZZ_EXAMPLES", "60"))
"""Examples of each fuzz test; minutes are spent with 20000."""
GRID = Grid(50, 50, CRS.from_epsg(4326), Affine(2.7e-6, 0, 37.5, 0, -2.7e-6, 55.7))

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
anything = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
number = st.floats(37.4, 37.6) | st.floats() | st.integers(-200, 200) | plain
point = st.lists(number, max_size=4) | st.tuples(st.floats(37.499, 37.501), st.floats(55.699, 55.701)).map(list)
line = st.lists(point, max_size=5)
geometry = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["LineString", "MultiLineString", "Point", "Polygon", "GeometryCollection"])
        | anything,
        "coordinates": line | st.lists(line, max_size=3) | anything,
    },
    optional={"geometries": anything},
)
names = st.sampled_from(
    [
        "inferred_speed_mph",
        "speed_mph",
        "speed_m/s",
        "maxspeed",
        "lanes",
        "lane_number",
        "road_type",
        "highway",
        "paved",
    ]
)
values = st.sampled_from(["None", "30 mph", "50;60", "2.5", "", "nan", "1e400", "9" * 500, "²"]) | anything
feature = st.fixed_dictionaries(
    {
        "type": st.just("Feature"),
        "geometry": geometry | anything,
        "properties": st.dictionaries(names, values) | anything,
    }
)
document = st.fixed_dictionaries(
    {"type": st.just("FeatureCollection"), "features": st.lists(feature | anything, max_size=5)},
    optional={
        "crs": anything
        | st.fixed_dictionaries({"properties": st.fixed_dictionaries({"name": st.sampled_from(["EPSG:32637", "x"])})})
    },
)


def check(folder: pytest.TempPathFactory, content: bytes) -> None:
    path = folder.getbasetemp() / "label.geojson"
    path.write_bytes(content)
    try:
        labels = read_labels(path)
    except RoadspeedError as error:
        assert str(path) in str(error)
        return
    assert len(labels.lines) == len(labels.speed_mph) == len(labels.lanes) == len(labels.feature)
    assert (labels.speed_mph > 0).all()
    assert np.isfinite(labels.speed_mph).all()
    assert not len(labels.lines) or (shapely.length(labels.lines) > 0).all()
    mask = draw_mask(labels, GRID, MaskSettings(width_by_lanes=True), SpeedBins())
    assert mask.max() <= 7


@settings(max_examples=FUZZ, deadline=None)
@given(document | anything)
def test_fuzz_documents(tmp_path_factory: pytest.TempPathFactory, found: object) -> None:
    check(tmp_path_factory, json.dumps(found).encode())


@settings(max_examples=FUZZ, deadline=None)
@given(st.binary(max_size=200))
def test_fuzz_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    check(tmp_path_factory, content)
