"""Junctions put where their roads' centre lines meet: thinning draws them into the corner between two roads."""

from typing import Any

import numpy as np

from roadspeed.compiled import compiled
from roadspeed.extract.network import Network

NEAR_M, FAR_M = 3.0, 12.0
"""A road's direction at a junction is read between these distances from it; nearer, thinning bends the line."""
FARTHEST_M = 4.0
"""No junction is moved further than this: its roads do not meet in one point then."""


def centre_junctions(network: Network) -> None:
    """Move each junction to the point nearest to the straight continuation of all its roads (least squares).

    Within NEAR_M of a moved junction the lines then run straight to it.
    """
    flat, offsets = network.flat()
    if not len(flat):
        return
    ends = network.ends()
    fitted, middle, direction, skipped = _fit(flat, offsets, network.xy, NEAR_M, FAR_M)
    node = ends.ravel()
    degrees = network.degrees()
    # A point p lies at distance |(I - d d') (p - m)| from a line through m along d; the sum over the roads of a
    # node of its square is least where the summed matrices times p equal the summed matrices times m.
    size = len(network.xy)
    matrix = np.zeros((size, 2, 2))
    target = np.zeros((size, 2))
    projection = np.eye(2) - direction[:, :, None] * direction[:, None, :]
    projection[~fitted] = 0
    np.add.at(matrix, node, projection)
    np.add.at(target, node, np.einsum("nij,nj->ni", projection, middle))
    junctions = np.unique(node[degrees[node] > 2])
    trace = matrix[junctions, 0, 0] + matrix[junctions, 1, 1]
    determinant = np.linalg.det(matrix[junctions])
    # The smaller eigenvalue is about determinant / trace; where it is small all roads run the same way.
    clear = determinant > 0.15 * np.maximum(trace, 1e-9)
    junctions = junctions[clear]
    place = np.linalg.solve(matrix[junctions], target[junctions][..., None])[..., 0]
    near = np.sqrt(((place - network.xy[junctions]) ** 2).sum(axis=1)) <= FARTHEST_M
    moved = np.zeros(size, bool)
    moved[junctions[near]] = True
    network.xy[junctions[near]] = place[near]
    trim = np.where(moved[node], skipped, 0).reshape(-1, 2)
    for number in np.flatnonzero(trim.any(axis=1)).tolist():
        line = network.lines[number]
        first, last = trim[number]
        network.lines[number] = np.concatenate([line[:1], line[1 + first : len(line) - 1 - last], line[-1:]])


@compiled
def _fit(flat: Any, offsets: Any, xy: Any, near: float, far: float) -> Any:
    """Fit a straight line to each line near each of its ends.

    Returns, for the 2 × lines ends in turn: whether there is enough of it, the mean point, the unit direction,
    and how many inner points lie nearer than `near` to that end.
    """
    lines = offsets.size - 1
    fitted = np.zeros(2 * lines, np.bool_)
    middle = np.zeros((2 * lines, 2))
    direction = np.zeros((2 * lines, 2))
    skipped = np.zeros(2 * lines, np.int64)
    for k in range(2 * lines):
        line = k // 2
        count = offsets[line + 1] - offsets[line]
        start = offsets[line] if k % 2 == 0 else offsets[line + 1] - 1
        step = 1 if k % 2 == 0 else -1
        along = 0.0
        n = 0
        sx = sy = sxx = sxy = syy = 0.0
        ox, oy = xy[flat[start], 0], xy[flat[start], 1]
        px, py = ox, oy
        for i in range(1, count):
            x, y = xy[flat[start + step * i], 0], xy[flat[start + step * i], 1]
            along += np.sqrt((x - px) ** 2 + (y - py) ** 2)
            px, py = x, y
            if along > far:
                break
            if along < near:
                skipped[k] = i
                continue
            x -= ox
            y -= oy
            n += 1
            sx += x
            sy += y
            sxx += x * x
            sxy += x * y
            syy += y * y
        skipped[k] = min(skipped[k], max(0, count - 2))
        if n < 5 or along < 2 * near:
            skipped[k] = 0
            continue
        mx, my = sx / n, sy / n
        a, b, c = sxx / n - mx * mx, sxy / n - mx * my, syy / n - my * my
        angle = 0.5 * np.arctan2(2 * b, a - c)
        fitted[k] = True
        middle[k, 0], middle[k, 1] = ox + mx, oy + my
        direction[k, 0], direction[k, 1] = np.cos(angle), np.sin(angle)
    return fitted, middle, direction, skipped
