"""Street patterns inside a superblock, in its own coordinates u (west to east) and v (north to south), 0 to 1.

A street that ends exactly on 0 or 1 meets the arterial road there. Streets meet each other at equal points,
which stay equal through every later step, so a junction is a vertex that its streets share.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


CORNER_M = 30.0
"""Streets beside an arterial road keep so far from it, so that none runs into a roundabout."""


@dataclass(frozen=True)
class Room:
    """Where streets may lie, which sides are open to the arterial roads, and the superblock's size in metres."""

    u0: float
    u1: float
    v0: float
    v1: float
    open_west: bool
    open_east: bool
    open_north: bool
    open_south: bool
    width_m: float
    height_m: float

    def ends_u(self, inset: float) -> tuple[float, float]:
        """First and last u of a street from west to east; a closed side is kept at `inset` metres."""
        gap = inset / self.width_m
        return (0.0 if self.open_west else self.u0 + gap), (1.0 if self.open_east else self.u1 - gap)

    def ends_v(self, inset: float) -> tuple[float, float]:
        """First and last v of a street from north to south."""
        gap = inset / self.height_m
        return (0.0 if self.open_north else self.v0 + gap), (1.0 if self.open_south else self.v1 - gap)

    def turned(self) -> "Room":
        """Return the room with u and v exchanged."""
        return Room(
            self.v0, self.v1, self.u0, self.u1,
            self.open_north, self.open_south, self.open_west, self.open_east,
            self.height_m, self.width_m,
        )  # fmt: skip


@dataclass(frozen=True)
class Street:
    """A street inside a superblock."""

    kind: str
    uv: Points
    """(n, 2), consecutive points differ."""
    bulb: bool = False
    """Whether it ends in a turning circle."""

    def turned(self) -> "Street":
        """Return the street with u and v exchanged."""
        return Street(self.kind, self.uv[:, ::-1], self.bulb)


def _curve(function: Callable[[float], tuple[float, float]], start: float, end: float, knots: list[float]) -> Points:
    """Sample a curve at 13 even parameters and at the knots exactly."""
    even = [start + (end - start) * k / 12 for k in range(1, 12)]
    kept = [t for t in even if all(abs(t - k) > 0.03 for k in (*knots, start, end))]
    return np.array([function(t) for t in sorted({start, end, *knots, *kept})])


def _kind(rng: np.random.Generator, unpaved: float) -> str:
    return "gravel" if rng.random() < unpaved else "residential"


def grid(room: Room, rng: np.random.Generator, block_m: float, unpaved: float) -> list[Street]:
    """Return straight streets that cross at right angles, some with a narrow lane between them."""

    def cuts(low: float, high: float, size_m: float) -> list[float]:
        count = max(1, round((high - low) * size_m / block_m) - 1)
        step = (high - low) / (count + 1)
        return [low + step * (k + 1 + rng.uniform(-0.12, 0.12)) for k in range(count)]

    us = cuts(room.u0, room.u1, room.width_m)
    vs = cuts(room.v0, room.v1, room.height_m)
    streets = []
    u_first, u_last = room.ends_u(16)
    v_first, v_last = room.ends_v(16)
    for v in vs:
        knots = [u_first, *us, u_last]
        streets.append(Street(_kind(rng, unpaved), np.array([(u, v) for u in knots])))
    for u in us:
        knots = [v_first, *vs, v_last]
        streets.append(Street(_kind(rng, unpaved), np.array([(u, v) for v in knots])))
    if len(us) > 1 and len(vs) > 1:
        k, middle = int(rng.integers(len(us) - 1)), 0.5
        u = us[k] * (1 - middle) + us[k + 1] * middle
        first = vs[0]
        streets = [_with_knot(s, (u, first)) for s in streets]
        streets = [_with_knot(s, (u, vs[1])) for s in streets]
        streets.append(Street("alley", np.array([(u, first), (u, vs[1])])))
    return streets


def _with_knot(street: Street, knot: tuple[float, float]) -> Street:
    """Return a street along u with one more vertex, if it runs through that v."""
    uv = street.uv
    if not (uv[:, 1] == knot[1]).all() or not uv[0, 0] < knot[0] < uv[-1, 0]:
        return street
    at = int(np.searchsorted(uv[:, 0], knot[0]))
    return Street(street.kind, np.insert(uv, at, knot, axis=0), street.bulb)


def curvy(room: Room, rng: np.random.Generator, block_m: float, unpaved: float) -> list[Street]:
    """Return a winding street with a side street, a cul-de-sac with a turning circle, and a loop."""
    if not (room.open_west or room.open_east) or (rng.random() < 0.4 and (room.open_north or room.open_south)):
        return [s.turned() for s in _curvy(room.turned(), rng, unpaved)]
    return _curvy(room, rng, unpaved)


