"""Eight bands from the 16-bit image to the prediction."""

from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.chips import Chip, read_chips, write_chips
from roadspeed.cli import main
from roadspeed.config import check_config
from roadspeed.errors import ConfigError, InputError
from roadspeed.files import read_table, write_json
from roadspeed.predict.settings import PredictSettings
from roadspeed.predict.shard import predict_shard
from roadspeed.prepare.folds import FoldInput, make_folds
from roadspeed.prepare.masks import mask_city
from roadspeed.prepare.settings import FoldSettings, MaskSettings, StretchSettings
from roadspeed.prepare.stretch import stretch_city
from roadspeed.raster import Grid, open_raster, read_raster, write_raster
from roadspeed.report.mosaic import column_paths, read_mosaic
from roadspeed.speedbins import SpeedBins
from roadspeed.train.fold import train_fold
from roadspeed.train.settings import TrainSettings

SIDE, PIXEL = 96, 2.7e-6
TINY = {"encoder": "test_resnet", "decoder_channels": (16, 16, 8, 8, 8), "weights": "random", "engine": "native"}
CITY = {"toy": {"train": [{"key": "a.tar.gz"}]}}


def write_city(folder: Path) -> Path:
    """Write four chips of eight bands of 16 bits; band b is near 1000 + 100 b, roads are bright in the seventh."""
    rng = np.random.default_rng(3)
    chips = []
    for number in range(4):
        grid = Grid(SIDE, SIDE, CRS.from_epsg(4326), Affine(PIXEL, 0, 10 + number * SIDE * PIXEL, 0, -PIXEL, 20))
        pixels = (1000 + 100 * np.arange(8)[:, None, None] + rng.normal(0, 30, (8, SIDE, SIDE))).astype(np.uint16)
        pixels[6, 44:52] += 500
        image, label = folder / f"{number}.tif", folder / f"{number}.geojson"
        write_raster(image, pixels, grid, compress="lzw", predictor=1, interleave="pixel")
        west, south, east, north = grid.bounds
        line = {"type": "LineString", "coordinates": [[west, (south + north) / 2], [east, (south + north) / 2]]}
        road = {"type": "Feature", "properties": {"inferred_speed_mph": 25}, "geometry": line}
        write_json(label, {"type": "FeatureCollection", "features": [road]})
        place = (0, number, SIDE, SIDE, *grid.bounds, "EPSG:4326")
        chips.append(Chip(f"AOI_9_Toy_chip{number}", "toy", "train", 9, number, image, label, "roads", *place))
    write_chips(folder / "chips.csv", chips)
    return folder / "chips.csv"


def test_from_stretch_to_prediction(tmp_path: Path) -> None:
    chips, out, bins = write_city(tmp_path), tmp_path / "out", SpeedBins()
    config = check_config({"cities": CITY, "prepare": {"stretch": {"bands": "all"}}, "train": TINY | {"epochs": 1}})
    stretch_city(chips, out, config.prepare.stretch)
    mask_city(chips, out / "rgb.csv", out, MaskSettings(), bins)
    inputs = [FoldInput(chips, out / "rgb.csv", out / "masks.csv")]
    make_folds(inputs, FoldSettings(count=2, method="random"), out / "folds.csv")
    settings = config.train_settings.model_copy(update={"crop_px": 64, "batch": 2, "precision": "fp32"})
    tables = (out / "folds.csv", [out / "rgb.csv"], [out / "masks.csv"], 0)
    train_fold(*tables, tmp_path / "fold0", settings, bins)
    # All bands count: the network's first layer has eight, and a change of the seventh changes the result.
    checkpoint = tmp_path / "fold0/model.safetensors"
    predict = PredictSettings(engine="native", precision="fp32", flips=1)
    predict_shard(out / "rgb.csv", chips, [checkpoint], out / "folds.csv", 0, 1, tmp_path / "p", predict)
    rows = read_table(tmp_path / "p/shard0.csv")
    assert [bool(row["probability"]) for row in rows] == [True] * 4
    before = read_raster(tmp_path / "p" / rows[0]["probability"])[0]
    image = out / "rgb/AOI_9_Toy_chip0.tif"
    pixels, grid = read_raster(image)
    assert pixels.shape == (8, SIDE, SIDE)
    pixels[6] = 256 - pixels[6].astype(int)
    changed = tmp_path / "changed.tif"
    write_raster(changed, pixels, grid, nodata=0)
    command = ["predict", "--checkpoint", str(checkpoint), "--engine", "native", "--precision", "fp32"]
    assert main([*command, str(changed), str(image), "-o", str(tmp_path / "free")]) == 0
    after = [read_raster(path)[0] for path in sorted((tmp_path / "free").glob("*.tif"))]
    assert {result.shape for result in (*after, before)} == {(8, SIDE, SIDE)}
    assert (after[0] != after[1]).any()
    # Three bands are neither trained on, nor predicted by this network.
    stretch_city(chips, out, StretchSettings())
    with pytest.raises(InputError, match="has 3 bands uint8; expected 8 uint8: train"):
        train_fold(*tables, tmp_path / "fold1", settings, bins)
    with pytest.raises(InputError, match="has 3 bands uint8; the network wants 8 bands"):
        predict_shard(out / "rgb.csv", chips, [checkpoint], None, 0, 1, tmp_path / "q", predict)
    assert main([*command, str(image), "-o", str(tmp_path / "free")]) == 2


def test_pictures_show_red_green_and_blue(tmp_path: Path) -> None:
    chips, out = write_city(tmp_path), tmp_path / "out"
    ranges = [[1000 + 100 * band - 100, 1000 + 100 * band - 100 + 254 * 4] for band in range(8)]
    ranges[4], ranges[2], ranges[1] = [0, 2540], [0, 5080], [0, 10160]
    stretch_city(chips, out, StretchSettings.checked({"method": "fixed", "ranges": ranges, "bands": "all"}))
    with open_raster(out / "rgb/AOI_9_Toy_chip0.tif") as source:
        assert source.count == 8
    picture = read_mosaic(read_chips(chips), column_paths(out / "rgb.csv", "rgb"), 1000).pixels
    # Band 5 is near 1400 of 2540, band 3 near 1200 of 5080, band 2 near 1100 of 10160.
    assert picture[10, 10].tolist() == pytest.approx([141, 61, 29], abs=15)


@pytest.mark.parametrize(
    ("values", "bands"),
    [
        ({}, 3),
        ({"prepare": {"stretch": {"bands": "all"}}}, 8),
        ({"prepare": {"stretch": {"bands": [5, 3, 2, 7]}}}, 4),
        ({"prepare": {"stretch": {"bands": "all"}}, "train": {"bands": 8}}, 8),
        ({"acquire": {"product": "PS-RGB"}}, 3),
    ],
)
def test_training_follows_the_bands_of_the_images(values: dict[str, object], bands: int) -> None:
    assert check_config({"cities": CITY} | values).train_settings.bands == bands


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"train": {"bands": 8}},
            "train.bands is 8, but prepare.stretch.bands gives the images 3; leave train.bands",
        ),
        (
            {"acquire": {"product": "PS-RGB"}, "prepare": {"stretch": {"bands": "all"}}},
            "needs images of 8 bands, those of acquire.product PS-RGB have 3",
        ),
        ({"prepare": {"stretch": {"bands": [5, 3, 9]}}}, "needs images of 9 bands"),
    ],
)
def test_bands_that_do_not_fit_are_refused_at_once(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config({"cities": CITY} | values)


def test_three_bands_without_a_config() -> None:
    assert TrainSettings().input_bands == 3
