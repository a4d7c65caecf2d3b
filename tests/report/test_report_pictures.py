"""Pictures and page: what they show can be found in them."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
import shapely
from matplotlib.image import imread
from rasterio.crs import CRS
from rasterio.transform import from_origin

from roadspeed.chips import Chip, write_chips
from roadspeed.errors import InputError
from roadspeed.extract.roads import make_graph, write_geopackage
from roadspeed.files import write_json, write_table
from roadspeed.raster import Grid, write_raster
from roadspeed.report.chip_pictures import draw_chips
from roadspeed.report.curves import draw_curves
from roadspeed.report.maps import draw_city_map
from roadspeed.report.mosaic import read_mosaic
from roadspeed.report.outcome import describe_run
from roadspeed.report.page import write_report
from roadspeed.report.settings import ReportSettings

PIXEL = 2.7e-6
WEST, NORTH = 10.0, 50.0
SIDE = 64


def _chip(folder: Path, column: int, colour: int) -> Chip:
    west = WEST + column * SIDE * PIXEL
    path = folder / "rgb" / f"c{column}.tif"
    grid = Grid(SIDE, SIDE, CRS.from_epsg(4326), from_origin(west, NORTH, PIXEL, PIXEL))
    write_raster(path, np.full((3, SIDE, SIDE), colour, np.uint8), grid)
    east, south = west + SIDE * PIXEL, NORTH - SIDE * PIXEL
    return Chip(
        f"c{column}", "city", "train", 1, column, path, None, "missing", 0, column, SIDE, SIDE,
        west, south, east, NORTH, "EPSG:4326",
    )  # fmt: skip


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """Two chips side by side, black and white, and one road along their middle at 65 mph."""
    chips = [_chip(tmp_path, 0, 0), _chip(tmp_path, 1, 255)]
    write_chips(tmp_path / "chips.csv", chips)
    rows = [{"chip_id": chip.chip_id, "rgb": f"rgb/{chip.chip_id}.tif"} for chip in chips]
    write_table(tmp_path / "rgb.csv", ("chip_id", "rgb", "valid_share", "note"), rows)
    middle = NORTH - SIDE / 2 * PIXEL
    ends = np.array([[WEST, middle], [WEST + 2 * SIDE * PIXEL, middle]])
    one = np.array([0]), np.array([1])
    lines = np.array([shapely.LineString(ends)], object)
    graph = make_graph(ends, *one, lines, np.array([25.0]), np.array([65.0]), "c0")
    write_geopackage(graph, tmp_path / "roads.gpkg")
    return tmp_path


def test_mosaic_places_chips_and_shrinks_them(city: Path) -> None:
    from roadspeed.chips import read_chips

    chips = read_chips(city / "chips.csv")
    rgb = {chip.chip_id: city / f"rgb/{chip.chip_id}.tif" for chip in chips}
    mosaic = read_mosaic(chips, rgb, 32)
    assert mosaic.pixels.shape == (16, 32, 3)
    assert (mosaic.pixels[:, :16] == 0).all() and (mosaic.pixels[:, 16:] == 255).all()
    whole = read_mosaic(chips, {"c1": rgb["c1"]}, 10_000)
    assert whole.pixels.shape == (64, 128, 3), "never larger than the chips' own pixels"
    assert (whole.pixels[:, :64] == 128).all(), "a chip without a picture stays grey"
    with pytest.raises(InputError, match="nothing to draw"):
        read_mosaic([], {}, 100)


def test_map_shows_the_road_in_the_colour_of_its_speed(city: Path) -> None:
    settings = ReportSettings(map_px=400)
    draw_city_map(city / "chips.csv", city / "rgb.csv", city / "roads.gpkg", city / "map.png", settings)
    picture = imread(city / "map.png")[:, :, :3]
    fast = np.array([0.94, 0.975, 0.131])  # plasma's end
    assert (np.abs(picture - fast).max(axis=2) < 0.05).sum() > 200
    first = (city / "map.png").read_bytes()
    draw_city_map(city / "chips.csv", city / "rgb.csv", city / "roads.gpkg", city / "map.png", settings)
    assert (city / "map.png").read_bytes() == first


def test_chip_picture_has_a_row_a_chip(city: Path) -> None:
    write_table(city / "shard0.csv", ("chip_id", "probability"), [{"chip_id": "c0"}, {"chip_id": "c1"}])
    columns = ("chip_id", "role", "label_state", "apls_length", "apls_time")
    rows = [
        {"chip_id": "c0", "role": "validation", "label_state": "roads", "apls_length": 0.9, "apls_time": 0.8},
        {"chip_id": "c1", "role": "train", "label_state": "roads", "apls_length": 0.5, "apls_time": 0.4},
    ]
    heights = []
    for count in (1, 2):
        write_table(city / "scores.csv", columns, [row | {"role": "validation"} for row in rows[:count]])
        draw_chips(
            city / "chips.csv", city / "rgb.csv", [city / "shard0.csv"], city / "roads.gpkg", city / "scores.csv",
            city / "chips.png", ReportSettings(),
        )  # fmt: skip
        heights.append(imread(city / "chips.png").shape[0])
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.1)


def _metrics(path: Path) -> Path:
    columns = ("epoch", "train_loss", "val_loss", "f1_roads", "learning_rate")
    write_table(path, columns, [dict.fromkeys(columns, 0.5) | {"epoch": n} for n in (1, 2)])
    return path


def test_page_holds_its_pictures_and_escapes_texts(city: Path) -> None:
    fold = city / "fold0"
    draw_curves([_metrics(fold / "metrics.csv")], city / "curves.png")
    write_json(fold / "model.json", {"note": "<script>alert(1)</script>"})
    write_table(
        city / "scores.csv", ("city", "role", "apls_time"), [{"city": "a", "role": "unseen", "apls_time": 0.5}]
    )
    picture = city / "port" / "train" / "map.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes((city / "curves.png").read_bytes())
    out = city / "r.html"
    write_report("<run>", city / "scores.csv", [fold / "model.json"], city / "curves.png", [], [picture], [], out)
    text = (city / "r.html").read_text()
    assert "<script>" not in text and "<h1>roadspeed: &lt;run&gt;</h1>" in text
    assert "port, train" in text and "0.500" in text
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert [base64.b64decode(data) for data in pictures] == [picture.read_bytes()] * 2


def test_curves_of_an_empty_table_are_an_error(tmp_path: Path) -> None:
    write_table(tmp_path / "metrics.csv", ("epoch",), [])
    with pytest.raises(InputError, match="holds no epoch"):
        draw_curves([tmp_path / "metrics.csv"], tmp_path / "a.png")


def test_outcome_names_results_and_scores(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has not finished"):
        describe_run(tmp_path)
    write_table(tmp_path / "scores.csv", ("city", "apls_time"), [{"city": "a", "apls_time": 0.81234}])
    roads = tmp_path / "a" / "train" / "roads.gpkg"
    roads.parent.mkdir(parents=True)
    roads.touch()
    text = describe_run(tmp_path)
    assert str(roads) in text and "map.png" in text and "0.812" in text
