"""The picture of a city's grid shows folds, empty and unused chips."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from roadspeed.chips import Chip, write_chips
from roadspeed.errors import InputError
from roadspeed.files import write_table
from roadspeed.prepare.picture import NO_ROAD, NOT_USED, draw_city_grid


def write_city(tmp_path: Path, row: int) -> tuple[Path, Path, Path]:
    chips = [
        Chip(f"c{n}", "c", "train", 1, n, None, None, "roads", row, n, 10, 10, 0, 0, 1, 1, "EPSG:4326")
        for n in range(4)
    ]
    write_chips(tmp_path / "chips.csv", chips)
    shares = ["0.1", "0.2", "0.0", ""]
    masks = [{"chip_id": f"c{n}", "mask": "m" * bool(share), "road_share": share} for n, share in enumerate(shares)]
    write_table(tmp_path / "masks.csv", ("chip_id", "mask", "road_share", "note"), masks)
    folds = [
        {"city": "c", "split": "train", "chip_id": f"c{n}", "fold": fold} for n, fold in enumerate(["0", "1", "", ""])
    ]
    folds.append({"city": "other", "split": "train", "chip_id": "c3", "fold": "2"})
    write_table(tmp_path / "folds.csv", ("city", "split", "chip_id", "fold", "note"), folds)
    return tmp_path / "chips.csv", tmp_path / "masks.csv", tmp_path / "folds.csv"


def share(pixels: np.ndarray, colour: tuple[float, ...]) -> float:
    return float((np.abs(pixels[..., :3] - colour[:3]) < 0.01).all(axis=-1).mean())


def test_picture(tmp_path: Path) -> None:
    draw_city_grid(*write_city(tmp_path, 0), tmp_path / "grid.png")
    pixels = matplotlib.image.imread(tmp_path / "grid.png")
    palette = colormaps["tab10"]
    assert share(pixels, palette(0)) > 0.01
    assert share(pixels, palette(1)) > 0.01
    assert share(pixels, palette(2)) == 0  # the other city's
    assert share(pixels, to_rgb(NO_ROAD)) > 0.01
    assert share(pixels, to_rgb(NOT_USED)) > 0.01


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no chip has a place"):
        draw_city_grid(*write_city(tmp_path, -1), tmp_path / "grid.png")
