"""What stands on a sample city's ground besides roads: land, houses, parking, cars and trees, by superblock."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from roadspeed.acquire.sample.along import arc_lengths, box, parallel, places
from roadspeed.acquire.sample.blocks import CORNER_M
from roadspeed.acquire.sample.lines import RIVER_M, make_lines
from roadspeed.acquire.sample.materials import CARS
from roadspeed.acquire.sample.network import Patch, Road, has_river, roads, roads_within, room, streets
from roadspeed.acquire.sample.spec import CitySpec

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Land:
    """A piece of ground: a garden, a field, a lake."""

    polygon: Points
    use: str
    """`meadow`, `crop`, `soil`, `lot` (parking), `lawn`, `yard`, `bank` or `water`."""
    tone: float
    """0 to 1: which of the use's colours."""
    furrows: tuple[Points, ...] = ()


@dataclass(frozen=True)
class House:
    """A building with a flat or a gabled roof."""

    x: float
    y: float
    angle: float
    length_m: float
    width_m: float
    height_m: float
    roof: str
    gain: float
    gable: bool
    wing: bool = False
    """Whether a smaller wing stands at its side."""


@dataclass(frozen=True)
class Car:
    """A car."""

    x: float
    y: float
    angle: float
    paint: str
    length_m: float
    on_bridge: bool = False


@dataclass(frozen=True)
class Tree:
    """A tree's crown."""

    x: float
    y: float
    radius_m: float
    species: int
    gain: float
    shape: int


@dataclass
class Things:
    """All things of a superblock."""

    land: list[Land] = field(default_factory=list)
    drives: list[tuple[Points, float]] = field(default_factory=list)
    """Driveways: a line and a width in metres."""
    stalls: list[Points] = field(default_factory=list)
    """Painted lines of parking lots."""
    houses: list[House] = field(default_factory=list)
    cars: list[Car] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)


class _Space:
    """What ground is taken already: roads with a clearance, houses as circles."""

    def __init__(self, spec: CitySpec, i: int, j: int) -> None:
        patch = Patch(spec, i, j)
        edge = np.linspace(0, 1, 9)[:-1]
        ring = [patch(u, 0) for u in edge] + [patch(1, u) for u in edge]
        ring += [patch(1 - u, 1) for u in edge] + [patch(0, 1 - u) for u in edge]
        self.outline = spec.to_city(np.array(ring))
        self.polygon = shapely.Polygon(self.outline)
        low, high = self.outline.min(axis=0), self.outline.max(axis=0)
        self.bounds = float(low[0]), float(low[1]), float(high[0]), float(high[1])
        wide = (self.bounds[0] - 12, self.bounds[1] - 12, self.bounds[2] + 12, self.bounds[3] + 12)
        self.roads = roads_within(spec, wide)
        points, reach = [], []
        for road in self.roads:
            length = float(arc_lengths(road.points)[-1])
            at, _ = places(road.points, np.linspace(0, length, max(2, math.ceil(length / 2.5))))
            points.append(at)
            reach.append(np.full(len(at), road.road.width_m / 2 + road.road.side_m))
            if road.bulb:
                reach[-1][-4:] = 8.5
        self.road_points = np.vstack(points) if points else np.full((1, 2), 1e9)
        self.road_reach = np.concatenate(reach) if reach else np.zeros(1)
        self.circles: list[tuple[float, float, float]] = []
        self.blocked: list[shapely.Polygon] = []

    def clear_of_roads(self, points: Points) -> float:
        """Return the least distance in metres from points to any road's outer edge."""
        gap = np.hypot(
            points[:, None, 0] - self.road_points[None, :, 0], points[:, None, 1] - self.road_points[None, :, 1]
        )
        return float((gap - self.road_reach).min())

    def inside(self, points: Points) -> bool:
        """Whether all points lie in the superblock and not in water or a parking lot."""
        if not shapely.contains_xy(self.polygon, points[:, 0], points[:, 1]).all():
            return False
        return not any(shapely.contains_xy(w, points[:, 0], points[:, 1]).any() for w in self.blocked)

    def take(self, x: float, y: float, radius: float, share: float = 0.82) -> bool:
        """Take a circle if it does not overlap what is taken (much)."""
        for cx, cy, cr in self.circles:
            if math.hypot(cx - x, cy - y) < share * (cr + radius):
                return False
        self.circles.append((x, y, radius))
        return True


