"""What a superblock holds besides roads, and which of its ground is taken."""

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from roadspeed.acquire.sample.along import arc_lengths, places
from roadspeed.acquire.sample.materials import CARS
from roadspeed.acquire.sample.network import Patch, roads_within
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


class Space:
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


def pick(rng: np.random.Generator, weighted: tuple[tuple[str, float], ...]) -> str:
    """Draw one name by weight."""
    weights = np.array([weight for _, weight in weighted])
    return weighted[int(np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random()))][0]


def make_car(rng: np.random.Generator, place: Points, angle: float, on_bridge: bool = False) -> Car:
    """Return a car of random paint and size at (x, y), heading either way along an angle."""
    turn = angle + (math.pi if rng.random() < 0.5 else 0) + float(rng.normal(0, 0.02))
    length = float(rng.uniform(4.1, 4.9)) if rng.random() > 0.04 else 8.5
    return Car(float(place[0]), float(place[1]), turn, pick(rng, CARS), length, on_bridge)
