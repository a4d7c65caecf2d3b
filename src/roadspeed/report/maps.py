"""The map of a city: its mosaic with the roads coloured by speed, and a scale bar."""

import math
from pathlib import Path
from typing import Any

from roadspeed.chips import read_chips
from roadspeed.extract.roads import read_geopackage
from roadspeed.report.mosaic import column_paths, read_mosaic
from roadspeed.report.settings import ReportSettings
from roadspeed.report.style import draw_roads, new_figure, save_figure, speed_scale

_DPI = 100
_MARGIN_IN = 1.4


def draw_city_map(chips: Path, rgb: Path, roads: Path, out: Path, settings: ReportSettings) -> None:
    """Draw the map.

    Args:
        chips: chip table.
        rgb: rgb.csv of the same city and split.
        roads: GeoPackage of the joined road graph, lon/lat.
        out: picture to write.
        settings: size and colour scale.

    Raises:
        InputError: a table or file cannot be read, or there is no chip.
    """
    table = read_chips(chips)
    mosaic = read_mosaic(table, column_paths(rgb, "rgb"), settings.map_px)
    graph = read_geopackage(roads)
    west, east, south, north = mosaic.extent
    metres_per_degree = 111_320 * math.cos(math.radians((south + north) / 2))
    aspect = 1 / math.cos(math.radians((south + north) / 2))
    width_in = settings.map_px / _DPI
    height_in = width_in * (north - south) * aspect / (east - west)
    if height_in > width_in:
        width_in, height_in = width_in * width_in / height_in, width_in
    figure = new_figure(width_in + _MARGIN_IN, height_in + _MARGIN_IN / 2)
    axes = figure.subplots()
    axes.imshow(mosaic.pixels, extent=mosaic.extent, aspect=aspect, interpolation="nearest")
    pixels_per_metre = mosaic.pixels.shape[1] / ((east - west) * metres_per_degree)
    draw_roads(axes, graph.geometry, graph.speed_mph, settings, min(3.0, max(0.8, 3.0 * pixels_per_metre)))
    axes.set(xlim=(west, east), ylim=(south, north))
    axes.set_title(
        f"{table[0].city}, {table[0].split}: {graph.length_m.sum() / 1000:.1f} km of road in {len(table)} chips"
    )
    axes.ticklabel_format(useOffset=False)
    axes.tick_params(labelsize=8)
    figure.colorbar(speed_scale(settings), ax=axes, label="speed (mph)", fraction=0.03, pad=0.01)
    _scale_bar(axes, mosaic.extent, metres_per_degree)
    save_figure(figure, out, _DPI)


def _scale_bar(axes: Any, extent: tuple[float, float, float, float], metres_per_degree: float) -> None:
    """Draw a bar of a round length, about a fifth of the map's width, into its lower left corner."""
    west, east, south, north = extent
    wish_m = (east - west) * metres_per_degree / 5
    power = 10 ** math.floor(math.log10(wish_m))
    length_m = max(step * power for step in (1, 2, 5) if step * power <= wish_m)
    left, bottom = west + (east - west) * 0.03, south + (north - south) * 0.03
    right = left + length_m / metres_per_degree
    for colour, width in (("black", 6), ("white", 3)):
        axes.plot([left, right], [bottom, bottom], color=colour, linewidth=width, solid_capstyle="butt")
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    box = {"facecolor": "black", "alpha": 0.6, "pad": 2, "edgecolor": "none"}
    axes.text(left, bottom + (north - south) * 0.012, text, color="white", fontsize=10, bbox=box)