def _grid_points(house: House) -> Points:
    corners = box((house.x, house.y), house.angle, house.length_m, house.width_m)
    middles = (corners + np.roll(corners, 1, axis=0)) / 2
    return np.vstack([corners, middles, [(house.x, house.y)]])


@lru_cache(maxsize=96)
def things(spec: CitySpec, i: int, j: int) -> Things:
    """Return the things of superblock (i, j), in city metres."""
    rng = spec.rng(i, j, 31)
    made, space = Things(), _Space(spec, i, j)
    pattern = streets(spec, i, j).pattern
    _river(spec, i, j, made, space)
    if pattern == "commercial":
        _commercial(spec, i, j, made, space, rng)
    elif pattern == "field":
        _fields(spec, i, j, made, space, rng)
    elif pattern == "meadow":
        _fields(spec, i, j, made, space, rng)
        _lake(made, space, rng)
    elif pattern == "park":
        made.land.append(Land(space.outline, "meadow", float(rng.random())))
        _lake(made, space, rng)
    if pattern not in ("park", "meadow", "field"):
        _houses(spec, made, space, rng)
    _traffic(spec, i, j, made)
    _trees(spec, made, space, rng, pattern)
    return made


def _river(spec: CitySpec, i: int, j: int, made: Things, space: _Space) -> None:
    if not has_river(spec, j):
        return
    lines = make_lines(spec)
    line = lines.eastward[j]
    p = np.linspace(lines.southward[i].at_m - 30, lines.southward[i + 1].at_m + 30, 60)
    middle = np.array([line(float(v)) for v in p])
    north = middle + RIVER_M[0] + 1.5 * np.sin(p / 23) + 0.7 * np.sin(p / 7.7)
    south = middle + RIVER_M[1] + 1.8 * np.sin(p / 31 + 1) + 0.7 * np.sin(p / 6.1)
    bank = np.vstack([np.column_stack([p, north - 3]), np.column_stack([p, south + 3])[::-1]])
    water = np.vstack([np.column_stack([p, north]), np.column_stack([p, south])[::-1]])
    made.land.append(Land(spec.to_city(bank), "bank", 0.3))
    polygon = spec.to_city(water)
    made.land.append(Land(polygon, "water", 0.75))
    space.blocked.append(shapely.Polygon(polygon))


def _lake(made: Things, space: _Space, rng: np.random.Generator) -> None:
    x, y = space.outline.mean(axis=0) + rng.uniform(-10, 10, 2)
    size = 0.22 * min(space.bounds[2] - space.bounds[0], space.bounds[3] - space.bounds[1])
    angle = np.linspace(0, math.tau, 48)[:-1]
    wave = sum(rng.uniform(0.15, 0.35) / k * np.sin(k * angle + rng.uniform(0, 6)) for k in (2, 3, 4, 7, 11))
    radius = size * (1 + wave)
    shore = np.column_stack([x + 1.3 * (radius + 2.5) * np.cos(angle), y + (radius + 2.5) * np.sin(angle)])
    water = np.column_stack([x + 1.3 * radius * np.cos(angle), y + radius * np.sin(angle)])
    if space.clear_of_roads(shore) < 4:
        return
    made.land.append(Land(shore, "bank", 0.6))
    made.land.append(Land(water, "water", float(rng.random())))
    space.blocked.append(shapely.Polygon(water))


