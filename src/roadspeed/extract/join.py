"""Closing gaps: loose ends led to each other, to a common corner, to the road beside, or to the border.

A join is judged by its length, by how far it turns from the roads it continues, and by the probability along
it: what the raster still shows of a road makes longer joins acceptable. Cheap joins are made first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from roadspeed.compiled import compiled
from roadspeed.extract.evidence import STEP_M, Evidence, densify
from roadspeed.extract.mosaic import Mosaic
from roadspeed.extract.network import Network
from roadspeed.extract.settings import ExtractSettings

TIP_M = 2.0
"""The last metres of a loose end are bent by thinning; its direction is read before them."""
BENT_TIP_M, BENT_M = 4.0, 1.0
"""Where a gap cuts a road askew, thinning follows what is left of its edge: an end that lies this far (the latter)
off the straight continuation of the road before its last metres (the former) is joined from before them."""
DOT_M = 3.0
"""A loose line shorter than this has no direction."""
HEADINGS_M = (6.0, 15.0)
"""Lengths over which the direction of a loose end is read: the road may bend, or its end may be ragged."""
SIDE_M = 2.5
"""How far aside two ends of one road may lie, whatever the angle that makes over a short gap."""
SIDE_STEP_M = 0.25
"""Distance at which the probability towards the road beside is read."""
SIDE_REACH_M = 20.0
"""How far from a loose end the road beside is looked for."""
FAR_SIDE_M = 8.0
"""How far beyond that road its surface is looked at."""
DISTURBED_M = 0.6
"""Difference between the two sides of a road's surface from which on it counts as disturbed."""
CORNER_TURN_DEG = 30.0
"""What a join that turns a corner counts as turning."""
FAN_DEG = (0.0, -10.0, 10.0, -20.0, 20.0, -30.0, 30.0)
"""Directions, off straight ahead, in which the road beside is looked for."""


@dataclass(frozen=True)
class Join:
    """A possible join: its cost (metres, made dearer by turning, cheaper by evidence), ends and path."""

    cost: float
    ends: tuple[int, ...]
    path: NDArray[np.float64]
    """(k, 2) corners of the join, from its first end to its last (or to the road beside)."""


def close_gaps(network: Network, evidence: Evidence, settings: ExtractSettings) -> None:
    """Close the gaps of a network in place: first between loose ends, then from loose ends to the road beside."""
    _connect(network, _between_ends(network, evidence, settings))
    _connect(network, _to_the_side(network, evidence, settings))


