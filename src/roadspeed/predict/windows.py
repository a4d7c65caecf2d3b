"""Images of any size through a network, window by window, with bounded memory.

Strategy: windows of equal size lie evenly over the image and overlap; each weighs less towards the sides where
a neighbour takes over, and the weights of all windows add up to 1 at each pixel. Rows of windows are summed in
a strip as wide as the image; rows that no later window reaches are written and forgotten, so memory grows with
the image's width only.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from roadspeed.files import atomic
from roadspeed.host.cpus import use_own_cpus
from roadspeed.predict.settings import PredictSettings
from roadspeed.progress import Progress
from roadspeed.raster import TILE_PX, Grid
from roadspeed.train.model import MULTIPLE_PX

log = logging.getLogger(__name__)

Probabilities = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""From (bands, H, W) uint8 to (C, H, W), linear in probability."""


@dataclass(frozen=True)
class Span:
    """One window's part of a side of the image."""

    start: int
    stop: int
    weight: NDArray[np.float32]
    """(stop − start,), adding up to 1 with the other spans' at each pixel."""


def spans(size_px: int, window_px: int, overlap_px: int) -> list[Span]:
    """Divide a side of an image into overlapping windows.

    Args:
        size_px: length of the side.
        window_px: length of a window; a shorter side gets one window of its own length.
        overlap_px: least overlap of neighbours.
    """
    if size_px <= window_px:
        return [Span(0, size_px, np.ones(size_px, np.float32))]
    count = -(-(size_px - overlap_px) // (window_px - overlap_px))
    starts = np.linspace(0, size_px - window_px, count).round().astype(int)
    raw = np.zeros((count, size_px), np.float32)
    ramp = (np.arange(window_px) + 0.5) / max(1, overlap_px)
    for number, start in enumerate(starts):
        weight = np.ones(window_px)
        if number > 0:
            weight = np.minimum(weight, ramp)
        if number < count - 1:
            weight = np.minimum(weight, ramp[::-1])
        raw[number, start : start + window_px] = weight
    raw /= raw.sum(0)
    return [Span(int(s), int(s) + window_px, raw[i, s : s + window_px]) for i, s in enumerate(starts)]


def network_shape(height: int, width: int, settings: PredictSettings) -> tuple[int, int]:
    """Return rows and columns of what the network gets for an image of this size: of its windows, or all of it."""
    whole = max(height, width) <= settings.whole_px
    rows, columns = (height, width) if whole else (min(height, settings.window_px), min(width, settings.window_px))
    return rows + -rows % MULTIPLE_PX, columns + -columns % MULTIPLE_PX


def predict_windows(
    read: Callable[[Window], NDArray[np.uint8]],
    size: tuple[int, int],
    predict: Probabilities,
    settings: PredictSettings,
    what: str,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield finished strips of an image's probabilities from north to south.

    Args:
        read: gives (bands, h, w) of a window inside the image.
        size: rows and columns of the image.
        predict: the network.
        settings: window, overlap, and the size up to which an image goes in one piece.
        what: for the progress line.

    Yields:
        The strip's first row, and (C, rows, columns) float32 in the network's scale; strips begin at multiples
        of the file's tile size.
    """
    whole = max(size) <= settings.whole_px
    window_px = max(size) if whole else settings.window_px
    rows, columns = (spans(length, window_px, settings.overlap_px) for length in size)
    places = [(r, c) for r in range(len(rows)) for c in range(len(columns))]
    strip, first = np.zeros((0, 0, 0), np.float32), 0
    with Progress(what, len(places), "window") as progress, ThreadPoolExecutor(1, initializer=use_own_cpus) as reader:

        def fetch(place: tuple[int, int]) -> NDArray[np.uint8]:
            row, column = rows[place[0]], columns[place[1]]
            return read(Window(column.start, row.start, column.stop - column.start, row.stop - row.start))

        ahead = reader.submit(fetch, places[0])
        for number, (r, c) in enumerate(places):
            image = ahead.result()
            if number + 1 < len(places):
                ahead = reader.submit(fetch, places[number + 1])
            row, column = rows[r], columns[c]
            result = predict(_padded(image))[:, : image.shape[1], : image.shape[2]]
            if row.stop > first + strip.shape[1]:
                grown = np.zeros((result.shape[0], row.stop - first, size[1]), np.float32)
                if strip.size:
                    grown[:, : strip.shape[1]] = strip
                strip = grown
            weight = row.weight[:, None] * column.weight
            strip[:, row.start - first : row.stop - first, column.start : column.stop] += result * weight
            progress.update()
            if c == len(columns) - 1:
                reached = rows[r + 1].start // TILE_PX * TILE_PX if r + 1 < len(rows) else size[0]
                if reached > first:
                    yield first, strip[:, : reached - first]
                    strip, first = strip[:, reached - first :].copy(), reached


def write_strips(
    path: Path, strips: Iterator[tuple[int, NDArray[np.float32]]], grid: Grid, descriptions: Sequence[str]
) -> None:
    """Write strips, rounded to uint8, to one tiled, compressed GeoTIFF, atomically.

    Args:
        path: the file to make.
        strips: first row and (bands, rows, columns) in 0 … 255, from north to south.
        grid: where the image lies.
        descriptions: a name a band.
    """
    profile = {
        "driver": "GTiff",
        "count": len(descriptions),
        "height": grid.height,
        "width": grid.width,
        "dtype": "uint8",
        "crs": grid.crs,
        "transform": grid.transform,
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 2,
        "interleave": "band",
        "BIGTIFF": "IF_SAFER",
    }
    if min(grid.height, grid.width) >= TILE_PX:
        profile |= {"tiled": True, "blockxsize": TILE_PX, "blockysize": TILE_PX}
    with atomic(path) as temporary, rasterio.open(temporary, "w", **profile) as target:
        for band, text in enumerate(descriptions, 1):
            target.set_band_description(band, text)
        for first, strip in strips:
            window = Window(0, first, strip.shape[2], strip.shape[1])
            target.write(strip.round().clip(0, 255).astype(np.uint8), window=window)


def _padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill up to multiples of 32 by reflection below and at the right."""
    down, right = -image.shape[1] % MULTIPLE_PX, -image.shape[2] % MULTIPLE_PX
    return np.pad(image, ((0, 0), (0, down), (0, right)), "symmetric") if down or right else image
