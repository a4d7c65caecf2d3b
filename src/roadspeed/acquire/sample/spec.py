"""One sample city's ground rules: its chips, how pixels, metres and degrees belong together, its odd chips.

Three frames are used. City metres: x east, y south, from the north-west corner of the train grid. Pixels of
the city: the same origin, one unit a pixel of a chip, so chip borders are whole numbers. Plan metres (p, q):
city metres turned by the street grid's angle about the middle of the train grid.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.looks import PIXEL_DEG, Look

HOLE_MIN_CHIPS = 9
"""Grids with fewer chips keep all of them for roads; from here on one chip has none."""
MISSING_MIN_CHIPS = 4
"""Likewise for the chip without a label file."""
NODATA_SHARE = 0.42
"""Where the image strip's edge cuts the borders of the grid's corner chip, as a share of the chip."""

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A chip's place: its split and its row and column on the city's grid, which both splits share."""

    split: str
    row: int
    column: int
    number: int


@dataclass(frozen=True)
class CitySpec:
    """All that a sample city follows from."""

    look: Look
    index: int
    seed: int
    rows: int
    columns: int
    chip_px: int

    @cached_property
    def pixel_m(self) -> tuple[float, float]:
        """Width and height of a pixel in metres (WGS 84, series for the length of a degree)."""
        lat = math.radians(self.look.lat)
        east = 111412.84 * math.cos(lat) - 93.5 * math.cos(3 * lat) + 0.118 * math.cos(5 * lat)
        north = 111132.954 - 559.822 * math.cos(2 * lat) + 1.175 * math.cos(4 * lat)
        return PIXEL_DEG * east, PIXEL_DEG * north

    @cached_property
    def chip_m(self) -> tuple[float, float]:
        """Width and height of a chip in metres."""
        return self.chip_px * self.pixel_m[0], self.chip_px * self.pixel_m[1]

    def rng(self, *where: int) -> np.random.Generator:
        """Return random numbers that depend on the seed, the city and `where` (whole numbers) only."""
        return np.random.default_rng([self.seed, self.index, *(w + 100_000 for w in where)])

    def places(self, split: str) -> list[Place]:
        """Return the chips of a split, row by row; the test chips lie east of the train grid."""
        if split == "train":
            rows, columns, start = self.rows, self.columns, 0
        else:
            rows, columns, start = max(1, self.rows // 2), max(1, self.columns // 2), self.columns
        return [Place(split, r, start + c, r * columns + c) for r in range(rows) for c in range(columns)]

    def chip_bounds_m(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1 of a chip in city metres."""
        width, height = self.chip_m
        return column * width, row * height, (column + 1) * width, (row + 1) * height

    @cached_property
    def extent_m(self) -> tuple[float, float]:
        """Width and height of train grid and test block in metres."""
        return (self.columns + max(1, self.columns // 2)) * self.chip_m[0], self.rows * self.chip_m[1]

    @cached_property
    def _turn(self) -> tuple[float, float, float, float]:
        angle = math.radians(self.look.rotation_deg)
        centre = self.columns * self.chip_m[0] / 2, self.rows * self.chip_m[1] / 2
        return math.cos(angle), math.sin(angle), *centre

    def to_plan(self, points: Points) -> Points:
        """Turn city metres (n, 2) into plan metres."""
        cos, sin, xc, yc = self._turn
        x, y = points[:, 0] - xc, points[:, 1] - yc
        return np.column_stack([cos * x + sin * y, cos * y - sin * x])

    def to_city(self, points: Points) -> Points:
        """Turn plan metres (n, 2) into city metres."""
        cos, sin, xc, yc = self._turn
        p, q = points[:, 0], points[:, 1]
        return np.column_stack([cos * p - sin * q + xc, sin * p + cos * q + yc])

    def plan_bounds(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Return p0, q0, p1, q1 around a rectangle of city metres."""
        corners = self.to_plan(np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)]))
        low, high = corners.min(axis=0), corners.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @cached_property
    def hole(self) -> tuple[int, int] | None:
        """Row and column of the train chip that is kept free of roads: a corner, not the one without data."""
        if self.rows * self.columns < HOLE_MIN_CHIPS:
            return None
        corners = [(self.rows - 1, 0), (self.rows - 1, self.columns - 1)]
        return corners[(self.seed + self.index) % 2]

    @cached_property
    def missing_label(self) -> tuple[int, int] | None:
        """Row and column of the train chip whose label file is left out: in the first city only."""
        if self.index or self.rows * self.columns < MISSING_MIN_CHIPS:
            return None
        return min(1, self.rows - 1), self.columns - 1

    @cached_property
    def nodata_line(self) -> tuple[float, float, float]:
        """a, b, c of the image strip's edge in pixels of the city: no data where a·x + b·y < c (north-west)."""
        reach = NODATA_SHARE * self.chip_px
        return 1.0, 0.8, reach

    @cached_property
    def shadow(self) -> Points:
        """How far a shadow reaches a metre of height: (x, y) in city metres."""
        azimuth, elevation = math.radians(self.look.sun_azimuth), math.radians(self.look.sun_elevation)
        return np.array([-math.sin(azimuth), math.cos(azimuth)]) / math.tan(elevation)

    @cached_property
    def lean(self) -> Points:
        """How far things lean a metre of height, because the sensor looks from aside: (x, y) in city metres."""
        azimuth = math.radians(self.look.lean_azimuth)
        return np.array([math.sin(azimuth), -math.cos(azimuth)]) * self.look.lean
