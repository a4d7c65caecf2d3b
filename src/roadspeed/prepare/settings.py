"""Settings of the prepare stage: 8-bit stretch, speed masks, folds."""

from typing import Literal, Self

from pydantic import Field, model_validator

from roadspeed.settings import Settings

MULTISPECTRAL_BANDS = 8
"""Bands of WorldView's PS-MS."""


class StretchSettings(Settings):
    """How images become 8-bit bands."""

    method: Literal["city", "chip", "fixed", "none"] = "city"
    """Where the ranges come from: the whole `city` (no seams between neighbours), each `chip` for itself (as the
    reference does), `fixed` ranges, or `none` for images that are 8-bit already. With `city`, 8-bit images are
    passed through unchanged too, since somebody stretched them before."""
    bands: Literal["rgb", "all"] | tuple[int, ...] = "rgb"
    """Bands that are written, which decides what the network sees. `rgb`: red, green and blue, which are 5, 3, 2 of
    an image with 8 bands, else the first three. `all`: the eight of PS-MS in their order. Or band numbers from 1,
    red, green and blue first."""
    percentiles: tuple[float, float] = (2.0, 98.0)
    """Lower and upper percentile, of the pixels with data, that become 1 and 255. With `city`, the split without
    labels takes the ranges of the city's train split where the study has that, so that a network sees both alike."""
    ranges: tuple[tuple[float, float], ...] = ()
    """For `fixed`: lower and upper pixel value of each of the bands."""
    min_valid_share: float = Field(default=0.01, ge=0, le=1)
    """A chip with a smaller share of pixels with data is not used; its row says so."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles {low}, {high} must rise within 0 and 100")
        if not isinstance(self.bands, str):
            numbers = list(self.bands)
            if not 3 <= len(numbers) <= 16 or min(numbers) < 1 or len(set(numbers)) < len(numbers):
                raise ValueError(f"bands {numbers} must be 3 to 16 different numbers from 1, or 'rgb' or 'all'")
            if len(numbers) == MULTISPECTRAL_BANDS:
                raise ValueError(f"bands {numbers}: eight bands are taken as PS-MS in its order; give 'all'")
        if self.method == "fixed" and len(self.ranges) != self.count:
            raise ValueError(
                f"method 'fixed' needs a lower and upper value for each of {self.count} bands, found "
                f"{len(self.ranges)}"
            )
        if any(b <= a for a, b in self.ranges):
            raise ValueError(f"ranges {[list(r) for r in self.ranges]} must each rise")
        return self

    @property
    def count(self) -> int:
        """How many bands are written."""
        return {"rgb": 3, "all": MULTISPECTRAL_BANDS}[self.bands] if isinstance(self.bands, str) else len(self.bands)

    @property
    def highest(self) -> int:
        """The least number of bands that an image must have."""
        return self.count if isinstance(self.bands, str) else max(self.bands)


class MaskSettings(Settings):
    """How labels become speed masks."""

    half_width_m: float = Field(default=2.0, gt=0, le=50)
    """Half the width of a road in the mask, in metres."""
    width_by_lanes: bool = False
    """Widen roads by their lanes: half the width is then lanes × lane_width_m / 2, at least half_width_m."""
    lane_width_m: float = Field(default=3.5, gt=0, le=10)
    """Width of a lane in metres; only with width_by_lanes."""


class FoldSettings(Settings):
    """How chips are shared out to training and validation."""

    count: int = Field(default=5, ge=2, le=20)
    """Number of folds; 5 gives 80:20."""
    method: Literal["blocks", "random"] = "blocks"
    """`blocks`: neighbouring chips stay together and every fold gets its share of each city's roads; `random`: chip
    by chip as the reference does, which lets validation see the neighbours of what was trained on."""
    block_chips: int = Field(default=4, ge=1, le=50)
    """Side of a block, in chips; smaller where a city has too few. Larger blocks leak less and balance worse."""
    seed: int = 42
    """Seed; with the chips' names it decides the folds, whatever the order of files."""


class PrepareSettings(Settings):
    """How chips become training data."""

    stretch: StretchSettings = StretchSettings()
    """Images to 8 bits."""
    masks: MaskSettings = MaskSettings()
    """Labels to speed masks."""
    folds: FoldSettings = FoldSettings()
    """Chips to folds."""
