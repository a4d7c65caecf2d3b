"""Arterial roads of a sample city: two families of gently swinging lines, and how they cross.

Lines are numbered from the middle of the train grid outwards, so a small grid holds the same few lines that a
large one has in its middle. In plan metres (see `spec`) a north-south line gives p at q, a west-east line q at p.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.kinds import KINDS, RoadKind
from roadspeed.acquire.sample.spec import CitySpec

Points = NDArray[np.float64]
Crossing = Literal["grade", "over", "ring"]

SPACING_M = (182.0, 226.0)
MARGIN_M = 90.0
"""How far beyond the chips lines go on; from there on nothing is seen."""
RING_M = 17.0
"""Radius of a roundabout, to the middle of its lane."""
OVERPASS_EVERY = 4
"""Every so many eastward lines pass a motorway on a bridge, with ramps; the others meet it at grade."""
BRIDGE_M = 5.0
"""How far a bridge reaches beyond what it spans."""
RIVER_M = (13.0, 31.0)
"""South of its west-east line a river lies between these distances from the road's middle, in its mean."""

_SOUTHWARD = ("motorway", "tertiary", "secondary", "tertiary", "primary", "tertiary", "secondary", "trunk",
              "tertiary", "secondary", "tertiary", "primary", "tertiary", "secondary")  # fmt: skip
_EASTWARD = ("primary", "trunk", "tertiary", "secondary", "tertiary", "primary", "tertiary", "trunk",
             "secondary", "tertiary")  # fmt: skip
RIVER_LINE = -1
"""Number of the west-east line that a river follows, where the city has one."""


@dataclass(frozen=True)
class Line:
    """One arterial road across the whole city."""

    number: int
    kind: str
    at_m: float
    swing_m: float
    wave_m: float
    phase: float

    def __call__(self, along: float) -> float:
        """Return the coordinate across at a coordinate along, in plan metres."""
        return self.at_m + self.swing_m * math.sin(math.tau * along / self.wave_m + self.phase)

    @property
    def road(self) -> RoadKind:
        """Its kind."""
        return KINDS[self.kind]

    @property
    def offsets(self) -> tuple[float, ...]:
        """Where its carriageways lie across, west or north first."""
        gap = self.road.half_gap_m
        return (-gap, gap) if gap else (0.0,)

    @property
    def reach_m(self) -> float:
        """From its middle to the outer edge of its pavement or verge."""
        return self.road.half_gap_m + self.road.width_m / 2 + self.road.side_m


@dataclass(frozen=True)
class Lines:
    """Both families, by number."""

    southward: dict[int, Line]
    eastward: dict[int, Line]

    def cells(self, bounds: tuple[float, float, float, float]) -> list[tuple[int, int]]:
        """Return the superblocks (numbers of the lines west and north of each) that may touch plan bounds."""
        columns = _between(self.southward, bounds[0], bounds[2])
        rows = _between(self.eastward, bounds[1], bounds[3])
        return [(i, j) for j in rows for i in columns]


def _between(lines: dict[int, Line], low: float, high: float) -> list[int]:
    reach = {n: line.swing_m + line.reach_m + 2 for n, line in lines.items()}
    numbers = sorted(lines)
    return [n for n in numbers[:-1] if lines[n].at_m - reach[n] <= high and lines[n + 1].at_m + reach[n + 1] >= low]


@lru_cache(maxsize=8)
def make_lines(spec: CitySpec) -> Lines:
    """Lay out a city's arterial roads so that they cover its chips and pass its roadless chip by."""
    x1, y1 = spec.extent_m
    p0, q0, p1, q1 = spec.plan_bounds(0, 0, x1, y1)
    hole = spec.plan_bounds(*spec.chip_bounds_m(*spec.hole)) if spec.hole else None
    small = min(spec.columns * spec.chip_m[0], spec.rows * spec.chip_m[1])
    shift = min(20.0, small / 10)
    families = []
    for family, (low, high) in enumerate(((p0, p1), (q0, q1))):
        avoid = (hole[family], hole[family + 2]) if hole else None
        kinds = (_SOUTHWARD, _EASTWARD)[family]
        rng = spec.rng(family, 11)
        at = float(rng.uniform(-shift, shift))
        if family == 0 and spec.look.along_border:
            at = abs(at)
        first = _line(spec, 0, kinds[0], at, family, avoid)
        lines = {0: first}
        for sign in (1, -1):
            number, line = 0, first
            while (line.at_m < high + MARGIN_M) if sign > 0 else (line.at_m > low - MARGIN_M):
                number += sign
                kind = kinds[number % len(kinds)]
                at = line.at_m + sign * float(spec.rng(family, number, 12).uniform(*SPACING_M))
                if family == 0 and number == -1 and spec.look.along_border:
                    at = _chip_border(spec, at, line.at_m)
                line = _line(spec, number, kind, at, family, avoid, line)
                lines[number] = line
        families.append(lines)
    return Lines(*families)


def _chip_border(spec: CitySpec, at_m: float, before_m: float) -> float:
    """Return the border between two columns of chips that is nearest to p = at_m, if it leaves room for houses."""
    borders = [spec.chip_m[0] * (k - spec.columns / 2) for k in range(1, spec.columns)]
    fitting = [border for border in borders if 95 < before_m - border < 300]
    return min(fitting, key=lambda border: abs(border - at_m), default=at_m)


def _line(
    spec: CitySpec,
    number: int,
    kind: str,
    at_m: float,
    family: int,
    avoid: tuple[float, float] | None,
    before: Line | None = None,
) -> Line:
    rng = spec.rng(family, number, 13)
    swing = spec.look.wobble_m * float(rng.uniform(0.6, 1.0)) * (0.7 if kind == "motorway" else 1.0)
    if spec.look.along_border and (family, number) == (0, -1):
        swing *= 0.3
    line = Line(number, kind, at_m, swing, float(rng.uniform(380, 680)), float(rng.uniform(0, math.tau)))
    if avoid:
        clear = swing + line.reach_m + 8
        low, high = avoid[0] - clear, avoid[1] + clear
        if low < at_m < high:
            near, far = sorted((low, high), key=lambda edge: abs(edge - (before.at_m if before else at_m)))
            cramped = before is not None and abs(near - before.at_m) < 95
            outward = before is None or (far - before.at_m) * number > 0
            at_m = far if cramped and outward else near
    return Line(number, kind, at_m, swing, line.wave_m, line.phase)


def crossing(spec: CitySpec, i: int, j: int) -> Crossing:
    """Return how southward line i and eastward line j cross: at grade, as a bridge over i, or in a roundabout."""
    lines = make_lines(spec)
    south, east = lines.southward[i], lines.eastward[j]
    if south.kind == "motorway":
        return "over" if j % OVERPASS_EVERY == 0 else "grade"
    if south.road.half_gap_m or east.road.half_gap_m:
        return "grade"
    return "ring" if (i + j) % 3 == 1 else "grade"


def node(spec: CitySpec, i: int, j: int, dp: float = 0.0, dq: float = 0.0) -> tuple[float, float]:
    """Return (p, q) where line i shifted by dp crosses line j shifted by dq, to 0.1 mm."""
    lines = make_lines(spec)
    south, east = lines.southward[i], lines.eastward[j]
    p, q = south.at_m + dp, east.at_m + dq
    for _ in range(60):
        p, q = south(q) + dp, east(p) + dq
    return round(p, 4), round(q, 4)