def _fields(spec: CitySpec, i: int, j: int, made: Things, space: _Space, rng: np.random.Generator) -> None:
    patch = Patch(spec, i, j)
    width, height = patch.size_m
    columns, rows = max(2, round(width / 70)), max(2, round(height / 62))
    us = [0.03, *(k / columns + rng.uniform(-0.06, 0.06) for k in range(1, columns)), 0.97]
    for c in range(columns):
        vs = [0.03, *(k / rows + rng.uniform(-0.08, 0.08) for k in range(1, rows)), 0.97]
        for r in range(rows):
            u0, u1, v0, v1 = us[c] + 0.006, us[c + 1] - 0.006, vs[r] + 0.006, vs[r + 1] - 0.006
            corners = [(u0, v0), ((u0 + u1) / 2, v0), (u1, v0), (u1, v1), ((u0 + u1) / 2, v1), (u0, v1)]
            polygon = spec.to_city(np.array([patch(*corner) for corner in corners]))
            use = ("crop", "crop", "soil", "meadow")[int(rng.integers(4))]
            furrows: list[Points] = []
            if use in ("crop", "soil"):
                count = max(2, int((u1 - u0) * width / 2.6))
                for k in range(1, count):
                    u = u0 + (u1 - u0) * k / count
                    furrows.append(spec.to_city(np.array([patch(u, v0 + 0.01), patch(u, v1 - 0.01)])))
            made.land.append(Land(polygon, use, float(rng.random()), tuple(furrows)))


