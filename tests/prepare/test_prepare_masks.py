"""Speed masks: width in metres, overlap order, no-data, missing against empty labels, the reference's own masks."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import yaml
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.chips import Chip, write_chips
from roadspeed.cli import main
from roadspeed.errors import InputError
from roadspeed.files import read_table, write_table
from roadspeed.prepare.labels import Labels, read_labels
from roadspeed.prepare.masks import class_statistics, draw_mask, mask_city
from roadspeed.prepare.settings import MaskSettings
from roadspeed.raster import Grid, read_raster, write_raster
from roadspeed.speedbins import SpeedBins

BINS = SpeedBins()
METRES = Grid(100, 100, CRS.from_epsg(32611), Affine(1, 0, 500000, 0, -1, 4000100))
"""100×100 m with pixels of a metre, whose corner in the south-west is (500000, 4000000)."""
VEGAS = (0, 990, 991, 995, 998)


def labels(*lines: tuple[list[tuple[float, float]], float], lanes: int = 0) -> Labels:
    """Roads given in metres from the south-west corner of METRES, with their speeds."""
    from roadspeed.geo import LONLAT, project

    shapes = [shapely.LineString([(500000 + x, 4000000 + y) for x, y in points]) for points, _ in lines]
    found = project(np.array(shapes, dtype=object), "EPSG:32611", LONLAT)
    speeds = np.array([speed for _, speed in lines])
    return Labels(found, speeds, np.full(len(lines), lanes), np.arange(len(lines)), ())


ACROSS = ([(-10.0, 50.0), (110.0, 50.0)], 25.0)
UP = ([(50.0, -10.0), (50.0, 110.0)], 55.0)


def test_width_in_metres() -> None:
    mask = draw_mask(labels(ACROSS), METRES, MaskSettings(), BINS)
    assert np.flatnonzero(mask[:, 30]).tolist() == [48, 49, 50, 51]  # 2 m each side of y = 50
    assert set(mask[48:52].ravel()) == {3}  # 25 mph is in the third bin
    mask = draw_mask(labels(ACROSS), METRES, MaskSettings(half_width_m=5), BINS)
    assert np.count_nonzero(mask[:, 30]) == 10


def test_width_by_lanes() -> None:
    settings = MaskSettings(width_by_lanes=True, lane_width_m=3)
    assert np.count_nonzero(draw_mask(labels(ACROSS, lanes=4), METRES, settings, BINS)[:, 30]) == 12
    assert np.count_nonzero(draw_mask(labels(ACROSS, lanes=0), METRES, settings, BINS)[:, 30]) == 4


def test_faster_road_is_on_top_whatever_the_order() -> None:
    for roads in ((ACROSS, UP), (UP, ACROSS)):
        mask = draw_mask(labels(*roads), METRES, MaskSettings(), BINS)
        assert mask[50, 50] == 6
        assert (mask[50, 10], mask[10, 50]) == (3, 6)


def test_pixels_in_degrees_have_the_same_width_on_the_ground() -> None:
    # At 60° N a degree of longitude is half as long, so a road going north is twice as many pixels wide.
    pixel = 1 / 111_000
    grid = Grid(100, 100, CRS.from_epsg(4326), Affine(pixel, 0, 25.0, 0, -pixel, 60.0))
    middle = (25.0 + 50 * pixel, 60.0 - 50 * pixel)
    north = shapely.LineString([(middle[0], 59.9), (middle[0], 60.1)])
    east = shapely.LineString([(24.9, middle[1]), (25.1, middle[1])])
    for line, wide in ((north, 20), (east, 10)):
        roads = Labels(np.array([line]), np.array([20.0]), np.zeros(1, int), np.zeros(1, int), ())
        mask = draw_mask(roads, grid, MaskSettings(half_width_m=5), BINS)
        profile = mask[20] if wide == 20 else mask[:, 20]
        assert abs(np.count_nonzero(profile) - wide) <= 1


def test_cut_at_no_data() -> None:
    valid = np.ones((100, 100), bool)
    valid[:, :40] = False
    mask = draw_mask(labels(ACROSS), METRES, MaskSettings(), BINS, valid)
    assert not mask[:, :40].any()
    assert mask[50, 40] == 3


def test_no_roads() -> None:
    assert not draw_mask(labels(), METRES, MaskSettings(), BINS).any()


def test_image_without_georeference() -> None:
    with pytest.raises(InputError, match="no georeference"):
        draw_mask(labels(ACROSS), replace(METRES, crs=None), MaskSettings(), BINS)


def test_class_statistics() -> None:
    found = class_statistics([[90, 10, 0], [60, 30, 0]], SpeedBins(upper_mph=(30, 60), value_mph=(20, 45)))
    # Pixels 150, 40, 0; the median of the two present is 95.
    assert found == {"class_pixels": [150, 40, 0], "class_weights": [0.633333, 2.375, 0.0]}


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("number", VEGAS)
def test_equals_the_reference_on_real_labels(real_data: Path, tmp_path: Path, number: int) -> None:
    truth, _ = read_raster(real_data / "vegas_predictions" / f"img{number}_clean.tif")
    label = real_data / "vegas_labels" / f"SN3_roads_train_AOI_2_Vegas_geojson_roads_speed_img{number}.geojson"
    image = real_data / "vegas_predictions" / f"img{number}_clean.tif"
    grid = read_raster(image)[1]
    # An image of the same place, all with data.
    write_raster(tmp_path / "image.tif", np.ones((3, grid.height, grid.width), np.uint8), grid)
    command = ["mask", str(label), "--like", str(tmp_path / "image.tif"), "-o", str(tmp_path / "mask.tif"), "--bands"]
    assert main(command) == 0
    bands, found_grid = read_raster(tmp_path / "mask.tif")
    assert found_grid == grid
    assert bands.shape == truth.shape
    assert set(np.unique(bands)) == {0, 255}
    assert overlap(bands[7] > 0, truth[7] > 127) >= 0.99
    for band in range(7):
        if truth[band].any() or bands[band].any():
            assert overlap(bands[band] > 0, truth[band] > 127) >= 0.97


def test_real_image_with_labels(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "vegas_img0"
    image = folder / "RGB-PanSharpen_AOI_2_Vegas_img0.tif"
    out = tmp_path / "mask.tif"
    assert main(["mask", str(folder / "AOI_2_Vegas_img0.geojson"), "--like", str(image), "-o", str(out)]) == 0
    mask, _ = read_raster(out)
    assert mask.shape == (1, 1300, 1300)
    assert set(np.unique(mask)) == {0, 2, 5}  # 20 and 45 mph
    # 4.67 km of road, 4 m wide, in pixels of 0.243 × 0.300 m: a few per cent less for overlaps.
    assert np.count_nonzero(mask) == pytest.approx(4670 * 4 / (0.243 * 0.300), rel=0.06)


def test_command_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.geojson").write_text("{")
    write_raster(tmp_path / "image.tif", np.ones((3, 100, 100), np.uint8), METRES)
    arguments = [
        "mask",
        str(tmp_path / "bad.geojson"),
        "--like",
        str(tmp_path / "image.tif"),
        "-o",
        str(tmp_path / "o.tif"),
    ]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "bad.geojson" in error.splitlines()[-1]
    assert main([*arguments, "--half-width-m", "-1"]) == 2
    assert not (tmp_path / "o.tif").exists()


@pytest.fixture
def city(tmp_path: Path) -> Callable[..., list[dict[str, str]]]:
    """Prepare five chips by hand: roads, empty, missing label, no image, half of it without data."""

    def geojson(*lines: tuple[list[tuple[float, float]], float]) -> str:
        found = labels(*lines)
        features = [
            {"type": "Feature", "geometry": json.loads(shapely.to_geojson(line)), "properties": {"speed_mph": speed}}
            for line, speed in zip(found.lines, found.speed_mph, strict=True)
        ]
        return json.dumps({"type": "FeatureCollection", "features": features})

    chips, rows = [], []
    for number, name in enumerate(("roads", "empty", "missing", "imageless", "half")):
        label = tmp_path / "labels" / f"{name}.geojson"
        label.parent.mkdir(exist_ok=True)
        label.write_text(geojson() if name == "empty" else geojson(ACROSS))
        chip = Chip(
            name, "c", "train", 1, number, None, label, "roads", 0, number, 100, 100, 0, 0, 1, 1, "EPSG:32611"
        )
        chips.append(replace(chip, label=None, label_state="missing") if name == "missing" else chip)
        pixels = np.ones((3, 100, 100), np.uint8)
        if name == "half":
            pixels[:, :, :50] = 0
        write_raster(tmp_path / "rgb" / f"{name}.tif", pixels, METRES, nodata=0)
        used = name != "imageless"
        share = pixels.mean()
        rows.append(
            {"chip_id": name, "rgb": f"rgb/{name}.tif" * used, "valid_share": share, "note": "black" * (not used)}
        )
    write_chips(tmp_path / "chips.csv", chips)
    write_table(tmp_path / "rgb.csv", ("chip_id", "rgb", "valid_share", "note"), rows)

    def run(settings: MaskSettings | None = None) -> list[dict[str, str]]:
        mask_city(tmp_path / "chips.csv", tmp_path / "rgb.csv", tmp_path / "out", settings or MaskSettings(), BINS)
        return read_table(tmp_path / "out" / "masks.csv")

    return run


def test_city(city: Callable[..., list[dict[str, str]]], tmp_path: Path) -> None:
    assert city() == [
        {"chip_id": "roads", "mask": "masks/roads.tif", "road_share": "0.04", "note": ""},
        {"chip_id": "empty", "mask": "masks/empty.tif", "road_share": "0.0", "note": ""},
        {"chip_id": "missing", "mask": "", "road_share": "", "note": "no label file"},
        {"chip_id": "imageless", "mask": "", "road_share": "", "note": "black"},
        {"chip_id": "half", "mask": "masks/half.tif", "road_share": "0.04", "note": ""},
    ]
    mask, grid = read_raster(tmp_path / "out/masks/half.tif")
    assert (mask.dtype, grid) == (np.uint8, METRES)
    assert not mask[:, :, :50].any()
    statistics = json.loads((tmp_path / "out/masks.json").read_text())
    assert statistics["class_pixels"] == [9600 + 10000 + 4800, 0, 0, 600, 0, 0, 0, 0]


def test_city_is_made_again_only_where_something_changed(
    city: Callable[..., list[dict[str, str]]], tmp_path: Path
) -> None:
    city()
    roads, half = tmp_path / "out/masks/roads.tif", tmp_path / "out/masks/half.tif"
    stamps = roads.stat().st_mtime_ns, half.stat().st_mtime_ns
    (tmp_path / "labels/half.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert city()[4]["road_share"] == "0.0"
    assert roads.stat().st_mtime_ns == stamps[0]
    assert half.stat().st_mtime_ns != stamps[1]
    half.unlink()
    city()
    assert half.exists()
    assert city(MaskSettings(half_width_m=4))[0]["road_share"] == "0.08"


def test_unreadable_label_stops_the_work(city: Callable[..., list[dict[str, str]]], tmp_path: Path) -> None:
    (tmp_path / "labels/half.geojson").write_text("{")
    with pytest.raises(InputError, match=r"half\.geojson: label is unreadable"):
        city()
    assert not (tmp_path / "out/masks.csv").exists()
    assert (tmp_path / "out/masks/roads.tif").exists()


def test_all_of_a_label_is_used(real_data: Path) -> None:
    found = read_labels(real_data / "vegas_labels" / "osm_AOI_2_Vegas_img998.geojson")
    assert found.speed_mph.tolist().count(20) == 10


def test_preset_of_the_winners_bins() -> None:
    text = (Path(__file__).parents[2] / "config/presets/winners_bins.yaml").read_text()
    bins = SpeedBins.checked(yaml.safe_load(text)["speed_bins"])
    assert bins.count == 9
    # Every speed of the training labels gets the class of the nearest of the nine.
    label_mph = [15, 18.75, 20, 22.5, 25, 26.25, 30, 33.75, 35, 41.25, 45, 48.75, 55, 65]
    assert bins.classes(label_mph).tolist() == [1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 7, 8, 9]
    mask = draw_mask(labels(ACROSS, UP), METRES, MaskSettings(), bins)
    assert (mask[50, 10], mask[10, 50]) == (4, 8)
