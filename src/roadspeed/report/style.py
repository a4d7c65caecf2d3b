"""What all pictures share: figures made without a display, roads coloured by speed, saving in one piece."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from roadspeed.files import atomic
from roadspeed.report.settings import ReportSettings

SPEED_COLOURS = "plasma"


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure that draws into memory; pyplot's global state is left alone."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, dpi: int = 100) -> None:
    """Write a figure as PNG atomically, without a date in it: the same data gives the same bytes."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata={"Software": None})


def speed_scale(settings: ReportSettings) -> ScalarMappable:
    """Return the colour scale of speeds in mph."""
    return ScalarMappable(Normalize(settings.slowest_mph, settings.fastest_mph), SPEED_COLOURS)


def draw_roads(
    axes: Any,
    lines: Sequence[Any] | NDArray[np.object_],
    speed_mph: Any,
    settings: ReportSettings,
    width_pt: float = 2.0,
) -> None:
    """Draw lines coloured by speed, each with a dark rim so that it shows on bright and dark ground.

    Args:
        axes: matplotlib axes in the lines' coordinates.
        lines: shapely LineStrings.
        speed_mph: one speed a line.
        settings: the ends of the colour scale.
        width_pt: line width in points.
    """
    if len(lines) == 0:
        return
    paths = [shapely.get_coordinates(line) for line in lines]
    colours = speed_scale(settings).to_rgba(np.asarray(speed_mph, dtype=float))
    axes.add_collection(LineCollection(paths, colors="black", linewidths=width_pt + 1.2, capstyle="round"))
    axes.add_collection(LineCollection(paths, colors=colours, linewidths=width_pt, capstyle="round"))