def _headings(
    network: Network, nodes: NDArray[np.int64], bent: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return (2, n, 2) unit vectors that point out of the network at loose ends, read over each of HEADINGS_M,
    (n,) the mean probability of the road that ends there, and (n,) the point to join from: the end, or one before
    its bent tip."""
    flat, offsets = network.flat()
    begins = np.concatenate([flat[offsets[:-1]], flat[offsets[1:] - 1]])
    order = np.argsort(begins, kind="stable")
    end = order[np.searchsorted(begins, nodes, sorter=order)]
    lines = len(network.lines)
    return _read_ends(
        flat, offsets, network.xy, network.values[:, 0], end % lines, end >= lines, TIP_M, np.array(HEADINGS_M), bent
    )


@compiled
def _read_ends(
    flat: Any, offsets: Any, xy: Any, probability: Any, lines: Any, last: Any, tip_m: float, back_m: Any, bent: bool
) -> Any:
    """Walk into each line from one of its ends and read direction and mean probability there, and where to join."""
    n = lines.size
    joints = np.zeros(n, np.int64)
    headings = np.zeros((back_m.size, n, 2))
    bright = np.zeros(n)
    for i in range(n):
        first, end = offsets[lines[i]], offsets[lines[i] + 1]
        start, step = (end - 1, -1) if last[i] else (first, 1)
        count = end - first
        total = 0.0
        for k in range(1, count):
            a, b = flat[start + step * (k - 1)], flat[start + step * k]
            total += np.sqrt((xy[a, 0] - xy[b, 0]) ** 2 + (xy[a, 1] - xy[b, 1]) ** 2)
            if total > 3 * tip_m:
                break
        tip = min(tip_m, total / 3)
        base = _bent_tip(flat, start, step, count, xy) if bent else 0
        joints[i] = flat[start + step * base]
        if base > 0:
            tip = BENT_TIP_M
        along = 0.0
        near = -1
        done = 0
        seen = 0.0
        points = 0
        here = flat[start]
        for k in range(count):
            here = flat[start + step * k]
            if k > 0:
                before = flat[start + step * (k - 1)]
                along += np.sqrt((xy[here, 0] - xy[before, 0]) ** 2 + (xy[here, 1] - xy[before, 1]) ** 2)
            seen += probability[here]
            points += 1
            if near < 0 and along >= tip:
                near = here
            while done < back_m.size and near >= 0 and (along >= tip + back_m[done] or k == count - 1):
                dx, dy = xy[near, 0] - xy[here, 0], xy[near, 1] - xy[here, 1]
                size = max(np.sqrt(dx * dx + dy * dy), 1e-9)
                headings[done, i, 0], headings[done, i, 1] = dx / size, dy / size
                done += 1
            if done == back_m.size:
                break
        bright[i] = seen / points
    return headings, bright, joints


@compiled
def _bent_tip(flat: Any, start: int, step: int, count: int, xy: Any) -> int:
    """Return how many points a line's bent tip has; 0 where its end goes on as the road does."""
    end = flat[start]
    along = 0.0
    base = -1
    for k in range(1, count):
        a, b = flat[start + step * (k - 1)], flat[start + step * k]
        along += np.sqrt((xy[a, 0] - xy[b, 0]) ** 2 + (xy[a, 1] - xy[b, 1]) ** 2)
        if base < 0 and along >= BENT_TIP_M:
            base = k
        if along >= 3 * BENT_TIP_M:
            near = flat[start + step * base]
            dx, dy = xy[near, 0] - xy[b, 0], xy[near, 1] - xy[b, 1]
            ex, ey = xy[end, 0] - xy[near, 0], xy[end, 1] - xy[near, 1]
            aside = abs(dx * ey - dy * ex) / max(np.sqrt(dx * dx + dy * dy), 1e-9)
            return base if aside > BENT_M else 0
    return 0


def _between_ends(network: Network, evidence: Evidence, settings: ExtractSettings) -> list[Join]:
    """Return the possible joins of two loose ends: straight, by a corner, or any way where they are very close."""
    nodes = np.flatnonzero(network.degrees() == 1)
    if len(nodes) < 2:
        return []
    headings, bright, joints = _headings(network, nodes, bent=True)
    xy = network.xy[joints]
    pairs = cKDTree(xy).query_pairs(settings.reach_m, output_type="ndarray")
    dots = _dots(network, nodes)
    pairs = pairs[(dots[pairs[:, 0]] < 0) | (dots[pairs[:, 0]] != dots[pairs[:, 1]])]
    if not len(pairs):
        return []
    a, b = pairs.T
    gap = xy[b] - xy[a]
    distance = np.maximum(np.sqrt((gap**2).sum(axis=1)), 1e-9)
    unit = gap / distance[:, None]
    turn_a = np.degrees(np.arccos(np.clip((headings[:, a] * unit).sum(axis=2), -1, 1))).min(axis=0)
    turn_b = np.degrees(np.arccos(np.clip(-(headings[:, b] * unit).sum(axis=2), -1, 1))).min(axis=0)
    allowed = settings.gap_angle_deg + np.degrees(np.arctan2(SIDE_M, distance))
    bend = np.degrees(np.arccos(np.clip(-(headings[:, a] * headings[:, b]).sum(axis=2), -1, 1))).min(axis=0)
    # A piece without a direction turns as much as what it is joined to.
    dot = dots[pairs] >= 0
    turn_a, turn_b = (
        np.where(dot[:, 0], np.where(dot[:, 1], 0, turn_b), turn_a),
        np.where(dot[:, 1], np.where(dot[:, 0], 0, turn_a), turn_b),
    )
    bend = np.where(dot.any(axis=1), np.maximum(turn_a, turn_b), bend)
    straight = (np.maximum(turn_a, turn_b) <= allowed) & (bend <= 2 * settings.gap_angle_deg)
    close = (distance <= settings.near_m) & (np.maximum(turn_a, turn_b) <= 100)
    below = np.maximum(settings.low, settings.seen * np.minimum(bright[a], bright[b]))

    turn = np.where(straight, (turn_a + turn_b) / 2, CORNER_TURN_DEG)
    unseen = np.full(len(pairs), np.inf)
    direct = np.flatnonzero(straight | close)
    share = (np.arange(0, settings.reach_m, STEP_M) + STEP_M / 2) / settings.reach_m
    points = xy[a[direct], None] + share[None, :, None] * gap[direct, None]
    unseen[direct] = (evidence.at(points) < below[direct, None]).mean(axis=1) * distance[direct]
    length = distance.copy()
    corners: dict[int, NDArray[np.float64]] = {}
    for i in np.flatnonzero(~straight & ((bend > 45) | close)).tolist():
        corner = _corner(xy[a[i]], headings[0, a[i]], xy[b[i]], headings[0, b[i]], settings.gap_m)
        if corner is not None:
            corners[i] = path = np.array([xy[a[i]], corner, xy[b[i]]])
            length[i] = np.sqrt((np.diff(path, axis=0) ** 2).sum(axis=1)).sum()
            unseen[i] = evidence.unseen_m(path, below[i])

    accepted = unseen <= settings.gap_m * (1 - np.minimum(turn, 30) / 60)
    cost = (unseen + length / 4) * (1 + turn / 45)
    return [
        Join(float(cost[i]), (int(joints[a[i]]), int(joints[b[i]])), corners.get(i, xy[[a[i], b[i]]]))
        for i in np.flatnonzero(accepted).tolist()
    ]


def _dots(network: Network, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each loose end the number of its line where that has no direction: a piece of road no longer than
    wide. -1 for other ends."""
    ends = network.ends()
    short = (network.lengths() < DOT_M) & (network.degrees()[ends] == 1).all(axis=1)
    line = np.full(len(network.xy), -1)
    line[ends[short]] = np.flatnonzero(short)[:, None]
    return line[nodes]


def _corner(
    a: NDArray[np.float64],
    along_a: NDArray[np.float64],
    b: NDArray[np.float64],
    along_b: NDArray[np.float64],
    reach: float,
) -> NDArray[np.float64] | None:
    """Return where two ends meet when both go straight on, if within reach of both."""
    cross = along_a[0] * along_b[1] - along_a[1] * along_b[0]
    if abs(cross) < 0.5:
        return None
    gap = b - a
    s = (gap[0] * along_b[1] - gap[1] * along_b[0]) / cross
    t = (gap[0] * along_a[1] - gap[1] * along_a[0]) / cross
    if not (0 <= s <= reach and 0 <= t <= reach and s + t <= reach):
        return None
    return a + s * along_a


def _to_the_side(network: Network, evidence: Evidence, settings: ExtractSettings) -> list[Join]:
    """Return for each loose end the best join to the road it heads for.

    Rays fan out from each end to the first road they meet. How much of a ray shows no road decides, and
    whether the road it meets looks disturbed there: the surface reaches further towards the end than on its far
    side (the other stump of the gap), or less far (the gap has bitten it). A road beside a true dead end shows
    neither.
    """
    nodes = np.flatnonzero(network.degrees() == 1)
    if not len(nodes):
        return []
    headings, bright, _ = _headings(network, nodes, bent=False)
    xy = network.xy[nodes]
    flat, offsets = network.flat()
    number = np.repeat(np.arange(len(network.lines)), np.diff(offsets))
    tree = shapely.STRtree(shapely.linestrings(network.xy[flat], indices=number))

    angles = np.radians(FAN_DEG)
    rotation = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    rays = np.einsum("ijf,hnj->nfhi", rotation, headings).reshape(-1, 2)
    per_end = len(FAN_DEG) * len(HEADINGS_M)
    turn = np.tile(np.repeat(np.abs(FAN_DEG), len(HEADINGS_M)), len(nodes))
    start = np.repeat(xy, per_end, axis=0)
    shapes = shapely.linestrings(np.stack([start + 0.05 * rays, start + SIDE_REACH_M * rays], axis=1))
    ray, line = tree.query(shapes, predicate="intersects")
    meeting = shapely.intersection(shapes[ray], tree.geometries[line])
    away = np.full(len(rays), np.inf)
    # A ray that just touches a line may intersect it in nothing, by rounding: that is no distance.
    np.fmin.at(away, ray, shapely.distance(meeting, shapely.points(start[ray])))

    hit = np.flatnonzero(np.isfinite(away))
    if not len(hit):
        return []
    along = np.arange(SIDE_STEP_M / 2, SIDE_REACH_M + FAR_SIDE_M, SIDE_STEP_M)
    below = np.maximum(settings.low, settings.seen * np.repeat(bright, per_end)[hit])
    seen = evidence.at(start[hit, None] + along[None, :, None] * rays[hit, None]) >= below[:, None]
    before = along[None] < away[hit, None]
    unseen = SIDE_STEP_M * (~seen & before).sum(axis=1)
    near_side = away[hit] - np.where(~seen & before, along[None] + SIDE_STEP_M / 2, 0).max(axis=1)
    far_side = np.where(~seen & ~before, along[None] - SIDE_STEP_M / 2, np.inf).min(axis=1) - away[hit]
    far_side = np.minimum(far_side, FAR_SIDE_M)
    disturbed = np.abs(near_side - far_side) > DISTURBED_M
    accepted = unseen <= np.where(disturbed, settings.side_m, settings.side_intact_m)
    cost = np.where(accepted, (unseen + away[hit] / 4) * (1 + turn[hit] / 45), np.inf)
    joins: list[Join] = []
    end = hit // per_end
    for i in np.lexsort((cost, end)).tolist():
        if np.isfinite(cost[i]) and (not joins or joins[-1].ends[0] != nodes[end[i]]):
            path = np.array([start[hit[i]], start[hit[i]] + away[hit[i]] * rays[hit[i]]])
            joins.append(Join(float(cost[i]), (int(nodes[end[i]]),), path))
    return joins


def _connect(network: Network, joins: list[Join]) -> None:
    """Make joins, cheapest first, each end once; where a join meets a line or another join they share a node."""
    joins = sorted(joins, key=lambda join: (join.cost, join.path[0].tolist()))
    used: set[int] = set()
    made: list[Join] = []
    for join in joins:
        if not used.intersection(join.ends):
            used.update(join.ends)
            made.append(join)
    if not made:
        return
    flat, _ = network.flat()
    tree = cKDTree(network.xy[flat])
    cuts: list[int] = []
    ways: list[tuple[int, NDArray[np.float64], int]] = []
    for join in made:
        points = densify(join.path, STEP_M)
        last = join.ends[1] if len(join.ends) == 2 else int(flat[tree.query(points[-1])[1]])
        cuts.extend((*join.ends, last))
        if last != join.ends[0]:
            ways.append((join.ends[0], points[1:-1], last))
    first = len(network.lines)
    _add_ways(network, ways)
    _cross(network, first, cuts)
    network.cut(cuts)
    network.merge()


def _add_ways(network: Network, ways: list[tuple[int, NDArray[np.float64], int]]) -> None:
    """Add lines that start at a point, run through new places, and end at a point (none if -1)."""
    if not ways:
        return
    numbers = np.split(
        network.add_points(np.concatenate([places for _, places, _ in ways])),
        np.cumsum([len(places) for _, places, _ in ways])[:-1],
    )
    for (start, _, last), new in zip(ways, numbers, strict=True):
        network.lines.append(np.array([start, *new, last] if last >= 0 else [start, *new], np.int64))


def _cross(network: Network, first: int, cuts: list[int]) -> None:
    """Give each new line (from number `first` on) and each line it crosses a common point, to be cut at."""
    flat, offsets = network.flat()
    number = np.repeat(np.arange(len(network.lines)), np.diff(offsets))
    shapes = shapely.linestrings(network.xy[flat], indices=number)
    new, other = shapely.STRtree(shapes).query(shapes[first:], predicate="crosses")
    for i, j in zip((new + first).tolist(), other.tolist(), strict=True):
        if j >= i:
            continue
        one, two = network.lines[j], network.lines[i]
        distance = ((network.xy[one][:, None] - network.xy[two][None]) ** 2).sum(axis=2)
        p, q = np.unravel_index(distance.argmin(), distance.shape)
        if 0 < q < len(two) - 1:
            two[q] = one[p]
            cuts.append(int(one[p]))


def reach_border(network: Network, mosaic: Mosaic, settings: ExtractSettings) -> None:
    """Lead loose ends that head out of the data, and are near its border, to the border."""
    nodes = np.flatnonzero(network.degrees() == 1)
    if not len(nodes) or settings.border_m == 0:
        return
    headings = _headings(network, nodes, bent=False)[0][0]
    steps = np.arange(0, settings.border_m, STEP_M)
    points = network.xy[nodes][:, None] + steps[None, :, None] * headings[:, None]
    inside = mosaic.inside(points.reshape(-1, 2)).reshape(len(nodes), -1)
    ways: list[tuple[int, NDArray[np.float64], int]] = []
    for i in np.flatnonzero(~inside.all(axis=1) & inside[:, 0]).tolist():
        way = points[i, 1 : int(inside[i].argmin())]
        if len(way):
            ways.append((int(nodes[i]), way, -1))
    _add_ways(network, ways)
    network.merge()
