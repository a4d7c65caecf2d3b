"""The roads of a sample city, superblock by superblock.

Superblock (i, j) lies between southward lines i and i+1 and eastward lines j and j+1. It owns the streets
inside it, the stretch of line i on its west, that of line j on its north, and what stands at their crossing.
Roads that meet at grade share a vertex, bit for bit; a bridge shares none with what it spans.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.blocks import PATTERNS, Room
from roadspeed.acquire.sample.kinds import KINDS, RoadKind
from roadspeed.acquire.sample.lines import (
    BRIDGE_M,
    OVERPASS_EVERY,
    RING_M,
    RIVER_LINE,
    RIVER_M,
    Line,
    crossing,
    make_lines,
    node,
)
from roadspeed.acquire.sample.spec import CitySpec

Points = NDArray[np.float64]
Point = tuple[float, float]

STEP_M = 12.0
"""Spacing of vertices on arterial roads."""
RAMP_MERGE_M = 44.0
"""Along so much of a ramp it shares the motorway's asphalt."""
RAMP_LENGTH_M, RAMP_REACH_M = 92.0, 44.0
"""A ramp leaves the motorway so far from the crossing and meets the other road so far from the motorway."""


@dataclass(frozen=True)
class Road:
    """One way: a line of the labels and a band in the picture."""

    key: tuple[int, ...]
    kind: str
    points: Points
    """(n, 2) city metres."""
    bridge: bool = False
    over: bool = False
    """Whether it passes above other roads."""
    bulb: bool = False
    ring: bool = False
    breaks: tuple[tuple[float, float, float], ...] = ()
    """Circles (x, y, radius in city metres) at crossings, where markings are left out."""
    shift_m: float = 0.0
    """Dual carriageways: where the other carriageway lies, metres to the left of the drawn direction (signed)."""

    @property
    def road(self) -> RoadKind:
        """Its kind."""
        return KINDS[self.kind]


@dataclass(frozen=True)
class Streets:
    """Streets inside a superblock in plan metres, and where they meet the lines around it."""

    pattern: str
    ways: tuple[tuple[str, Points, bool], ...]
    west: tuple[Point, ...]
    east: tuple[Point, ...]
    north: tuple[Point, ...]
    south: tuple[Point, ...]


def has_river(spec: CitySpec, j: int) -> bool:
    """Whether a river follows eastward line j on its south."""
    return spec.look.river and j == RIVER_LINE


def has_ramps(spec: CitySpec, i: int, j: int) -> bool:
    """Whether ramps join motorway i and eastward line j."""
    return make_lines(spec).southward[i].kind == "motorway" and j % OVERPASS_EVERY == 0


def hole_cell(spec: CitySpec, i: int, j: int) -> bool:
    """Whether the superblock touches the chip that is kept free of roads."""
    lines = make_lines(spec)
    if spec.hole is None or i not in lines.southward or j not in lines.eastward:
        return False
    p0, q0, p1, q1 = spec.plan_bounds(*spec.chip_bounds_m(*spec.hole))
    west, east = lines.southward[i].at_m, lines.southward[i + 1].at_m
    north, south = lines.eastward[j].at_m, lines.eastward[j + 1].at_m
    return west < p1 and east > p0 and north < q1 and south > q0


def pattern(spec: CitySpec, i: int, j: int) -> str:
    """Return the street pattern of a superblock: the look's list from the centre outwards, then drawn from it."""
    if hole_cell(spec, i, j):
        return "park" if (spec.index + spec.seed) % 2 else "meadow"
    central = {(0, 0): 0, (-1, -1): 1, (0, -1): 2, (-1, 0): 3, (1, 0): 4, (1, -1): 5, (0, 1): 0, (-1, 1): 1}
    kinds = spec.look.kinds
    if (i, j) in central:
        return kinds[central[i, j] % len(kinds)]
    rng = spec.rng(i, j, 21)
    return "park" if rng.random() < 0.08 else kinds[int(rng.integers(len(kinds)))]


class Patch:
    """The map from a superblock's (u, v) to plan metres: between the nearest carriageways of its four lines."""

    def __init__(self, spec: CitySpec, i: int, j: int) -> None:
        lines = make_lines(spec)
        self.west, self.east = lines.southward[i], lines.southward[i + 1]
        self.north, self.south = lines.eastward[j], lines.eastward[j + 1]

    def __call__(self, u: float, v: float) -> Point:
        """Return (p, q), to 0.1 mm."""
        p = self.west.at_m + u * (self.east.at_m - self.west.at_m)
        q = self.north.at_m
        for _ in range(30):
            top, bottom = self.north(p) + self.north.offsets[-1], self.south(p) + self.south.offsets[0]
            q = top + v * (bottom - top)
            left, right = self.west(q) + self.west.offsets[-1], self.east(q) + self.east.offsets[0]
            p = left + u * (right - left)
        return round(p, 4), round(q, 4)

    @property
    def size_m(self) -> tuple[float, float]:
        """Mean width and height in metres."""
        width = self.east.at_m + self.east.offsets[0] - self.west.at_m - self.west.offsets[-1]
        height = self.south.at_m + self.south.offsets[0] - self.north.at_m - self.north.offsets[-1]
        return width, height


