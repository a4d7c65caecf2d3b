"""Images as users have them, 8 or 16 bits, any size, read by window as the networks want them."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from roadspeed.errors import InputError
from roadspeed.predict.settings import PredictSettings
from roadspeed.predict.windows import predict_windows, write_strips
from roadspeed.prepare.settings import StretchSettings
from roadspeed.prepare.stretch import chip_bands, percentile, stretch
from roadspeed.raster import Grid, open_raster

if TYPE_CHECKING:  # inference reads calibration images by this module
    from roadspeed.predict.inference import Predictor

log = logging.getLogger(__name__)

PREVIEW_PX = 2048
"""Largest side of the reduced image that the range of 16-bit values is taken from."""


class WindowedImage:
    """An image that gives 8-bit windows; 0 in all bands is no data.

    Args:
        path: 8-bit images pass through; 16-bit ones are stretched between two percentiles of each band.
        bands: bands the network wants: 3 (red, green, blue are chosen) or all that the image has, in its order.
        settings: of the stretch.

    Raises:
        InputError: the file cannot be read, has too few bands or another pixel type.
    """

    def __init__(self, path: Path, bands: int, settings: StretchSettings | None = None) -> None:
        settings = settings or StretchSettings()
        self.path = path
        self._lock = threading.Lock()  # windows are read ahead in another thread; GDAL's files allow one at a time
        self._source = open_raster(path)
        source = self._source
        self.grid = Grid(source.width, source.height, source.crs, source.transform)
        try:
            self.bands = chip_bands(source.count, settings) if bands == 3 else tuple(range(1, bands + 1))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        kinds = source.colorinterp
        if bands != 3 and bands != source.count - kinds.count(ColorInterp.alpha):
            raise InputError(f"{path}: has {source.count} bands; the network wants {bands}, in its training's order")
        if source.dtypes[0] not in ("uint8", "uint16"):
            raise InputError(f"{path}: pixels are {source.dtypes[0]}; expected uint8 or uint16")
        self._alpha = next((i + 1 for i, kind in enumerate(kinds) if kind == ColorInterp.alpha), None)
        self.ranges = self._percentiles(settings) if source.dtypes[0] == "uint16" else None

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return (bands, rows, columns) uint8 of a window inside the image."""
        pixels, valid = self._pixels(window, None)
        return stretch(pixels, self.ranges, valid)

    def _pixels(self, window: Window, shape: tuple[int, int] | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        try:
            with self._lock:
                out_shape = shape and (len(self.bands), *shape)
                pixels = self._source.read(list(self.bands), window=window, out_shape=out_shape)
                alpha = self._source.read(self._alpha, window=window, out_shape=shape) if self._alpha else None
        except RasterioError as error:
            raise InputError(f"{self.path}: pixels cannot be read ({error}); the file may be cut short") from error
        valid = pixels.any(0)
        if alpha is not None:
            valid &= alpha > 0
        if self._source.nodata:
            valid &= (pixels != self._source.nodata).any(0)
        return pixels, valid

    def _percentiles(self, settings: StretchSettings) -> Sequence[tuple[float, float]]:
        """Take each band's range from a reduced image: enough for percentiles, and memory stays bounded."""
        step = max(1.0, max(self.grid.height, self.grid.width) / PREVIEW_PX)
        shape = max(1, round(self.grid.height / step)), max(1, round(self.grid.width / step))
        pixels, valid = self._pixels(Window(0, 0, self.grid.width, self.grid.height), shape)
        if not valid.any():
            return [(0.0, 1.0)] * len(self.bands)
        ranges = []
        for band in pixels:
            counts = np.bincount(band[valid], minlength=2)
            low, high = (percentile(counts, percent) for percent in settings.percentiles)
            ranges.append((low, max(high, low + 1)))
        log.info("%s: ranges %s", self.path.name, ", ".join(f"{low:.0f} to {high:.0f}" for low, high in ranges))
        return ranges

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def predict_image(path: Path, target: Path, predictor: "Predictor", settings: PredictSettings) -> None:
    """Write the probabilities of one image of any size as a GeoTIFF of one band a speed bin and one for all roads.

    Raises:
        InputError: the image cannot be used.
    """
    image = WindowedImage(path, predictor.bands)
    try:
        size = image.grid.height, image.grid.width
        strips = predict_windows(image.read, size, predictor.scaled, settings, f"prediction of {path.name}")
        write_strips(target, strips, image.grid, predictor.band_names)
    finally:
        image.close()
