"""Small geometry on polylines: places along them, parallels, dashes, boxes."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]


def arc_lengths(line: Points) -> Points:
    """Return the distance of each vertex from the line's start."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])


def places(line: Points, at_m: Points) -> tuple[Points, Points]:
    """Return points (n, 2) at distances along a line, and the unit directions (n, 2) there."""
    lengths = arc_lengths(line)
    segment = np.clip(np.searchsorted(lengths, at_m, side="right") - 1, 0, len(line) - 2)
    step = line[segment + 1] - line[segment]
    size = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)[:, None]
    return line[segment] + step / size * (at_m - lengths[segment])[:, None], step / size


def parallel(line: Points, offset_m: float) -> Points:
    """Return the line moved to its right (facing along it, y southwards) by an offset, with mitred corners."""
    if offset_m == 0:
        return line
    step = np.diff(line, axis=0)
    normal = np.column_stack([-step[:, 1], step[:, 0]]) / np.maximum(np.hypot(*step.T), 1e-9)[:, None]
    closed = np.array_equal(line[0], line[-1])
    before = np.vstack([normal[-1] if closed else normal[0], normal])
    after = np.vstack([normal, normal[0] if closed else normal[-1]])
    joint = before + after
    scale = np.maximum((joint * before).sum(axis=1), 0.5)
    return line + joint / scale[:, None] * offset_m


def ribbon(line: Points, width_m: float) -> Points:
    """Return the outline of a band along a line, with square ends."""
    return np.vstack([parallel(line, -width_m / 2), parallel(line, width_m / 2)[::-1]])


def pieces(line: Points, spans: list[tuple[float, float]]) -> list[Points]:
    """Return the parts of a line between distances along it."""
    lengths = arc_lengths(line)
    out = []
    for start, end in spans:
        inside = line[(lengths > start + 1e-6) & (lengths < end - 1e-6)]
        ends, _ = places(line, np.array([start, end]))
        out.append(np.vstack([ends[:1], inside, ends[1:]]))
    return out


def outside_circles(line: Points, circles: tuple[tuple[float, float, float], ...]) -> list[tuple[float, float]]:
    """Return the spans (distances along the line, to 1 m) that lie outside all circles (x, y, radius)."""
    length = float(arc_lengths(line)[-1])
    if not circles:
        return [(0.0, length)]
    at = np.linspace(0, length, max(2, math.ceil(length)))
    points, _ = places(line, at)
    free = np.ones(len(at), bool)
    for x, y, radius in circles:
        free &= np.hypot(points[:, 0] - x, points[:, 1] - y) > radius
    edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(int)))
    return [(float(at[a]), float(at[b - 1])) for a, b in edges.reshape(-1, 2) if b - 1 > a]


def dashes(spans: list[tuple[float, float]], dash_m: float, gap_m: float) -> list[tuple[float, float]]:
    """Return spans cut into dashes."""
    out = []
    for start, end in spans:
        at = start + gap_m / 2
        while at + dash_m <= end:
            out.append((at, at + dash_m))
            at += dash_m + gap_m
    return out


def box(middle: ArrayLike, angle: float, length_m: float, width_m: float) -> Points:
    """Return the corners (4, 2) of a rectangle about its middle (x, y), long along `angle` (radians from east)."""
    along = np.array([math.cos(angle), math.sin(angle)]) * length_m / 2
    across = np.array([-math.sin(angle), math.cos(angle)]) * width_m / 2
    corners = np.array([along + across, along - across, -along - across, -along + across])
    return corners + np.asarray(middle, dtype=np.float64)


def swept(polygon: Points, move: Points) -> Points:
    """Return what a convex polygon covers while it moves by a vector: its shadow, or a wall seen from aside."""
    both = np.vstack([polygon, polygon + move])
    order = np.lexsort((both[:, 1], both[:, 0]))
    points = both[order]

    def half(sequence: Points) -> list[Points]:
        hull: list[Points] = []
        for point in sequence:
            while len(hull) > 1 and _turn(hull[-2], hull[-1], point) <= 0:
                hull.pop()
            hull.append(point)
        return hull[:-1]

    return np.array(half(points) + half(points[::-1]))


def _turn(a: Points, b: Points, c: Points) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
