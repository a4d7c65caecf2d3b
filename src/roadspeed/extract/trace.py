"""From centre-line pixels to a network: which pixels are linked, where lines meet, and the lines between."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from roadspeed.compiled import compiled
from roadspeed.extract.network import Network

SMOOTH_STEPS = 4
"""Pixels on either side over which a line's staircase is averaged."""


def trace(
    rows: NDArray[np.int32], columns: NDArray[np.int32], xy: NDArray[np.float64], values: NDArray[np.float32]
) -> Network:
    """Return the network of skeleton pixels; lines are smoothed along themselves, ends stay where they are.

    Args:
        rows, columns: (n,) pixels, sorted by row, then column, each once.
        xy: (n, 2) their places in metres.
        values: (n, k) what is known at each.
    """
    neighbours, counts = _neighbours(rows, columns)
    flat, offsets = _chains(neighbours, counts)
    smooth = _smooth(flat, offsets, xy, SMOOTH_STEPS)
    return Network(smooth, values, np.split(flat, offsets[1:-1]) if len(offsets) > 1 else [])


@compiled
def _neighbours(rows: Any, columns: Any) -> Any:
    """Return (n, 8) linked pixels and their count: all eight neighbours, but no diagonal beside a corner pixel."""
    n = rows.size
    neighbours = np.full((n, 8), -1, np.int32)
    counts = np.zeros(n, np.int8)
    j = 0
    for i in range(n):
        r, c = rows[i], columns[i]
        east = i + 1 < n and rows[i + 1] == r and columns[i + 1] == c + 1
        west = i > 0 and rows[i - 1] == r and columns[i - 1] == c - 1
        if east:
            neighbours[i, counts[i]] = i + 1
            counts[i] += 1
            neighbours[i + 1, counts[i + 1]] = i
            counts[i + 1] += 1
        while j < i and (rows[j] < r - 1 or (rows[j] == r - 1 and columns[j] < c - 1)):
            j += 1
        north_west, north, north_east = -1, -1, -1
        k = j
        while k < i and rows[k] == r - 1 and columns[k] <= c + 1:
            if columns[k] == c - 1:
                north_west = k
            elif columns[k] == c:
                north = k
            else:
                north_east = k
            k += 1
        if north >= 0:
            linked = north
            neighbours[i, counts[i]] = linked
            counts[i] += 1
            neighbours[linked, counts[linked]] = i
            counts[linked] += 1
        else:
            if north_west >= 0 and not west:
                neighbours[i, counts[i]] = north_west
                counts[i] += 1
                neighbours[north_west, counts[north_west]] = i
                counts[north_west] += 1
            if north_east >= 0 and not east:
                neighbours[i, counts[i]] = north_east
                counts[i] += 1
                neighbours[north_east, counts[north_east]] = i
                counts[north_east] += 1
    return neighbours, counts


@compiled
def _chains(neighbours: Any, counts: Any) -> Any:
    """Return all lines between pixels with other than two links, then closed rings; flat, with offsets."""
    n = counts.size
    links = 0
    for i in range(n):
        links += counts[i]
    flat = np.empty(links + n + 1, np.int64)
    offsets = np.zeros(links + 2, np.int64)
    used = np.zeros((n, 8), np.bool_)
    lines = 0
    size = 0
    for ring in range(2):
        for start in range(n):
            if counts[start] == 0 or (counts[start] == 2) != (ring == 1):
                continue
            for slot in range(counts[start]):
                if used[start, slot]:
                    continue
                used[start, slot] = True
                flat[size] = start
                size += 1
                before = start
                here = neighbours[start, slot]
                while counts[here] == 2 and here != start:
                    flat[size] = here
                    size += 1
                    ahead = 1 if neighbours[here, 0] == before else 0
                    used[here, 0] = True
                    used[here, 1] = True
                    before, here = here, neighbours[here, ahead]
                flat[size] = here
                size += 1
                for back in range(counts[here]):
                    if neighbours[here, back] == before and not used[here, back]:
                        used[here, back] = True
                        break
                lines += 1
                offsets[lines] = size
    return flat[:size], offsets[: lines + 1]


@compiled
def _smooth(flat: Any, offsets: Any, xy: Any, steps: int) -> Any:
    """Return the points moved to the weighted mean along their line (triangular weights), ends kept."""
    smooth = xy.copy()
    for line in range(offsets.size - 1):
        first, end = offsets[line], offsets[line + 1]
        for i in range(first + 1, end - 1):
            reach = min(steps, i - first, end - 1 - i)
            x = y = weight = 0.0
            for k in range(-reach, reach + 1):
                w = reach + 1.0 - abs(k)
                x += w * xy[flat[i + k], 0]
                y += w * xy[flat[i + k], 1]
                weight += w
            smooth[flat[i], 0] = x / weight
            smooth[flat[i], 1] = y / weight
    return smooth
