"""Chips side by side: image, labels, probability of road, and the graph that came out, with its score."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roadspeed.chips import Chip, read_chips
from roadspeed.extract.roads import read_geopackage
from roadspeed.files import read_table
from roadspeed.prepare.labels import read_labels
from roadspeed.raster import open_raster, read_raster, rgb_bands
from roadspeed.report.mosaic import column_paths
from roadspeed.report.settings import ReportSettings
from roadspeed.report.style import draw_roads, new_figure, save_figure, speed_scale

_PANEL_IN = 4.0


def draw_chips(
    chips: Path, rgb: Path, shards: Sequence[Path], graphs: Path, scores: Path, out: Path, settings: ReportSettings
) -> None:
    """Draw some chips of a labelled city, from the best scored by travel time to the worst, evenly chosen.

    Chips that the network did not learn from come first; chips without a score are drawn when no other is there.

    Args:
        chips: chip table.
        rgb: rgb.csv of the city.
        shards: shard tables of its prediction.
        graphs: GeoPackage with one road graph a chip.
        scores: scores.csv of the city.
        out: picture to write.
        settings: how many chips, and the colour scale.

    Raises:
        InputError: a table or file cannot be read.
    """
    table = {chip.chip_id: chip for chip in read_chips(chips)}
    pictures = column_paths(rgb, "rgb")
    probabilities = {key: path for shard in shards for key, path in column_paths(shard, "probability").items()}
    graph = read_geopackage(graphs)
    score = {row["chip_id"]: row for row in read_table(scores)}
    chosen = [chip_id for chip_id in _choose(score, settings.chips) if chip_id in pictures]
    figure = new_figure(4 * _PANEL_IN + 0.8, max(1, len(chosen)) * (_PANEL_IN + 0.25))
    panels = figure.subplots(max(1, len(chosen)), 4, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for row, chip_id in zip(panels, chosen, strict=False):
        chip = table[chip_id]
        with open_raster(pictures[chip_id]) as source:
            bands = list(rgb_bands(source.count))
        image = np.moveaxis(read_raster(pictures[chip_id], bands)[0], 0, 2)
        mine = graph.chip == chip_id
        _show(row[0], image, chip, f"{chip_id} ({score[chip_id]['role']})")
        _show(row[1], image // 2, chip, f"labels: {chip.label_state}")
        if chip.label is not None:
            labels = read_labels(chip.label)
            draw_roads(row[1], labels.lines, labels.speed_mph, settings)
        if chip_id in probabilities:
            with_road = read_raster(probabilities[chip_id])[0][-1]
            _show(row[2], np.repeat(with_road[:, :, None], 3, axis=2), chip, "probability of road")
        _show(row[3], image // 2, chip, f"graph: {_score_text(score[chip_id])}")
        draw_roads(row[3], graph.geometry[mine], graph.speed_mph[mine], settings)
    figure.colorbar(speed_scale(settings), ax=panels, label="speed (mph)", fraction=0.02, pad=0.01)
    save_figure(figure, out, 80)


def _choose(scores: dict[str, dict[str, str]], count: int) -> list[str]:
    """Return chip ids from the best score to the worst, evenly chosen among chips not learned from."""
    scored = [row for row in scores.values() if row["apls_time"] and row["label_state"] == "roads"]
    unseen = [row for row in scored if row["role"] != "train"] or scored or list(scores.values())
    ranked = sorted(unseen, key=lambda row: (-float(row["apls_time"] or 0), row["chip_id"]))
    picks = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int))
    return [ranked[index]["chip_id"] for index in picks]


def _score_text(row: dict[str, str]) -> str:
    if not row["apls_time"]:
        return "not scored"
    return f"APLS {float(row['apls_length']):.2f} by length, {float(row['apls_time']):.2f} by time"


def _show(axes: Any, image: object, chip: Chip, title: str) -> None:
    """Show an image in the chip's own coordinates."""
    extent = (chip.west, chip.east, chip.south, chip.north)
    axes.imshow(image, extent=extent, aspect="auto")
    axes.set(xlim=(chip.west, chip.east), ylim=(chip.south, chip.north))
    axes.set_title(title, fontsize=9)