def _commercial(spec: CitySpec, i: int, j: int, made: Things, space: _Space, rng: np.random.Generator) -> None:
    space_uv, patch = room(spec, i, j), Patch(spec, i, j)
    width, height = patch.size_m
    turned = not (space_uv.open_west or space_uv.open_east)
    area = space_uv.turned() if turned else space_uv
    wide, high = (height, width) if turned else (width, height)
    u0, u1 = area.u0 + max((area.u1 - area.u0) * 0.16, CORNER_M / wide) + 7 / wide, area.u1 - 9 / wide
    v0, v1 = area.v0 + max((area.v1 - area.v0) * 0.2, CORNER_M / high) + 6 / high, area.v1 - 11 / high

    def at(u: float, v: float) -> Points:
        return spec.to_city(np.array([patch(v, u) if turned else patch(u, v)]))[0]

    lot = np.array([at(u0, v0), at(u1, v0), at(u1, v1), at(u0, v1)])
    made.land.append(Land(lot, "lot", float(rng.random())))
    space.blocked.append(shapely.Polygon(lot))
    direction = at(u1, v0) - at(u0, v0)
    angle = math.atan2(direction[1], direction[0])
    middle = at((u0 + u1) / 2, v0 + (v1 - v0) * 0.29)
    length, depth = (u1 - u0) * wide - 10, (v1 - v0) * high * 0.46
    if min(length, depth) > 12:
        roof = _pick(rng, (("roof_white", 3), ("shingle_grey", 2), ("roof_tan", 1.5), ("metal_blue", 0.8)))
        house = House(middle[0], middle[1], angle, length, depth, float(rng.uniform(6, 9)), roof, 0.85, False)
        made.houses.append(house)
    along = direction / np.hypot(*direction)
    across = np.array([-along[1], along[0]])
    if np.dot(at(u0, v1) - at(u0, v0), across) < 0:
        across = -across
    start, room_m = at(u0, v0 + (v1 - v0) * 0.55) + along * 3, (v1 - v0) * high * 0.45 - 3
    for row in range(int(room_m // 16)):
        for side in (0, 1):
            base = start + across * (2 + row * 16 + side * 5.2)
            for k in range(int(((u1 - u0) * wide - 8) // 2.7)):
                corner = base + along * 2.7 * k
                made.stalls.append(np.array([corner, corner + across * 5.0]))
                if rng.random() < 0.42:
                    place = corner + along * 1.35 + across * 2.5
                    made.cars.append(_car(rng, place, angle + math.pi / 2))


def _pick(rng: np.random.Generator, weighted: tuple[tuple[str, float], ...]) -> str:
    weights = np.array([weight for _, weight in weighted])
    return weighted[int(np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random()))][0]


def _car(rng: np.random.Generator, place: Points, angle: float, on_bridge: bool = False) -> Car:
    turn = angle + (math.pi if rng.random() < 0.5 else 0) + float(rng.normal(0, 0.02))
    length = float(rng.uniform(4.1, 4.9)) if rng.random() > 0.04 else 8.5
    return Car(float(place[0]), float(place[1]), turn, _pick(rng, CARS), length, on_bridge)


def _houses(spec: CitySpec, made: Things, space: _Space, rng: np.random.Generator) -> None:
    for road in space.roads:
        if road.kind in ("motorway", "trunk", "link", "track") or road.ring or road.bridge:
            continue
        length = float(arc_lengths(road.points)[-1])
        for side in (1, -1):
            at_m = float(rng.uniform(4, 10))
            while at_m < length - 3:
                lot = float(rng.uniform(14, 21))
                _house(spec, made, space, rng, road, side, at_m + lot / 2, lot)
                at_m += lot


def _house(
    spec: CitySpec,
    made: Things,
    space: _Space,
    rng: np.random.Generator,
    road: Road,
    side: int,
    at_m: float,
    lot: float,
) -> None:
    chance, large = rng.random(), road.kind in ("primary", "secondary") and rng.random() < 0.5
    wide, deep = float(rng.uniform(8.5, min(13.5, lot - 3))), float(rng.uniform(7.5, 10.5))
    if large:
        wide, deep = wide * 1.25, deep * 1.35
    setback = road.road.width_m / 2 + road.road.side_m + float(rng.uniform(3.5, 7)) + deep / 2
    point, direction = places(road.points, np.array([at_m]))
    across = np.array([-direction[0, 1], direction[0, 0]]) * side
    middle = point[0] + across * setback
    angle = math.atan2(direction[0, 1], direction[0, 0]) + float(rng.normal(0, 0.03))
    roof = _pick(rng, spec.look.roofs)
    height = float(rng.uniform(5.5, 9)) if large else float(rng.uniform(3.4, 6))
    gable = roof not in ("roof_white", "metal_blue") and rng.random() < 0.8
    house = House(
        float(middle[0]), float(middle[1]), angle, wide, deep, height, roof, float(rng.uniform(0.85, 1.15)), gable,
        not large and rng.random() < 0.4,
    )  # fmt: skip
    tone, bare = float(rng.random()), rng.random()
    points = _grid_points(house)
    if not space.inside(points) or space.clear_of_roads(points) < 2.4:
        return
    if not space.take(house.x, house.y, math.hypot(wide, deep) / 2):
        return
    garden = box(point[0] + across * (setback + 2), angle, lot - 0.6, deep + 2 * (setback - deep / 2 - 3.5))
    made.land.append(Land(garden, "yard" if bare < 0.22 else "lawn", tone))
    if chance > spec.look.house_share:
        return
    made.houses.append(house)
    if rng.random() < 0.7:
        shift = direction[0] * (wide / 2 - 1.6) * (1 if rng.random() < 0.5 else -1)
        drive = np.array([point[0] + across * road.road.width_m / 2 + shift, middle + shift - across * deep * 0.3])
        made.drives.append((drive, float(rng.uniform(2.6, 3.4))))
        if rng.random() < 0.45:
            place = drive[0] * 0.45 + drive[1] * 0.55 - across * 1.2
            if space.clear_of_roads(place[None]) > 1:
                made.cars.append(_car(rng, place, angle + math.pi / 2))


def _traffic(spec: CitySpec, i: int, j: int, made: Things) -> None:
    """Put cars on the roads that this superblock owns: parked ones at the kerb, moving ones in their lanes."""
    for road in roads(spec, i, j):
        rng, kind = spec.rng(*road.key, 32), road.road
        length = float(arc_lengths(road.points)[-1])
        if kind.parked and length > 24:
            for side in (1, -1):
                at = np.arange(9, length - 9, 6.4)
                at = at[rng.random(len(at)) < kind.parked]
                if len(at):
                    for point, direction in zip(
                        *places(parallel(road.points, side * (kind.width_m / 2 - 1.15)), at), strict=True
                    ):
                        made.cars.append(_car(rng, point, math.atan2(direction[1], direction[0])))
        for at_m in np.sort(rng.uniform(0, length, rng.poisson(kind.traffic_per_km * length / 1000))):
            lane = (rng.integers(kind.lanes) + 0.5) / kind.lanes - 0.5 if kind.lanes > 1 else 0.0
            offset = lane * min(kind.width_m, 3.6 * kind.lanes)
            point, direction = places(parallel(road.points, float(offset)), np.array([at_m]))
            made.cars.append(_car(rng, point[0], math.atan2(direction[0, 1], direction[0, 0]), road.bridge))


def _trees(spec: CitySpec, made: Things, space: _Space, rng: np.random.Generator, pattern: str) -> None:
    density = spec.look.tree_density
    x0, y0, x1, y1 = space.bounds
    hectares = (x1 - x0) * (y1 - y0) / 10_000

    def add(x: float, y: float, radius: float) -> None:
        made.trees.append(
            Tree(x, y, radius, int(rng.integers(2)), float(rng.uniform(0.8, 1.2)), int(rng.integers(1 << 16)))
        )

    per_hectare = {"park": 26, "meadow": 10, "field": 5, "commercial": 8}.get(pattern, 34) * density
    places_xy = rng.uniform((x0, y0), (x1, y1), (int(per_hectare * hectares), 2))
    sizes = rng.uniform(1.3, 3.6, len(places_xy))
    for (x, y), radius in zip(places_xy, sizes, strict=True):
        here = np.array([(x, y)])
        if space.inside(here) and space.clear_of_roads(here) > 0.35 * radius and _off_houses(made, x, y, radius):
            add(float(x), float(y), float(radius))
    for x, y in rng.uniform((x0, y0), (x1, y1), (int(70 * hectares), 2)):
        here = np.array([(x, y)])
        if space.inside(here) and space.clear_of_roads(here) > 0.8 and _off_houses(made, x, y, 0.8):
            add(float(x), float(y), float(rng.uniform(0.45, 1.1)))
    clumps = rng.poisson({"park": 5, "meadow": 2.5, "field": 1.2}.get(pattern, 0.8) * hectares * (0.4 + density / 2))
    for _ in range(int(clumps)):
        middle = rng.uniform((x0, y0), (x1, y1))
        for _ in range(int(rng.integers(6, 22))):
            x, y = middle + rng.normal(0, 6.5, 2)
            radius, here = float(rng.uniform(1.8, 4.2)), np.array([(x, y)])
            if space.inside(here) and space.clear_of_roads(here) > 1.0 and _off_houses(made, x, y, radius):
                add(float(x), float(y), radius)
    for x, y in _street_trees(space, rng, 0.5 * density):
        if space.inside(np.array([(x, y)])) and _off_houses(made, x, y, 1.5):
            add(x, y, float(rng.uniform(1.9, 3.9) if rng.random() > 0.12 else rng.uniform(4, 5.6)))


def _street_trees(space: _Space, rng: np.random.Generator, share: float) -> Iterator[tuple[float, float]]:
    """Yield places of trees beside roads, near enough for a large crown to hang over the kerb."""
    for road in space.roads:
        if road.kind in ("motorway", "link", "track", "alley") or road.bridge or road.ring:
            continue
        length = float(arc_lengths(road.points)[-1])
        for side in (1, -1):
            at = np.arange(7, length - 7, 11.0)
            at = at[rng.random(len(at)) < share] + 0.0
            if not len(at):
                continue
            offset = side * (road.road.width_m / 2 + float(rng.uniform(0.9, 2.6)))
            points, _ = places(road.points, at)
            moved, _ = places(parallel(road.points, offset), at * _ratio(road.points, offset))
            near = np.hypot(*(moved - points).T) < 2 * abs(offset)
            for x, y in moved[near]:
                others = np.hypot(space.road_points[:, 0] - x, space.road_points[:, 1] - y)
                if (others > road.road.width_m / 2 + 0.6).all():
                    yield float(x), float(y)


def _ratio(line: Points, offset: float) -> float:
    return float(arc_lengths(parallel(line, offset))[-1] / max(arc_lengths(line)[-1], 1e-9))


def _off_houses(made: Things, x: float, y: float, radius: float) -> bool:
    for house in made.houses:
        dx, dy = x - house.x, y - house.y
        along = abs(dx * math.cos(house.angle) + dy * math.sin(house.angle))
        across = abs(-dx * math.sin(house.angle) + dy * math.cos(house.angle))
        if along < house.length_m / 2 + 0.5 * radius and across < house.width_m / 2 + 0.5 * radius:
            return False
    return True