def _curvy(room: Room, rng: np.random.Generator, unpaved: float) -> list[Street]:
    u_first, u_last = room.ends_u(22)
    height = room.v1 - room.v0
    middle, swing = room.v0 + height * rng.uniform(0.47, 0.55), height * rng.uniform(0.07, 0.1)
    phase = rng.uniform(0, math.tau)

    def spine(u: float) -> tuple[float, float]:
        return u, middle + swing * math.sin(phase + 5.2 * u)

    span = room.u1 - room.u0
    loop, side, dead = (room.u0 + span * share for share in (0.27, 0.52, 0.76))
    streets = [Street("residential", _curve(spine, u_first, u_last, [loop, side, dead]))]
    up = -1.0 if rng.random() < 0.5 else 1.0
    edge = room.v1 if up > 0 else room.v0
    u, v = spine(loop)
    # Half as wide as long: keep clear of the arterial road on one side and of the side street on the other.
    beside_m = min(loop, side - loop) * room.width_m
    reach_m = max(12.0, min(0.72 * abs(edge - v) * room.height_m, (beside_m - 13) / 0.52, 80.0))
    ring = []
    for t in np.linspace(0, 1, 19)[1:-1]:
        away, angle = reach_m * math.sin(math.pi * t) ** 0.55, (t - 0.5) * 1.45
        ring.append((u + away * math.sin(angle) / room.width_m, v + up * away * math.cos(angle) / room.height_m))
    streets.append(Street("residential", np.array([(u, v), *ring, (u, v)])))
    u, v = spine(side)
    opened = room.open_south if up < 0 else room.open_north
    far = (1.0 if up < 0 else 0.0) if opened else (room.v1 if up < 0 else room.v0) + up * 24 / room.height_m
    lean = rng.uniform(-0.08, 0.08)
    line = [(u + lean * math.sin(math.pi * t), v + (far - v) * t) for t in np.linspace(0, 1, 8)]
    line[0] = (u, v)
    line[-1] = (u + lean * math.sin(math.pi), far)
    streets.append(Street(_kind(rng, unpaved), np.array(line)))
    u, v = spine(dead)
    far = v + up * 0.6 * abs(edge - v)
    bend = rng.uniform(-0.05, 0.05)
    line = [(u + bend * t * t, v + (far - v) * t) for t in np.linspace(0, 1, 7)]
    streets.append(Street("residential", np.array(line), bulb=True))
    return streets


def crescent(room: Room, rng: np.random.Generator, block_m: float, unpaved: float) -> list[Street]:
    """Return a straight street with a crescent: two ways between the same two junctions; and side streets."""
    if not (room.open_west or room.open_east):
        return [s.turned() for s in _crescent(room.turned(), rng, unpaved)]
    return _crescent(room, rng, unpaved)


def _crescent(room: Room, rng: np.random.Generator, unpaved: float) -> list[Street]:
    u_first, u_last = room.ends_u(20)
    span, height = room.u1 - room.u0, room.v1 - room.v0
    v = room.v0 + height * rng.uniform(0.42, 0.58)
    left, right = room.u0 + max(span * 0.24, CORNER_M / room.width_m), room.u0 + span * 0.74
    up = 1.0 if v < room.v0 + height / 2 else -1.0
    edge = room.v1 if up > 0 else room.v0
    bulge = 0.62 * (edge - v)
    third = (right - left) / 8
    main = [u_first, left, left + 2 * third, left + 4 * third, right - 2 * third, right, u_last]
    arc = [
        (left + (right - left) * (1 - math.cos(t)) / 2, v + bulge * math.sin(t) ** 0.8)
        for t in np.linspace(0, math.pi, 13)[1:-1]
    ]
    streets = [
        Street("residential", np.array([(u, v) for u in main])),
        Street("residential", np.array([(left, v), *arc, (right, v)])),
    ]
    other = room.open_north if up > 0 else room.open_south
    if other:
        far = 0.0 if up > 0 else 1.0
        streets.append(Street(_kind(rng, unpaved), np.array([(left, v), (left, (v + far) / 2), (left, far)])))
        if span * room.width_m > 110:
            streets.append(Street("alley", np.array([(right, v), (right, (v + far) / 2), (right, far)])))
    return streets


def commercial(room: Room, rng: np.random.Generator, block_m: float, unpaved: float) -> list[Street]:
    """Return narrow service roads around a place for a large building and a parking lot."""
    if not (room.open_west or room.open_east):
        return [s.turned() for s in _commercial(room.turned())]
    return _commercial(room)


def _commercial(room: Room) -> list[Street]:
    u_first, u_last = room.ends_u(14)
    span, height = room.u1 - room.u0, room.v1 - room.v0
    v = room.v0 + max(height * 0.2, CORNER_M / room.height_m)
    u = room.u0 + max(span * 0.16, CORNER_M / room.width_m)
    streets = [Street("alley", np.array([(t, v) for t in (u_first, u, (u + u_last) / 2, u_last)]))]
    low = 1.0 if room.open_south else room.v1 - 14 / room.height_m
    streets.append(Street("alley", np.array([(u, v), (u, (v + low) / 2), (u, low)])))
    return streets


def field(room: Room, rng: np.random.Generator, block_m: float, unpaved: float) -> list[Street]:
    """Return a track through fields, with a branch that ends among them."""
    if not (room.open_west or room.open_east):
        return [s.turned() for s in _field(room.turned(), rng)]
    return _field(room, rng)


def _field(room: Room, rng: np.random.Generator) -> list[Street]:
    u_first, u_last = room.ends_u(18)
    height = room.v1 - room.v0
    v, swing, phase = room.v0 + height * rng.uniform(0.35, 0.6), height * 0.05, rng.uniform(0, math.tau)

    def line(u: float) -> tuple[float, float]:
        return u, v + swing * math.sin(phase + 7 * u)

    knot = room.u0 + (room.u1 - room.u0) * rng.uniform(0.4, 0.6)
    streets = [Street("track", _curve(line, u_first, u_last, [knot]))]
    u, start = line(knot)
    up = 1.0 if start < room.v0 + height / 2 else -1.0
    far = start + up * height * 0.32
    branch = [(u + 0.05 * t * t, start + (far - start) * t) for t in np.linspace(0, 1, 5)]
    streets.append(Street("track", np.array(branch)))
    return streets


PATTERNS: dict[str, Callable[[Room, np.random.Generator, float, float], list[Street]]] = {
    "grid": grid,
    "curvy": curvy,
    "crescent": crescent,
    "commercial": commercial,
    "field": field,
    "park": lambda room, rng, block_m, unpaved: [],
}
"""Each pattern: room, random numbers, spacing of streets in metres, share of unpaved streets → streets."""
