"""A picture of a city's chips on its grid: road density, folds, and what is empty or cannot be used."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadspeed.chips import Chip, read_chips
from roadspeed.errors import InputError
from roadspeed.files import atomic, read_table

NOT_USED, NO_ROAD = "#d9d9d9", "#f2efe6"


def draw_city_grid(chips: Path, masks: Path, folds: Path, out: Path) -> None:
    """Draw a city's grid twice, side by side: road density, and the folds.

    A chip without road is beige; one that cannot be used is grey with a cross. Chips without a place on the grid are
    counted below.

    Args:
        chips: the city's chip table.
        masks: its masks.csv.
        folds: folds.csv; rows of other cities are passed over.
        out: the PNG to write.

    Raises:
        InputError: a table is missing, or no chip has a place on the grid.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    table = read_chips(chips)
    placed = [chip for chip in table if chip.row >= 0]
    if not placed:
        raise InputError(f"{chips}: no chip has a place on the grid, so there is nothing to draw")
    road_share = {row["chip_id"]: row["road_share"] for row in _read(masks)}
    city, split = table[0].city, table[0].split
    fold = {row["chip_id"]: row["fold"] for row in _read(folds) if (row["city"], row["split"]) == (city, split)}

    shape = (max(chip.row for chip in placed) + 1, max(chip.column for chip in placed) + 1)
    side = min(7.0, max(3.0, 0.16 * max(shape)))
    figure = Figure(
        figsize=(2 * side * max(0.6, shape[1] / shape[0]) + 1.5, side + 1.2), dpi=120, layout="constrained"
    )
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)

    density = np.full(shape, np.nan)
    for chip in placed:
        if road_share.get(chip.chip_id):
            density[chip.row, chip.column] = 100 * float(road_share[chip.chip_id])
    shown = np.ma.masked_where(~(density > 0), density)
    colours = colormaps["viridis"]
    left.imshow(_background(shape, placed, road_share), interpolation="nearest")
    image = left.imshow(shown, cmap=colours, vmin=0, interpolation="nearest")
    figure.colorbar(image, ax=left, shrink=0.8, label="road share of pixels, %")
    left.set_title("road density")

    numbers = sorted({int(value) for value in fold.values() if value})
    palette = colormaps["tab10" if len(numbers) <= 10 else "tab20"]
    picture = _background(shape, placed, road_share)
    for chip in placed:
        if fold.get(chip.chip_id):
            picture[chip.row, chip.column] = palette(int(fold[chip.chip_id]) % palette.N)[:3]
    right.imshow(picture, interpolation="nearest")
    right.set_title("folds")
    handles = [
        Patch(
            color=palette(number % palette.N), label=f"fold {number}: {list(fold.values()).count(str(number))} chips"
        )
        for number in numbers
    ]
    empty = [chip for chip in placed if road_share.get(chip.chip_id) and float(road_share[chip.chip_id]) == 0]
    unused = [chip for chip in placed if not fold.get(chip.chip_id)]
    handles.append(Patch(facecolor=NO_ROAD, edgecolor="grey", label=f"without road: {len(empty)}"))
    handles.append(Patch(facecolor=NOT_USED, edgecolor="grey", label=f"not used: {len(unused)}"))
    for axes in (left, right):
        axes.scatter([c.column for c in unused], [c.row for c in unused], marker="x", s=12, c="grey", linewidths=0.8)
    right.scatter([c.column for c in empty], [c.row for c in empty], marker="o", s=6, c=NO_ROAD, linewidths=0)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="small", frameon=False)
    without = len(table) - len(placed)
    figure.suptitle(
        f"{city} {split}: {len(table)} chips" + (f", {without} of them not on the grid" if without else "")
    )
    for axes in (left, right):
        axes.set_xlabel("column")
        axes.set_ylabel("row")
    with atomic(out) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


def _background(shape: tuple[int, int], placed: list[Chip], road_share: Mapping[str, str]) -> NDArray[np.float64]:
    """Return an RGB picture: white where there is no chip, beige without road, grey where unknown."""
    from matplotlib.colors import to_rgb

    picture = np.ones((*shape, 3))
    for chip in placed:
        share = road_share.get(chip.chip_id, "")
        picture[chip.row, chip.column] = to_rgb(NO_ROAD if share and float(share) == 0 else NOT_USED)
    return picture


def _read(path: Path) -> list[dict[str, str]]:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such table; run the prepare stage first")
    return read_table(path)
