"""Speed bins: which mask class a speed in mph belongs to, and which speed a class stands for."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator

from roadspeed.settings import Settings

MPH_TO_MPS = 0.44704


class SpeedBins(Settings):
    """Classes of speed. Class 0 is background, class i (from 1) holds speeds in (upper[i-2], upper[i-1]]."""

    upper_mph: tuple[float, ...] = (10, 20, 30, 40, 50, 60, 70)
    """Upper edge of each bin in mph, rising; the reference's are seven bins of 10 mph."""
    value_mph: tuple[float, ...] = (15, 20, 25, 35, 45, 55, 65)
    """Speed each bin stands for when a graph is made: the most common label speed inside it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.upper_mph) != len(self.value_mph):
            raise ValueError(f"{len(self.upper_mph)} upper edges but {len(self.value_mph)} values; give as many")
        if not 1 <= len(self.upper_mph) <= 31:
            raise ValueError(f"{len(self.upper_mph)} bins; 1 to 31 are possible")
        if any(b <= a for a, b in zip((0.0, *self.upper_mph), self.upper_mph, strict=False)):
            raise ValueError(f"upper edges {self.upper_mph} must be positive and rise")
        return self

    @property
    def count(self) -> int:
        """Number of bins, without the background."""
        return len(self.upper_mph)

    @property
    def bands(self) -> int:
        """Bands of a prediction: one a bin, then all roads."""
        return self.count + 1

    def classes(self, speed_mph: ArrayLike) -> NDArray[np.uint8]:
        """Return the class (1 … count) of each speed in mph; speeds above the last edge get the last class."""
        index = np.searchsorted(np.asarray(self.upper_mph), np.asarray(speed_mph, dtype=float), side="left")
        return (np.minimum(index, self.count - 1) + 1).astype(np.uint8)


def expand_mask(mask: NDArray[np.uint8], bins: SpeedBins) -> NDArray[np.uint8]:
    """Turn a one-band speed mask into one channel a bin and a last one for all roads.

    Args:
        mask: (rows, columns) uint8, 0 background, 1 … bins.count the bin.
        bins: the bins the mask was made with.

    Returns:
        (bins.count + 1, rows, columns) uint8, 0 or 255.
    """
    classes = np.arange(1, bins.count + 1, dtype=np.uint8)[:, None, None]
    bands = np.empty((bins.bands, *mask.shape), np.uint8)
    np.multiply(mask[None] == classes, np.uint8(255), out=bands[:-1], casting="unsafe")
    np.multiply(mask > 0, np.uint8(255), out=bands[-1], casting="unsafe")
    return bands
