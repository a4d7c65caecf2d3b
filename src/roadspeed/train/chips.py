"""The chips of a fold: which are trained on and which validate, and where their roads of each speed lie."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadspeed.errors import InputError, TrainingError
from roadspeed.files import read_table
from roadspeed.raster import read_grid, read_raster
from roadspeed.speedbins import SpeedBins

log = logging.getLogger(__name__)

POINTS_PER_CLASS = 64


@dataclass(frozen=True)
class LabelledChip:
    """A chip with an image and a mask."""

    chip_id: str
    fold: int
    image: Path
    mask: Path


@dataclass(frozen=True)
class ChipIndex:
    """What is known of a training chip before its pixels are read again."""

    width: int
    height: int
    pixels: NDArray[np.int64]
    """(classes + 1,) number of pixels of each class, background first."""
    points: tuple[NDArray[np.int32], ...]
    """For each class but the background, up to 64 of its pixels as (n, 2) x, y."""


def read_fold_chips(folds: Path, images: Sequence[Path], masks: Sequence[Path]) -> list[LabelledChip]:
    """Read the tables and return every chip that has a fold, an image and a mask, in the folds table's order.

    Args:
        folds: table with city, split, chip_id, fold.
        images: tables with chip_id, rgb (a path relative to the table's folder, or empty).
        masks: tables with chip_id, mask, likewise.

    Raises:
        InputError: a table is missing, or lacks its columns, or has a chip with a fold but without files.
    """
    image_of, mask_of = _paths(images, "rgb"), _paths(masks, "mask")
    chips = []
    for row in _rows(folds, ("chip_id", "fold")):
        if not row["fold"]:
            continue
        chip_id = row["chip_id"]
        if chip_id not in image_of or chip_id not in mask_of:
            lacking = "image" if chip_id not in image_of else "mask"
            raise InputError(f"{folds}: chip {chip_id} has fold {row['fold']} but no {lacking}; make the folds again")
        chips.append(LabelledChip(chip_id, int(row["fold"]), image_of[chip_id], mask_of[chip_id]))
    return chips


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such table; run the prepare stage first")
    rows = read_table(path)
    if rows and not set(columns) <= set(rows[0]):
        raise InputError(f"{path}: has columns {', '.join(rows[0])}; expected {', '.join(columns)} among them")
    return rows


def _paths(tables: Sequence[Path], column: str) -> dict[str, Path]:
    result: dict[str, Path] = {}
    for table in tables:
        for row in _rows(table, ("chip_id", column)):
            if row[column]:
                if row["chip_id"] in result:
                    raise InputError(
                        f"{table}: chip {row['chip_id']} occurs in another table too; chip ids must be unique"
                    )
                result[row["chip_id"]] = table.parent / row[column]
    return result


def split_fold(chips: Sequence[LabelledChip], fold: int) -> tuple[list[LabelledChip], list[LabelledChip]]:
    """Return the training chips and the validation chips of a fold.

    Raises:
        TrainingError: one of them is empty.
    """
    train = [chip for chip in chips if chip.fold != fold]
    validation = [chip for chip in chips if chip.fold == fold]
    if not train or not validation:
        raise TrainingError(
            f"fold {fold} has {len(train)} training and {len(validation)} validation chips, of {len(chips)} with a "
            "fold; both need at least one: look at the notes in the folds table"
        )
    return train, validation


def index_chip(chip: LabelledChip, bins: SpeedBins, bands: int) -> ChipIndex:
    """Read a chip's mask once, and keep its size, class counts and some pixels of each class.

    Raises:
        InputError: image and mask differ in size, the image lacks bands, or the mask has a class above the bins.
    """
    from roadspeed.raster import open_raster

    with open_raster(chip.image) as source:
        count, shape, dtype = source.count, (source.height, source.width), source.dtypes[0]
    grid = read_grid(chip.mask)
    if shape != (grid.height, grid.width):
        raise InputError(
            f"{chip.mask}: is {grid.width}×{grid.height}, its image {shape[1]}×{shape[0]}; make masks again"
        )
    if count != bands or dtype != "uint8":
        raise InputError(
            f"{chip.image}: has {count} bands {dtype}; expected {bands} uint8: train.bands must be what "
            "prepare.stretch.bands writes"
        )
    mask = read_raster(chip.mask, [1])[0][0]
    if mask.max(initial=0) > bins.count:
        raise InputError(f"{chip.mask}: has class {mask.max()}, but there are {bins.count} bins; make masks again")
    pixels = np.bincount(mask.ravel(), minlength=bins.count + 1).astype(np.int64)
    points = []
    for cls in range(1, bins.count + 1):
        flat = np.flatnonzero(mask == cls)
        # Evenly spread over the class's pixels in reading order: the same at each run, no seed needed.
        flat = (
            flat[np.linspace(0, len(flat) - 1, min(len(flat), POINTS_PER_CLASS)).astype(int)] if len(flat) else flat
        )
        points.append(np.stack([flat % grid.width, flat // grid.width], 1).astype(np.int32))
    return ChipIndex(grid.width, grid.height, pixels, tuple(points))


def index_chips(chips: Sequence[LabelledChip], bins: SpeedBins, bands: int, threads: int) -> list[ChipIndex]:
    """Index all chips; see `index_chip`. Threads suffice: GDAL and numpy work outside Python's lock."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        return list(pool.map(lambda chip: index_chip(chip, bins, bands), chips))