def room(spec: CitySpec, i: int, j: int) -> Room:
    """Return where streets may lie in a superblock: not at a motorway, a ramp or a river."""
    patch = Patch(spec, i, j)
    width, height = patch.size_m
    lines = make_lines(spec)
    u0 = u1 = v0 = v1 = 0.0
    if has_ramps(spec, i, j):
        u0 = min(0.45, (RAMP_REACH_M + 8) / width)
    elif patch.west.kind == "motorway":
        u0 = 14 / width
    if i + 2 in lines.southward and has_ramps(spec, i + 1, j + 1):
        u1 = min(0.45, (RAMP_REACH_M + 8) / width)
    elif patch.east.kind == "motorway":
        u1 = 14 / width
    if has_river(spec, j):
        v0 = (RIVER_M[1] + 8) / height
    return Room(
        u0, 1 - u1, v0, 1 - v1,
        patch.west.kind != "motorway", patch.east.kind != "motorway", not v0, True,
        width, height,
    )  # fmt: skip


@lru_cache(maxsize=256)
def streets(spec: CitySpec, i: int, j: int) -> Streets:
    """Return the streets inside superblock (i, j)."""
    name = pattern(spec, i, j)
    rng, patch, space = spec.rng(i, j, 22), Patch(spec, i, j), room(spec, i, j)
    too_small = min((space.u1 - space.u0) * space.width_m, (space.v1 - space.v0) * space.height_m) < 55
    made = [] if too_small or name == "meadow" else PATTERNS[name](space, rng, spec.look.block_m, spec.look.unpaved)
    ends: dict[str, list[Point]] = {"west": [], "east": [], "north": [], "south": []}
    places: dict[tuple[float, float], Point] = {}
    ways = []
    for street in made:
        keys = [(float(u), float(v)) for u, v in street.uv]
        for key in keys:
            if key not in places:
                places[key] = patch(*key)
        points = [places[key] for key in keys]
        ways.append((street.kind, np.array(points), street.bulb))
        for (u, v), point in ((keys[0], points[0]), (keys[-1], points[-1])):
            side = {(0.0, 0): "west", (1.0, 0): "east"}.get((u, 0)) or {0.0: "north", 1.0: "south"}.get(v)
            if side:
                ends[side].append(point)
    return Streets(name, tuple(ways), **{side: tuple(sorted(set(points))) for side, points in ends.items()})


@lru_cache(maxsize=256)
def roads(spec: CitySpec, i: int, j: int) -> tuple[Road, ...]:
    """Return all roads that superblock (i, j) owns, in city metres."""
    made = _southward(spec, i, j) + _eastward(spec, i, j) + _ramps(spec, i, j)
    if crossing(spec, i, j) == "ring":
        made.append(_ring(spec, i, j))
    for number, (kind, points, bulb) in enumerate(streets(spec, i, j).ways):
        made.append(Road((i, j, 9, number), kind, spec.to_city(points), bulb=bulb))
    return tuple(made)


def roads_within(spec: CitySpec, bounds_m: tuple[float, float, float, float]) -> list[Road]:
    """Return the roads that touch a rectangle of city metres (x0, y0, x1, y1), each once, in a fixed order."""
    x0, y0, x1, y1 = bounds_m
    found = []
    lines = make_lines(spec)
    for i, j in lines.cells(spec.plan_bounds(x0, y0, x1, y1)):
        for road in roads(spec, i, j):
            low, high = road.points.min(axis=0), road.points.max(axis=0)
            if low[0] <= x1 and high[0] >= x0 and low[1] <= y1 and high[1] >= y0:
                found.append(road)
    return found


def _arm(spec: CitySpec, i: int, j: int, southward: bool, sign: int) -> Point:
    """Return where a line meets the roundabout at (i, j): sign +1 its south or east side, -1 the other."""
    p0, q0 = node(spec, i, j)
    lines = make_lines(spec)
    line = lines.southward[i] if southward else lines.eastward[j]
    along, middle_along, middle_across = (q0, q0, p0) if southward else (p0, p0, q0)
    for _ in range(40):
        along = middle_along + sign * math.sqrt(RING_M**2 - (line(along) - middle_across) ** 2)
    across = round(line(along), 4)
    return (across, round(along, 4)) if southward else (round(along, 4), across)


