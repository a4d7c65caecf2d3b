"""Training crops: drawn by number, read by window, augmented; the same for the same seed, epoch and number."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from roadspeed.errors import InputError
from roadspeed.raster import open_raster
from roadspeed.speedbins import SpeedBins, expand_mask
from roadspeed.train.augment import Warp, cut, draw_matrix, recolour, source_window, turn
from roadspeed.train.chips import ChipIndex, LabelledChip
from roadspeed.train.settings import TrainSettings

OPEN_FILES = 64
"""Files each reading thread keeps open."""


@dataclass(frozen=True)
class Crop:
    """One training example."""

    image: NDArray[np.uint8]
    """(side, side, bands)."""
    target: NDArray[np.uint8]
    """(channels, side, side), 0 or 255."""
    name: str
    """Chip and place, for messages."""


class CropSource:
    """All crops of a fold's training, by epoch and number.

    Strategy: every random choice of a crop comes from a generator seeded with (seed, epoch, number), so that it
    does not matter which process makes it, nor where a resumed training starts. Only the window a crop needs is
    read, from files kept open. A share of the crops lies on a pixel of a speed class drawn with the square root
    of the classes' frequency, the rest anywhere in the chips in turn.
    """

    def __init__(
        self, chips: Sequence[LabelledChip], indexes: Sequence[ChipIndex], settings: TrainSettings, bins: SpeedBins
    ) -> None:
        self.chips, self.indexes, self.settings, self.bins = list(chips), list(indexes), settings, bins
        pixels = np.sum([index.pixels for index in indexes], 0)[1:]
        weights = np.sqrt(pixels)
        self.class_share = weights / weights.sum() if pixels.sum() else weights
        self.with_class = [
            [place for place, index in enumerate(indexes) if len(index.points[c])] for c in range(bins.count)
        ]
        self._files = threading.local()
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.chips) * self.settings.crops_per_chip

    def place(self, epoch: int, number: int) -> tuple[int, Warp, np.random.Generator]:
        """Return chip, place and the generator for the rest of a crop's random choices."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, epoch, number))
        matrix = draw_matrix(settings.augment, rng)
        rare, cls_draw, chip_draw, point_draw = rng.random(4)
        shift = rng.random(2)
        if rare < settings.rare_share and self.class_share.any():
            cls = int(np.searchsorted(np.cumsum(self.class_share), cls_draw * self.class_share.sum(), side="right"))
            cls = min(cls, self.bins.count - 1)
            chip = self.with_class[cls][int(chip_draw * len(self.with_class[cls]))]
            index = self.indexes[chip]
            x, y = index.points[cls][int(point_draw * len(index.points[cls]))]
            centre = np.array([x, y]) + (shift - 0.5) * settings.crop_px * 0.5
        else:
            chip = int(self._epoch_order(epoch)[number])
            index = self.indexes[chip]
            centre = shift * (index.width, index.height)
        low = (settings.crop_px - 1) / 2
        size = np.array([index.width, index.height])
        # Inside the chip where it is large enough, in its middle where not; on whole pixels.
        start = np.clip(np.round(centre - low), 0, np.maximum(0, size - settings.crop_px))
        start = np.where(size < settings.crop_px, (size - settings.crop_px) // 2, start)
        return chip, Warp(float(start[0] + low), float(start[1] + low), matrix), rng

    def crop(self, epoch: int, number: int) -> Crop:
        """Return crop `number` (from 0, below `len`) of an epoch.

        Raises:
            InputError: a file has become unreadable.
        """
        side = self.settings.crop_px
        chip_number, warp, rng = self.place(epoch, number)
        chip, index = self.chips[chip_number], self.indexes[chip_number]
        left, top, right, bottom = source_window(warp, side, index.width, index.height)
        window = Window(left, top, right - left, bottom - top)
        bands = list(range(1, self.settings.input_bands + 1))
        image = np.ascontiguousarray(self._read(chip.image, bands, window).transpose(1, 2, 0))
        mask = self._read(chip.mask, [1], window)[0]
        image = cut(image, left, top, warp, side, smooth=True)
        mask = cut(mask, left, top, warp, side, smooth=False)
        image = recolour(image, self.settings.augment, rng)
        symmetry = int(rng.integers(8)) if self.settings.augment.flips else 0
        target = expand_mask(np.ascontiguousarray(turn(mask, symmetry)), self.bins)
        name = f"{chip.chip_id} at column {warp.centre_x:.0f}, row {warp.centre_y:.0f}"
        return Crop(np.ascontiguousarray(turn(image, symmetry)), target, name)

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        known, order = self._order
        if known != epoch:
            rng = np.random.default_rng((self.settings.seed, epoch))
            each = np.arange(len(self.chips))
            order = np.concatenate([rng.permutation(each) for _ in range(self.settings.crops_per_chip)])
            self._order = (epoch, order)
        return order

    def _read(self, path: Any, bands: list[int], window: Window) -> NDArray[np.uint8]:
        """Read a window from a file that stays open. GDAL's files must not be shared by threads: each has its own."""
        files: OrderedDict[Any, Any] | None = getattr(self._files, "open", None)
        if files is None:
            files = self._files.open = OrderedDict()
        source = files.get(path)
        if source is None:
            source = files[path] = open_raster(path)
            if len(files) > OPEN_FILES:
                files.popitem(last=False)[1].close()
        files.move_to_end(path)
        try:
            return source.read(bands, window=window)
        except RasterioError as error:
            raise InputError(f"{path}: pixels cannot be read ({error}); the file may be cut short") from error

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind when sent to a worker process."""
        return {name: value for name, value in self.__dict__.items() if name != "_files"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._files = threading.local()
