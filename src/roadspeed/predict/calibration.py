"""What a network is calibrated on before it is quantised: windows of the images it was trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from roadspeed.errors import InputError
from roadspeed.files import file_stamp, read_table
from roadspeed.predict.images import WindowedImage
from roadspeed.train.model import MULTIPLE_PX

COUNT = 64
"""Windows, at most; more changed nothing measurable."""
SIDE_PX = 512
TRIES = 8
"""Places tried in an image for a window full of data."""


def training_images(folds: Path, images: Mapping[str, Path | None], fold: int | None) -> list[Path]:
    """Return the images of the chips that a network was trained on, in the order of the folds' table.

    Args:
        folds: table of the folds.
        images: image by chip id, of the cities that were trained on.
        fold: the fold the network was validated on.
    """
    if not folds.is_file():
        raise InputError(f"{folds}: no such table of folds; run the prepare stage first")
    rows = [row for row in read_table(folds) if row["fold"] and row["fold"] != str(fold)]
    return [path for row in rows if (path := images.get(row["chip_id"])) is not None]


def choose(images: Sequence[Path]) -> list[Path]:
    """Return the images to take windows from: evenly spread, repeated when there are fewer than windows wanted."""
    if not images:
        return []
    places = np.linspace(0, len(images), COUNT, endpoint=False).astype(int)
    return [images[place] for place in places]


def stamps(images: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Return what tells whether the windows are the same as before."""
    return [file_stamp(path) for path in dict.fromkeys(choose(images))]


def windows(images: Sequence[Path], bands: int) -> list[NDArray[np.uint8]]:
    """Read the windows: the same for the same images, whatever else happens.

    Returns:
        Arrays (1, bands, H, W) uint8; H and W are 512, or the largest multiple of 32 in a smaller image.

    Raises:
        InputError: an image cannot be used.
    """
    rng = np.random.default_rng(0)
    result = []
    for path in choose(images):
        image = WindowedImage(path, bands)
        try:
            height, width = (min(SIDE_PX, side // MULTIPLE_PX * MULTIPLE_PX) for side in _size(image))
            best, most = None, -1.0
            for _ in range(TRIES):
                row = int(rng.integers(0, image.grid.height - height + 1))
                column = int(rng.integers(0, image.grid.width - width + 1))
                pixels = image.read(Window(column, row, width, height))
                share = float(pixels.any(0).mean())
                if share > most:
                    best, most = pixels, share
                if share == 1 or (height, width) == _size(image):
                    break
        finally:
            image.close()
        assert best is not None
        result.append(np.ascontiguousarray(best)[None])
    return result


def _size(image: WindowedImage) -> tuple[int, int]:
    size = image.grid.height, image.grid.width
    if min(size) < MULTIPLE_PX:
        raise InputError(f"{image.path}: is {size[1]}×{size[0]} px, too small to calibrate on; give larger images")
    return size