def _ring(spec: CitySpec, i: int, j: int) -> Road:
    p0, q0 = node(spec, i, j)
    arms = [_arm(spec, i, j, southward, sign) for southward in (True, False) for sign in (1, -1)]
    angles = [math.atan2(q - q0, p - p0) for p, q in arms]
    even = [math.tau * k / 20 - math.pi for k in range(20)]

    def away(a: float, b: float) -> float:
        return abs((a - b + math.pi) % math.tau - math.pi)

    kept = [a for a in even if all(away(a, b) > 0.12 for b in angles)]
    placed = list(zip(angles, arms, strict=True))
    placed += [(a, (round(p0 + RING_M * math.cos(a), 4), round(q0 + RING_M * math.sin(a), 4))) for a in kept]
    points = [point for _, point in sorted(placed)]
    return Road((i, j, 3), "tertiary", spec.to_city(np.array([*points, points[0]])), ring=True)


def _stretch(line: Line, offset: float, southward: bool, start: list[Point], end: Point, inner: set[Point]) -> Points:
    """Return vertices (plan metres) of a line between two ends: given ones, and others about every 12 m."""
    along = 1 if southward else 0
    low, high = start[-1][along], end[along]
    given = [*start, *sorted((p for p in inner if low < p[along] < high), key=lambda p: p[along]), end]
    taken = np.array([p[along] for p in given])
    points = list(given)
    for k in range(math.ceil(low / STEP_M), math.floor(high / STEP_M) + 1):
        at = k * STEP_M
        if np.abs(taken - at).min() > 3:
            across = round(line(at) + offset, 4)
            points.append((across, at) if southward else (at, across))
    return np.array(sorted(points, key=lambda p: p[along]))


def _breaks(spec: CitySpec, i: int, j: int, southward: bool, offset: float) -> list[tuple[float, float, float]]:
    """Return the circles at crossing (i, j) where a carriageway's markings are left out."""
    how = crossing(spec, i, j)
    lines = make_lines(spec)
    if how == "over":
        return []
    if how == "ring":
        x, y = spec.to_city(np.array([node(spec, i, j)]))[0]
        return [(float(x), float(y), RING_M + 6.5)]
    other = lines.eastward[j] if southward else lines.southward[i]
    circles = []
    for gap in other.offsets:
        place = node(spec, i, j, offset, gap) if southward else node(spec, i, j, gap, offset)
        x, y = spec.to_city(np.array([place]))[0]
        circles.append((float(x), float(y), other.road.width_m / 2 + 3.0))
    if other.road.half_gap_m:
        place = node(spec, i, j, offset, 0) if southward else node(spec, i, j, 0, offset)
        x, y = spec.to_city(np.array([place]))[0]
        circles.append((float(x), float(y), other.road.half_gap_m))
    return circles


def _cut(points: Points, along: int, low: float, high: float) -> list[tuple[Points, bool]]:
    """Cut a stretch at two of its vertices; the middle part is the bridge."""
    values = points[:, along]
    a, b = int(np.argmin(np.abs(values - low))), int(np.argmin(np.abs(values - high)))
    parts = [(points[: a + 1], False), (points[a : b + 1], True), (points[b:], False)]
    return [(part, bridge) for part, bridge in parts if len(part) > 1]


def _southward(spec: CitySpec, i: int, j: int) -> list[Road]:
    lines = make_lines(spec)
    line = lines.southward[i]
    made = []
    for number, offset in enumerate(line.offsets):
        inner: set[Point] = set()
        if offset <= 0 and i - 1 in lines.southward:
            inner |= set(streets(spec, i - 1, j).east)
        if offset >= 0:
            inner |= set(streets(spec, i, j).west)
        inner |= {ramp[0] for ramp in _ramp_ends(spec, i, j, offset)}
        first, last = crossing(spec, i, j), crossing(spec, i, j + 1)
        if first == "ring":
            start = [_arm(spec, i, j, True, 1)]
        elif first == "over":
            start = [node(spec, i, j, offset)]
        else:
            start = [node(spec, i, j, offset, gap) for gap in lines.eastward[j].offsets]
        if last == "ring":
            end = _arm(spec, i, j + 1, True, -1)
        elif last == "over":
            end = node(spec, i, j + 1, offset)
        else:
            end = node(spec, i, j + 1, offset, lines.eastward[j + 1].offsets[0])
        breaks = tuple(_breaks(spec, i, j, True, offset) + _breaks(spec, i, j + 1, True, offset))
        parts: list[tuple[Points, bool]]
        if has_river(spec, j):
            banks = [node(spec, i, j, offset, gap) for gap in (RIVER_M[0] - 3, RIVER_M[1] + 3)]
            inner = {p for p in inner if all(abs(p[1] - bank[1]) > 1 for bank in banks)} | set(banks)
            parts = _cut(_stretch(line, offset, True, start, end, inner), 1, banks[0][1], banks[1][1])
        else:
            parts = [(_stretch(line, offset, True, start, end, inner), False)]
        for part, (points, bridge) in enumerate(parts):
            made.append(
                Road((i, j, 1, number, part), line.kind, spec.to_city(points), bridge, breaks=breaks, shift_m=offset)
            )
    return made


