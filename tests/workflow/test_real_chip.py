"""The real SpaceNet chip: a mask from its labels, a graph from the mask, a score, and a network that learns it."""

import json
from pathlib import Path

import numpy as np
import pytest
from rasterio.windows import Window

from roadspeed.cli import main
from roadspeed.files import read_table, write_table
from roadspeed.raster import read_raster, write_raster
from roadspeed.speedbins import SpeedBins
from roadspeed.train.fold import train_fold
from roadspeed.train.settings import AugmentSettings, TrainSettings

LABELS = "vegas_img0/AOI_2_Vegas_img0.geojson"
IMAGE = "vegas_img0/RGB-PanSharpen_AOI_2_Vegas_img0.tif"


def test_labels_to_mask_to_graph_to_score(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, image = str(real_data / LABELS), str(real_data / IMAGE)
    mask, roads = str(tmp_path / "mask.tif"), str(tmp_path / "roads.gpkg")
    assert main(["mask", labels, "--like", image, "--bands", "-o", mask]) == 0
    assert main(["graph", mask, "-o", roads, "--graphml", str(tmp_path / "roads.graphml")]) == 0
    capsys.readouterr()
    assert main(["apls", labels, roads, "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    # The reference's own chain reaches 0.889 by length and 0.857 by time on this chip.
    assert score["apls_length"] > 0.9
    assert score["apls_time"] > 0.87


def test_network_learns_the_real_chip(real_data: Path, tmp_path: Path) -> None:
    image = tmp_path / "rgb" / "img0.tif"
    write_raster(image, *read_raster(real_data / IMAGE, [1, 2, 3], Window(200, 200, 640, 640)))
    assert main(["mask", str(real_data / LABELS), "--like", str(image), "-o", str(tmp_path / "m.tif")]) == 0
    for number in (0, 1):  # the same chip is learned and validated on
        write_table(
            tmp_path / f"rgb{number}.csv", ("chip_id", "rgb"), [{"chip_id": f"c{number}", "rgb": "rgb/img0.tif"}]
        )
        write_table(
            tmp_path / f"masks{number}.csv", ("chip_id", "mask"), [{"chip_id": f"c{number}", "mask": "m.tif"}]
        )
    rows = [{"city": f"v{n}", "split": "train", "chip_id": f"c{n}", "fold": n} for n in (0, 1)]
    write_table(tmp_path / "folds.csv", ("city", "split", "chip_id", "fold", "note"), rows)
    settings = TrainSettings(
        encoder="resnet18", weights="random", decoder_channels=(64, 48, 32, 16, 16), crop_px=256, crops_per_chip=32,
        batch=4, epochs=12, learning_rate=2e-3, ema_decay=0.8,
        augment=AugmentSettings(warp_share=0, colour_share=0),
    )  # fmt: skip
    rgb, masks = ([tmp_path / f"{what}{n}.csv" for n in (0, 1)] for what in ("rgb", "masks"))
    train_fold(tmp_path / "folds.csv", rgb, masks, 0, tmp_path / "fold0", settings, SpeedBins(), threads=2)
    metrics = read_table(tmp_path / "fold0" / "metrics.csv")
    assert float(metrics[-1]["val_loss"]) < 0.8 * float(metrics[0]["val_loss"])
    assert np.mean([float(row["f1_roads"]) for row in metrics[-2:]]) > 0.5
