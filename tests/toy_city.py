"""A tiny city for the tests of training and prediction: grey roads on noise, two of seven speed classes."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine

from roadspeed.chips import Chip, write_chips
from roadspeed.files import read_table, write_table
from roadspeed.raster import Grid, write_raster
from roadspeed.speedbins import SpeedBins
from roadspeed.train.checkpoint import save_checkpoint
from roadspeed.train.model import ModelSettings, build_model

PIXEL_DEG = 2.7e-6
TINY_NETWORK = {"encoder": "test_resnet", "decoder_channels": [16, 16, 8, 8, 8], "weights": "random"}
QUICK_TRAINING = TINY_NETWORK | {
    "engine": "native",
    "precision": "fp32",
    "crop_px": 64,
    "crops_per_chip": 4,
    "batch": 4,
}
TIMED = ("seconds", "images_per_s")
"""Columns of metrics that differ from run to run."""


@dataclass(frozen=True)
class ToyCity:
    """Where the tables of a city lie, and its whole image and mask."""

    rgb: Path
    masks: Path
    folds: Path
    chips: Path
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    side_px: int


def make_toy_city(folder: Path, rows: int = 2, columns: int = 3, side_px: int = 128) -> ToyCity:
    """Write a city of rows × columns chips as the stages acquire and prepare would; chip k has fold k mod 3."""
    rng = np.random.default_rng(1)
    height, width = rows * side_px, columns * side_px
    image = rng.integers(30, 120, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for k, cls in enumerate((3, 6) * 3):
        # One street along and one across each strip of chips, of another grey and width for each class.
        at = side_px // 2 + (k // 2) * side_px
        ends = ((0, at), (width, at)) if cls == 3 else ((at, 0), (at, height))
        cv2.line(image, *ends, (250, 250, 250) if cls == 3 else (180, 170, 160), 8 + cls)
        cv2.line(mask, *ends, cls, 8 + cls)
    crs, origin = CRS.from_epsg(4326), Affine(PIXEL_DEG, 0, 10, 0, -PIXEL_DEG, 20)
    chips, images, masks, folds = [], [], [], []
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        chip_id = f"AOI_9_Toy_chip{number}"
        top, left = row * side_px, column * side_px
        grid = Grid(side_px, side_px, crs, origin * Affine.translation(left, top))
        place = slice(top, top + side_px), slice(left, left + side_px)
        write_raster(folder / "rgb" / f"{chip_id}.tif", image[place].transpose(2, 0, 1), grid, 0)
        write_raster(folder / "masks" / f"{chip_id}.tif", mask[place][None], grid)
        path = folder / "rgb" / f"{chip_id}.tif"
        here = (row, column, side_px, side_px, *grid.bounds, "EPSG:4326")
        chips.append(Chip(chip_id, "toy", "train", 9, number, path, None, "roads", *here))
        images.append({"chip_id": chip_id, "rgb": f"rgb/{chip_id}.tif", "valid_share": 1, "note": ""})
        masks.append({"chip_id": chip_id, "mask": f"masks/{chip_id}.tif", "road_share": 0.1, "note": ""})
        folds.append({"city": "toy", "split": "train", "chip_id": chip_id, "fold": number % 3, "note": ""})
    write_chips(folder / "chips.csv", chips)
    write_table(folder / "rgb.csv", images[0], images)
    write_table(folder / "masks.csv", masks[0], masks)
    write_table(folder / "folds.csv", folds[0], folds)
    tables = (folder / f"{name}.csv" for name in ("rgb", "masks", "folds", "chips"))
    return ToyCity(*tables, image=image, mask=mask, side_px=side_px)


def metrics(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a training's metrics without those that differ from run to run."""
    return [{k: v for k, v in row.items() if k not in TIMED} for row in read_table(folder / "metrics.csv")]


def save_network(path: Path, seed: int = 1, fold: int = 0) -> Path:
    """Write a checkpoint of a tiny network with random weights."""
    tiny = ModelSettings(encoder="test_resnet", decoder_channels=(16, 16, 8, 8, 8))
    save_checkpoint(path, build_model(tiny, seed=seed).state_dict(), tiny, SpeedBins(), fold)
    return path
