"""Land of a superblock: river, lake, fields, a shop with its parking lot."""

import math

import numpy as np
import shapely
from numpy.typing import NDArray

from roadspeed.acquire.sample.blocks import CORNER_M
from roadspeed.acquire.sample.inventory import House, Land, Space, Things, make_car, pick
from roadspeed.acquire.sample.lines import RIVER_M, make_lines
from roadspeed.acquire.sample.network import Patch, has_river, room
from roadspeed.acquire.sample.spec import CitySpec

Points = NDArray[np.float64]


def add_river(spec: CitySpec, i: int, j: int, made: Things, space: Space) -> None:
    """Put the river beside its road, where the superblock has one."""
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


def add_lake(made: Things, space: Space, rng: np.random.Generator) -> None:
    """Put a lake into the middle, if it keeps clear of roads."""
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


def add_fields(spec: CitySpec, i: int, j: int, made: Things, space: Space, rng: np.random.Generator) -> None:
    """Divide the superblock into fields, some with furrows."""
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


def add_commercial(spec: CitySpec, i: int, j: int, made: Things, space: Space, rng: np.random.Generator) -> None:
    """Put a large building and its parking lot beside the service roads."""
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
        roof = pick(rng, (("roof_white", 3), ("shingle_grey", 2), ("roof_tan", 1.5), ("metal_blue", 0.8)))
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
                    made.cars.append(make_car(rng, place, angle + math.pi / 2))