def _eastward(spec: CitySpec, i: int, j: int) -> list[Road]:
    lines = make_lines(spec)
    line = lines.eastward[j]
    first, last = crossing(spec, i, j), crossing(spec, i + 1, j)
    made = []
    for number, offset in enumerate(line.offsets):
        inner: set[Point] = set()
        if offset <= 0 and j - 1 in lines.eastward:
            inner |= set(streets(spec, i, j - 1).south)
        if offset >= 0:
            inner |= set(streets(spec, i, j).north)
        for side in (i, i + 1):
            for owner in (j, j - 1):
                if owner in lines.eastward:
                    ramps = [r for gap in lines.southward[side].offsets for r in _ramp_ends(spec, side, owner, gap)]
                    inner |= {end for _, end, row, gap in ramps if row == j and gap == offset}
        if first == "ring":
            start = [_arm(spec, i, j, False, 1)]
        elif first == "over":
            start = [_beside(spec, i, j, offset, 1)]
            bridge = [_beside(spec, i, j, offset, -1), start[0]]
            points = _stretch(line, offset, False, bridge[:1], bridge[1], set())
            made.append(Road((i, j, 4, number), line.kind, spec.to_city(points), True, over=True, shift_m=-offset))
        else:
            start = [node(spec, i, j, gap, offset) for gap in lines.southward[i].offsets]
        if last == "ring":
            end = _arm(spec, i + 1, j, False, -1)
        elif last == "over":
            end = _beside(spec, i + 1, j, offset, -1)
        else:
            end = node(spec, i + 1, j, lines.southward[i + 1].offsets[0], offset)
        breaks = tuple(_breaks(spec, i, j, False, offset) + _breaks(spec, i + 1, j, False, offset))
        points = _stretch(line, offset, False, start, end, inner)
        made.append(Road((i, j, 2, number), line.kind, spec.to_city(points), breaks=breaks, shift_m=-offset))
    return made


def _beside(spec: CitySpec, i: int, j: int, offset: float, sign: int) -> Point:
    """Return where the bridge of line j over motorway i begins or ends."""
    line = make_lines(spec).southward[i]
    return node(spec, i, j, sign * (line.reach_m + BRIDGE_M), offset)


def _ramp_ends(spec: CitySpec, i: int, j: int, offset: float) -> list[tuple[Point, Point, int, float]]:
    """Return the ramps on a motorway's carriageway between eastward lines j and j+1.

    Each as (place on the motorway, place on the other road, that road's number, its carriageway's offset).
    """
    lines = make_lines(spec)
    line = lines.southward[i]
    if line.kind != "motorway":
        return []
    south = offset > 0
    row = j if south else j + 1
    if row not in lines.eastward or not has_ramps(spec, i, row):
        return []
    if abs(lines.eastward[j + 1].at_m - lines.eastward[j].at_m) < RAMP_LENGTH_M + 40:
        return []
    if hole_cell(spec, *((i, row) if south else (i - 1, row - 1))):
        return []
    other = lines.eastward[row]
    gap = other.offsets[-1] if south else other.offsets[0]
    sign = 1 if south else -1
    middle = node(spec, i, row)
    q = round(middle[1] + sign * RAMP_LENGTH_M, 4)
    return [((round(line(q) + offset, 4), q), node(spec, i, row, offset + sign * RAMP_REACH_M, gap), row, gap)]


def _ramps(spec: CitySpec, i: int, j: int) -> list[Road]:
    made = []
    for number, offset in enumerate(make_lines(spec).southward[i].offsets):
        for start, end, _, _ in _ramp_ends(spec, i, j, offset):
            sign = 1 if offset > 0 else -1
            a, d = np.array(start), np.array(end)
            b = a + np.array([0.06 * RAMP_REACH_M, -0.5 * RAMP_LENGTH_M]) * sign
            c = d + np.array([0, 0.42 * RAMP_LENGTH_M]) * sign
            t = np.linspace(0, 1, 13)[:, None]
            points = a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
            points[0], points[-1] = a, d
            placed = spec.to_city(np.round(points, 4))
            ends = [(*placed[k].tolist(), radius) for k, radius in ((0, RAMP_MERGE_M), (-1, 9.0))]
            made.append(Road((i, j, 5, number), "link", placed, breaks=tuple(ends)))
    return made
