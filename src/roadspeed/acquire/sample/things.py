"""Houses, cars and trees of a superblock: where they stand."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from roadspeed.acquire.sample.along import arc_lengths, box, parallel, places
from roadspeed.acquire.sample.inventory import House, Land, Space, Things, Tree, make_car, pick
from roadspeed.acquire.sample.land import add_commercial, add_fields, add_lake, add_river
from roadspeed.acquire.sample.network import Road, roads, streets
from roadspeed.acquire.sample.spec import CitySpec

Points = NDArray[np.float64]


def _grid_points(house: House) -> Points:
    corners = box((house.x, house.y), house.angle, house.length_m, house.width_m)
    middles = (corners + np.roll(corners, 1, axis=0)) / 2
    return np.vstack([corners, middles, [(house.x, house.y)]])


@lru_cache(maxsize=96)
def things(spec: CitySpec, i: int, j: int) -> Things:
    """Return the things of superblock (i, j), in city metres."""
    rng = spec.rng(i, j, 31)
    made, space = Things(), Space(spec, i, j)
    pattern = streets(spec, i, j).pattern
    add_river(spec, i, j, made, space)
    if pattern == "commercial":
        add_commercial(spec, i, j, made, space, rng)
    elif pattern == "field":
        add_fields(spec, i, j, made, space, rng)
    elif pattern == "meadow":
        add_fields(spec, i, j, made, space, rng)
        add_lake(made, space, rng)
    elif pattern == "park":
        made.land.append(Land(space.outline, "meadow", float(rng.random())))
        add_lake(made, space, rng)
    if pattern not in ("park", "meadow", "field"):
        _houses(spec, made, space, rng)
    _traffic(spec, i, j, made)
    _trees(spec, made, space, rng, pattern)
    return made


def _houses(spec: CitySpec, made: Things, space: Space, rng: np.random.Generator) -> None:
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
    space: Space,
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
    roof = pick(rng, spec.look.roofs)
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
                made.cars.append(make_car(rng, place, angle + math.pi / 2))


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
                        made.cars.append(make_car(rng, point, math.atan2(direction[1], direction[0])))
        for at_m in np.sort(rng.uniform(0, length, rng.poisson(kind.traffic_per_km * length / 1000))):
            lane = (rng.integers(kind.lanes) + 0.5) / kind.lanes - 0.5 if kind.lanes > 1 else 0.0
            offset = lane * min(kind.width_m, 3.6 * kind.lanes)
            point, direction = places(parallel(road.points, float(offset)), np.array([at_m]))
            made.cars.append(make_car(rng, point[0], math.atan2(direction[0, 1], direction[0, 0]), road.bridge))


def _trees(spec: CitySpec, made: Things, space: Space, rng: np.random.Generator, pattern: str) -> None:
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


def _street_trees(space: Space, rng: np.random.Generator, share: float) -> Iterator[tuple[float, float]]:
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
